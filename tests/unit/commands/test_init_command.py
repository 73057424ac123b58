"""`gpt4roi init` as a user meets it: from parts in local folders to a model that trains and answers, and every mistake as a sentence."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.torch import save_file

from gpt4roi import init_cli
from gpt4roi.cli import main

sys.path.insert(0, str(Path(__file__).parent / "models"))
import tiny_parts


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe, a SigLIP tower, a Qwen3, and labelled pictures."""
    folder = tmp_path_factory.mktemp("init")
    recipe = {
        "description": "tiny",
        "vision_tower": tiny_parts.write_tower(folder / "tower", "siglip"),
        "language_model": tiny_parts.write_language_model(folder / "lm", "qwen3", "qwen3"),
        "region": tiny_parts.REGION,
    }
    (folder / "tiny.json").write_text(json.dumps(recipe))
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "photo.png")
    record = {
        "image": "photo.png",
        "regions": [{"box_xyxy": [4, 4, 30, 30], "label": "dog"}],
        "conversation": [{"role": "user", "content": "What is <region1>?"}, {"role": "assistant", "content": "A dog."}],
    }
    (folder / "train.jsonl").write_text((json.dumps(record) + "\n") * 4)
    return folder


def test_from_parts_to_a_model_that_trains_and_answers(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, output = str(workplace / "tiny.json"), workplace / "model"
    assert main(["init", recipe, str(output), "--dry-run", "--json"]) == 0
    shown = capsys.readouterr()
    assert set(json.loads(shown.out)["parts"]) == {str(workplace / "tower"), str(workplace / "lm")}
    assert "(local folder)" in shown.err and not output.exists()

    assert main(["init", recipe, str(output), "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert written["folder"] == str(output) and not list(workplace.glob("*.partial"))
    assert main(["init", recipe, str(output)]) == 2
    assert "exists and is not empty" in capsys.readouterr().err

    assert main(["info", "--model", str(output), "--json"]) == 0
    model = json.loads(capsys.readouterr().out)["model"]
    assert model["parameters"] == written["parameters"] and model["architecture"] == "siglip_vision_model + qwen3"
    assert set(model["memory_bytes"]) == {"float32", "bfloat16", "int8", "int4"}

    config = {
        "model": str(output),
        "output_dir": str(workplace / "run"),
        "data_root": str(workplace),
        "data": [{"reader": "jsonl", "annotations": "train.jsonl"}],
        "parts": {"region_encoder": {"learning_rate": 0.001}, "projector": {"learning_rate": 0.001}},
        "batch_size": 2,
        "max_steps": 2,
        "precision": "fp32",
        "device": "cpu",
        "num_workers": 0,
    }
    (workplace / "train.yaml").write_text(yaml.safe_dump(config))
    assert main(["train", str(workplace / "train.yaml")]) == 0
    question = ["ask", str(workplace / "photo.png"), "What is <region1>?", "--box", "4,4,30,30", "--device", "cpu", "--max-new-tokens", "3"]
    capsys.readouterr()
    for folder in (output, workplace / "run" / "model"):
        assert main([*question, "--model", str(folder), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["timings"]["new_tokens"] <= 3


def test_timm_backbones_from_a_folder(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No hub: the weights of a convolutional pyramid come from NAME.safetensors, and arrive."""
    import timm
    import torch
    from safetensors import safe_open

    torch.manual_seed(5)
    backbone = timm.create_model("resnet10t", pretrained=False)
    (workplace / "backbones").mkdir()
    save_file(backbone.state_dict(), workplace / "backbones" / "resnet10t.safetensors")
    recipe = {
        "description": "a pyramid",
        "vision_tower": [{"name": "resnet10t", "out_indices": [1, 2, 3, 4]}],
        "language_model": str(workplace / "lm"),
        "image_size_hw": [64, 96],
        "region": {**tiny_parts.REGION, "level_scales": [1, 1, 1, 1]},
    }
    (workplace / "pyramid.json").write_text(json.dumps(recipe))
    output = workplace / "pyramid"
    assert main(["init", str(workplace / "pyramid.json"), str(output), "--vision-tower", str(workplace / "backbones")]) == 0
    assert "resnet10t: 0.02 GB (local file)" in capsys.readouterr().err
    with safe_open(output / "model.safetensors", "pt") as file:
        name = next(key for key in file.keys() if key.endswith("layer4.0.conv1.weight"))  # noqa: SIM118
        assert torch.equal(file.get_tensor(name), backbone.state_dict()["layer4.0.conv1.weight"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["no-such-recipe", "out"], "there is no recipe 'no-such-recipe'; give a JSON file or one of "),
        (["no-such.json", "out"], "there is no model config 'no-such.json'"),
        (["tiny.json", "out", "--language-model", "./nowhere"], "'./nowhere' is neither a folder nor a hub id"),
        (["tiny.json", "out", "--vision-tower", "lm"], "a model of type 'qwen3' is no vision tower"),
        (["tiny.json", "out", "--language-model", "tower"], "cannot be loaded"),
    ],
)
def test_mistakes_are_sentences(
    workplace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], sentence: str
) -> None:
    monkeypatch.chdir(workplace)
    assert main(["init", *arguments]) == 2
    printed = capsys.readouterr().err.strip().splitlines()
    assert printed[-1].startswith("gpt4roi init: ") and sentence in printed[-1]
    assert not (workplace / "out").exists()


def test_a_hub_that_cannot_be_reached_is_said_at_once(
    workplace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def unreachable(*args: object, **kwargs: object) -> None:
        # What its client raises when there is no network, and OSError is no base of.
        raise huggingface_hub.errors.HTTPError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    arguments = ["init", "siglip2-qwen3", str(workplace / "out"), "--language-model", str(workplace / "lm")]
    assert main([*arguments, "--dry-run"]) == 0
    assert "google/siglip2-base-patch16-256: 1.50 GB (as the recipe says; the hub: Name or service not known)" in capsys.readouterr().err
    assert main(arguments) == 2
    assert "'google/siglip2-base-patch16-256' cannot be fetched" in capsys.readouterr().err
    assert not (workplace / "out").exists()


def test_help_lists_the_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["init", "--help"])
    assert stopped.value.code == 0
    shown = "".join(capsys.readouterr().out.split())
    assert init_cli.recipe_names() and all(name in shown for name in init_cli.recipe_names())
