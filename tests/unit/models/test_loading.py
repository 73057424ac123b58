"""`load_model`: quantised weights, attention back ends, models that are spread over devices."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import LlamaConfig, LlamaForCausalLM

from gpt4roi.chat import RegionChat
from gpt4roi.cli import main
from gpt4roi.engine import EngineSettings
from gpt4roi.engine.engine import choose_decoder
from gpt4roi.models import GPT4RoIForConditionalGeneration, GPT4RoIProcessor, quantization
from gpt4roi.models.assemble import Recipe, assemble
from gpt4roi.models.loading import ModelNotFoundError, load_model
from gpt4roi.models.quantization import QuantizationError
from gpt4roi.models.summary import summarise

sys.path.insert(0, str(Path(__file__).parent))
import tiny_parts

IMAGE = np.random.default_rng(0).integers(0, 255, (48, 80, 3), dtype=np.uint8)
BOXES = [[4.0, 4.0, 30.0, 30.0], [20.0, 10.0, 80.0, 48.0]]
needs_bitsandbytes = pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="pip install 'gpt4roi[quantize]'")


def write_llama(folder: Path) -> str:
    """Widths that are multiples of 64, as the 4-bit kernels of some CPUs need (and every released model has)."""
    torch.manual_seed(3)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=tiny_parts.VOCABULARY, eos_token_id=257, pad_token_id=257, **sizes)).save_pretrained(folder)
    tiny_parts.tokenizer("chatml").save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LLaMA with a CLIP tower, saved."""
    path = tmp_path_factory.mktemp("loading")
    parts = tiny_parts.write_tower(path / "tower", "clip"), write_llama(path / "lm")
    model, processor = assemble(Recipe("a test", *parts, region=tiny_parts.REGION))
    model.save_pretrained(path / "model")
    processor.save_pretrained(path / "model")
    Image.fromarray(IMAGE).save(path / "photo.png")
    return path / "model"


def logits(model: GPT4RoIForConditionalGeneration, processor: GPT4RoIProcessor) -> torch.Tensor:
    batch = processor(images=IMAGE, conversations="Is <region1> beside <region2>?", boxes=BOXES)
    with torch.no_grad():
        return model(**batch).logits.float()


@pytest.fixture(scope="module")
def exact(folder: Path) -> torch.Tensor:
    return logits(*load_model(folder, device="cpu"))


@needs_bitsandbytes
@pytest.mark.parametrize(("name", "dtype", "error"), [("int8", torch.int8, 0.02), ("int4", torch.uint8, 0.2)])
def test_quantised_weights(folder: Path, exact: torch.Tensor, name: str, dtype: torch.dtype, error: float) -> None:
    model, processor = load_model(folder, device="cpu", quantization=name)
    layer = model.language_model.model.layers[0]
    assert layer.self_attn.q_proj.weight.dtype == layer.mlp.down_proj.weight.dtype == dtype
    for part in (model.vision_tower, model.region_encoder, model.multi_modal_projector, model.get_output_embeddings()):
        assert all(parameter.dtype == torch.float32 for parameter in part.parameters())
    rounded = logits(model, processor)
    assert not torch.equal(exact, rounded)
    assert float((exact - rounded).norm() / exact.norm()) < error
    with torch.no_grad():
        prompt = processor(images=IMAGE, conversations="<region1>?", boxes=BOXES, add_generation_prompt=True)
        assert model.generate(**prompt, max_new_tokens=3, do_sample=False).shape[1] > prompt["input_ids"].shape[1]


@needs_bitsandbytes
@pytest.mark.parametrize("name", ["int8", "int4"])
def test_the_summary_knows_their_memory(folder: Path, name: str) -> None:
    """Beside what `gpt4roi info` counts, int8 rows bring a scale each; the tiny rows make those weigh more than they do."""
    model, _ = load_model(folder, device="cpu", dtype="bfloat16", quantization=name)
    bytes_held = sum(parameter.nbytes for parameter in model.parameters())
    absmax = sum(p.quant_state.absmax.nbytes for p in model.parameters() if name == "int4" and p.dtype == torch.uint8)
    assert bytes_held + absmax == pytest.approx(summarise(folder)["memory_bytes"][name], rel=0.01)


@needs_bitsandbytes
def test_a_quantised_model_answers_through_the_engine(folder: Path) -> None:
    chat = RegionChat.from_pretrained(str(folder), device="cpu", quantization="int4")
    assert chat.engine.decoder.name == "transformers"
    chat.set_image(IMAGE)
    chat.add_region(BOXES[0])
    chat.ask("What is <region1>?", max_new_tokens=3)
    assert chat.last_answer is not None and chat.last_answer.timings.new_tokens <= 3
    with pytest.raises(ValueError, match="with weights as saved"):
        RegionChat.from_pretrained(str(folder), device="cpu", quantization="int4", settings=EngineSettings(precision="int8"))


@needs_bitsandbytes
def test_command_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["ask", str(folder.parent / "photo.png"), "What is <region1>?", "--box", "4,4,30,30", "--model", str(folder)]
    assert main([*command, "--device", "cpu", "--quantize", "int8", "--attention", "eager", "--max-new-tokens", "3", "--json"]) == 0
    assert '"answer"' in capsys.readouterr().out


def test_mistakes_are_sentences(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(QuantizationError, match="one of int8, int4; got 'int3'"):
        load_model(folder, quantization="int3")
    with pytest.raises(QuantizationError, match="embedded default has an int8 decoder of its own"):
        load_model(None, quantization="int8")
    with pytest.raises(ModelNotFoundError, match="neither 'embedded' nor a folder"):
        load_model("no-such-folder")
    monkeypatch.setattr(quantization.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(QuantizationError, match=r"pip install 'gpt4roi\[quantize\]'"):
        load_model(folder, quantization="int4")


@pytest.mark.parametrize("backend", ["eager", "sdpa"])
def test_attention_back_ends(folder: Path, exact: torch.Tensor, backend: str) -> None:
    model, processor = load_model(folder, device="cpu", attn_implementation=backend)
    assert model.language_model.config._attn_implementation == backend
    torch.testing.assert_close(logits(model, processor), exact, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(importlib.util.find_spec("flash_attn") is not None, reason="flash_attn is installed")
@pytest.mark.parametrize(("backend", "named"), [("flash_attention_2", "FlashAttention2"), ("no_such_attention", "no_such_attention")])
def test_an_attention_that_is_not_there_is_a_sentence(folder: Path, backend: str, named: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", str(folder.parent / "photo.png"), "Hi", "--model", str(folder), "--attention", backend]) == 2
    printed = capsys.readouterr().err.strip().splitlines()
    assert printed[-1].startswith("gpt4roi ask: ") and named in printed[-1]


def test_device_auto(folder: Path, exact: torch.Tensor) -> None:
    model, processor = load_model(folder, device="auto", dtype="float32")
    torch.testing.assert_close(logits(model, processor).cpu(), exact, rtol=1e-4, atol=1e-4)
    if not torch.cuda.is_available():
        assert load_model(folder, device="auto")[0].dtype == torch.float32


def test_spread_over_two_places(folder: Path, exact: torch.Tensor, tmp_path: Path) -> None:
    """As over two GPUs, with the disk for the second one: half of the model is fetched by hooks when its turn comes."""
    total = summarise(folder)["memory_bytes"]["float32"]
    processor = GPT4RoIProcessor.from_pretrained(folder)
    model = GPT4RoIForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, device_map="auto", max_memory={"cpu": int(0.7 * total)}, offload_folder=tmp_path
    ).eval()
    places = {str(place) for place in model.hf_device_map.values()}
    assert places == {"cpu", "disk"}
    assert choose_decoder(model, None)().name == "transformers"
    # What adds up tensors of its own must not be cut through.
    assert not any(name.startswith(("vision_tower.", "region_encoder.")) for name in model.hf_device_map)
    torch.testing.assert_close(logits(model, processor), exact, rtol=1e-4, atol=1e-5)
