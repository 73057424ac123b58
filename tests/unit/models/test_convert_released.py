"""Conversion of released checkpoints: what is written, what is refused, what is left behind."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gpt4roi.cli import main
from gpt4roi.models import GPT4RoIForConditionalGeneration, convert_released
from gpt4roi.models.convert_released import convert
from gpt4roi.models.released_keys import is_delta, our_name
from gpt4roi.models.tensor_files import CheckpointError

sys.path.insert(0, str(Path(__file__).parent))
import released_checkpoint as tiny


@pytest.fixture
def released(tmp_path: Path) -> Path:
    return tiny.write_released(tmp_path / "released", tiny.with_rotary(tiny.tensors()))


@pytest.fixture
def tower(tmp_path: Path) -> Path:
    tiny.write_tower(tmp_path / "clip")
    return tmp_path / "clip"


def loaded(folder: Path) -> dict[str, torch.Tensor]:
    model, report = GPT4RoIForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    return model.state_dict()


@pytest.mark.parametrize("safetensors", [False, True])
@pytest.mark.parametrize("whole_clip", [False, True])
def test_every_tensor_arrives(tmp_path: Path, safetensors: bool, whole_clip: bool) -> None:
    state = tiny.tensors()
    folder = tiny.write_released(tmp_path / "released", state, safetensors=safetensors)
    clip = tiny.write_tower(tmp_path / "clip", whole_clip)
    result = convert(folder, tmp_path / "out", tmp_path / "clip")
    written = loaded(tmp_path / "out")
    for name, tensor in state.items():
        assert torch.equal(written[str(our_name(name))], tensor.float()), name
    for name, tensor in clip.state_dict().items():
        assert torch.equal(written[f"vision_tower.tower.backbone.{name}"], tensor), name
    assert result.tensors == len(written) and not result.has_processor
    assert not (tmp_path / "out.partial").exists()


def test_a_delta_is_added_in_float16_and_new_rows_and_raw_parts_stay(tmp_path: Path, tower: Path) -> None:
    delta = tiny.tensors(seed=2, scale=0.01)
    folder = tiny.write_released(tmp_path / "delta", tiny.with_rotary(delta))
    base = tiny.write_base(tmp_path / "llama")
    convert(folder, tmp_path / "out", tower, base=tmp_path / "llama")
    written = loaded(tmp_path / "out")
    for name, tensor in delta.items():
        expected = tensor
        if is_delta(name):
            rows = base[name].shape[0]
            expected = torch.cat([base[name] + tensor[:rows], tensor[rows:]])
        assert torch.equal(written[str(our_name(name))], expected.float()), name


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path, released: Path, tower: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = convert_released.save_file
    saved: list[str] = []

    def interrupted(tensors: object, path: Path, **kwargs: object) -> None:
        if len(saved) == 2:
            raise KeyboardInterrupt
        saved.append(path.name)
        real(tensors, path, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(convert_released, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert(released, tmp_path / "out", tower, max_shard_bytes=300_000)
    assert not (tmp_path / "out").exists()
    again: list[str] = []

    def counted(tensors: object, path: Path, **kwargs: object) -> None:
        again.append(path.name)
        real(tensors, path, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(convert_released, "save_file", counted)
    result = convert(released, tmp_path / "out", tower, max_shard_bytes=300_000)
    assert set(saved).isdisjoint(again) and len(saved) + len(again) == result.shards
    assert loaded(tmp_path / "out")
    assert convert(released, tmp_path / "out", tower, max_shard_bytes=300_000).already_done


def test_a_full_disk_leaves_nothing(tmp_path: Path, released: Path, tower: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert_released.shutil, "disk_usage", lambda path: SimpleNamespace(free=1))
    with pytest.raises(CheckpointError, match=r"GB are needed .* free"):
        convert(released, tmp_path / "out", tower)
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()


def test_a_failing_write_leaves_nothing(tmp_path: Path, released: Path, tower: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(convert_released, "save_file", failing)
    with pytest.raises(CheckpointError, match="No space left"):
        convert(released, tmp_path / "out", tower)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("out")] == []


def test_verification_notices_a_changed_value(tmp_path: Path, released: Path, tower: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = convert_released.save_file

    def corrupting(tensors: dict[str, torch.Tensor], path: Path, **kwargs: object) -> None:
        real({name: tensor + 1 for name, tensor in tensors.items()}, path, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(convert_released, "save_file", corrupting)
    with pytest.raises(CheckpointError, match="differs from its source"):
        convert(released, tmp_path / "out", tower)
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()


def test_a_flipped_byte_in_any_tensor_of_a_finished_folder_is_noticed(tmp_path: Path, released: Path, tower: Path) -> None:
    convert(released, tmp_path / "out", tower)
    assert convert(released, tmp_path / "out", tower).already_done
    file = tmp_path / "out" / "model.safetensors"
    whole = file.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header = {name: one for name, one in json.loads(whole[8 : 8 + length]).items() if name != "__metadata__"}
    assert len(header) > 30
    for name, one in list(header.items())[::3]:
        changed = bytearray(whole)
        changed[8 + length + one["data_offsets"][0]] ^= 0x40
        file.write_bytes(changed)
        with pytest.raises(CheckpointError, match=f"'{name}' .* differs from its source"):
            convert(released, tmp_path / "out", tower)


@pytest.mark.parametrize("shard", [5, None, "/etc/passwd", "../x.bin", ".", "/dev/zero", ["a"]])
def test_an_odd_weight_map_is_refused(tmp_path: Path, released: Path, tower: Path, shard: object) -> None:
    index = released / "pytorch_model.bin.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["x"] = shard
    index.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="no file of weights"):
        convert(released, tmp_path / "out", tower)


@pytest.mark.parametrize("config", [{"num_hidden_layers": -1}, {"hidden_size": "8"}, {"num_attention_heads": 0}, {"rms_norm_eps": []}])
def test_a_config_of_nonsense_is_a_sentence(tmp_path: Path, tower: Path, config: dict[str, object]) -> None:
    folder = tiny.write_released(tmp_path / "released", tiny.tensors(), config)
    with pytest.raises(CheckpointError):
        convert(folder, tmp_path / "out", tower)


def dropped(state: dict[str, torch.Tensor]) -> None:
    del state["model.norm.weight"]


def extra(state: dict[str, torch.Tensor]) -> None:
    state["model.spi_module.unheard.weight"] = torch.zeros(1)


def reshaped(state: dict[str, torch.Tensor]) -> None:
    state["model.mm_projector.bias"] = torch.zeros(3).half()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (dropped, "'model.norm.weight' is missing"),
        (extra, "'model.spi_module.unheard.weight' does not belong"),
        (reshaped, "'model.mm_projector.bias' .* has shape \\(3,\\) where \\(8,\\)"),
    ],
)
def test_wrong_tensors_are_refused(tmp_path: Path, tower: Path, change: Callable[[dict[str, torch.Tensor]], None], sentence: str) -> None:
    state = tiny.tensors()
    change(state)
    folder = tiny.write_released(tmp_path / "released", state)
    with pytest.raises(CheckpointError, match=sentence):
        convert(folder, tmp_path / "out", tower)
    assert not (tmp_path / "out.partial").exists()


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"model_type": "llama"}, "not a released GPT4RoI checkpoint"),
        ({"model_type": "gpt4roi"}, "already in our layout"),
        ({"mm_hidden_size": 1024}, "64 wide but the checkpoint was trained on one of 1024"),
        ({"vocab_size": 32005}, "32005 word rows"),
    ],
)
def test_wrong_configs_are_refused(tmp_path: Path, tower: Path, config: dict[str, object], sentence: str) -> None:
    folder = tiny.write_released(tmp_path / "released", tiny.tensors(), config)
    with pytest.raises(CheckpointError, match=sentence):
        convert(folder, tmp_path / "out", tower)


@pytest.mark.parametrize(
    ("scale", "base_config", "sentence"),
    [
        (0.01, None, "delta weights.*--base"),
        (1.0, {}, "whole weights.*leave --base out"),
        (0.01, {"rms_norm_eps": 1e-5}, "rms_norm_eps is 1e-05 where 1e-06.*LLaMA-2"),
        (0.01, {"max_position_embeddings": 4096}, "max_position_embeddings is 4096.*LLaMA-2"),
        (0.01, {"hidden_size": 16}, "hidden_size is 16 where 8"),
        (0.01, {"model_type": "mistral"}, "is not LLaMA"),
    ],
)
def test_base_and_delta_must_fit(tmp_path: Path, tower: Path, scale: float, base_config: dict[str, object] | None, sentence: str) -> None:
    folder = tiny.write_released(tmp_path / "released", tiny.tensors(scale=scale))
    if base_config is not None:
        tiny.write_base(tmp_path / "llama", **base_config)
    with pytest.raises(CheckpointError, match=sentence):
        convert(folder, tmp_path / "out", tower, base=None if base_config is None else tmp_path / "llama")


def test_missing_tower_missing_shard_and_occupied_output(tmp_path: Path, released: Path, tower: Path) -> None:
    with pytest.raises(CheckpointError, match=r"vision tower .* is not a folder"):
        convert(released, tmp_path / "out", tmp_path / "nowhere")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="holds something else"):
        convert(released, tmp_path / "full", tower)
    (released / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(CheckpointError, match="lacks pytorch_model-00002"):
        convert(released, tmp_path / "out", tower)


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("executed",))


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path, released: Path, tower: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model.norm.weight": Malicious()}, released / "pytorch_model-00001-of-00002.bin", pickle_module=pickle)
    with pytest.raises(CheckpointError, match="damaged or holds more than tensors"):
        convert(released, tmp_path / "out", tower)
    assert "executed" not in capsys.readouterr().out


def test_a_cut_shard_is_refused(tmp_path: Path, released: Path, tower: Path) -> None:
    shard = released / "pytorch_model-00001-of-00002.bin"
    shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="damaged"):
        convert(released, tmp_path / "out", tower)


def test_command_line(tmp_path: Path, released: Path, tower: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["convert", str(released), str(tmp_path / "out"), "--vision-tower", str(tower)]
    assert main([*arguments, "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["processor"] is False
    assert "--tokenizer DIR" in printed.err
    assert main([*arguments[:-1], str(tmp_path / "nowhere")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()[-1:]) == 1
