"""What the ONNX decoder makes of the weights is made once, and not at all until an answer needs it."""

from __future__ import annotations

import os

import pytest
import torch

from gpt4roi.conversation import Turn
from gpt4roi.engine import Engine, Sampling, build_prompt, onnx_graph
from gpt4roi.engine.engine import choose_decoder
from gpt4roi.engine.onnx_decoder import OnnxDecoder
from gpt4roi.errors import UserError
from tests.unit.chat.tiny import tiny_model


@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_kept_weights_compute_the_same_and_a_broken_file_is_made_again(tiny, tmp_path, monkeypatch, precision):
    language_model = tiny[0].language_model
    embeddings = torch.randn(9, 32, generator=torch.Generator().manual_seed(0))

    def logits(folder):
        decoder = OnnxDecoder(language_model, precision, folder)
        return decoder.prefill(embeddings, decoder.new_state(9))

    with torch.inference_mode():
        plain, made = logits(None), logits(tmp_path)
        (kept,) = tmp_path.iterdir()
        with monkeypatch.context() as patched:
            patched.setattr(onnx_graph, "OnnxGraph", lambda *args: pytest.fail("made again"))
            again = logits(tmp_path)
        os.truncate(kept, 1000)
        healed = logits(tmp_path)
    assert torch.equal(plain, made) and torch.equal(plain, again) and torch.equal(plain, healed)
    assert [path.name for path in tmp_path.iterdir()] == [kept.name] and kept.stat().st_size > 1000


def test_weights_that_were_trained_since_are_not_taken_from_the_file(tmp_path):
    model, _ = tiny_model()
    model.load_state_dict({name: value.clone() for name, value in model.state_dict().items()}, assign=True)
    model.decoder_dir = tmp_path
    first = choose_decoder(model, "float32")()
    with torch.no_grad():
        model.language_model.model.norm.weight.mul_(2)
    second = choose_decoder(model, "float32")()
    embeddings = torch.ones(3, 32)
    with torch.inference_mode():
        one, other = (decoder.prefill(embeddings, decoder.new_state(3)) for decoder in (first, second))
    assert list(tmp_path.iterdir()) and not torch.allclose(one, other)


def test_the_embedded_default_makes_its_decoder_with_the_first_answer_that_needs_it():
    model, processor = tiny_model()
    model.is_embedded_default = True
    engine = Engine(model, processor)
    assert "decoder" not in vars(engine)
    list(engine.submit(build_prompt(processor, [Turn("user", "Hello")]), Sampling(2)))
    assert vars(engine)["decoder"].name == "ONNX Runtime int8"
    # A wrong wish is told at once all the same.
    with pytest.raises(UserError, match="precision is one of float32, int8, transformers; got 'int3'"):
        choose_decoder(model, "int3")
