from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from gpt4roi.models import GPT4RoIConfig
from gpt4roi.models.region_ensemble import Memory
from gpt4roi.training.cross_fitting import FOLDS_NAME, fold_file, fold_of
from gpt4roi.training.region_crops import CropTable, LabelledRegions, cut_crops
from gpt4roi.training.region_pretraining import (
    MEMORY_LENGTH,
    RegionPretrainingArguments,
    RegionPretrainingModel,
    WordTargets,
    fit,
    fit_folds,
    run,
    with_members,
    word_targets,
)


def tiny_config() -> GPT4RoIConfig:
    return GPT4RoIConfig(
        vision_config={
            "kind": "pyramid", "backbone": [{"name": "mobilenetv2_050", "out_indices": [2, 3]}], "image_size_hw": [64, 64], "image_grid_hw": [2, 2],
        },
        region_config={
            "channels": 16, "level_scales": [1, 1], "fuse_rounds": 0, "norm_groups": 2, "roi_size": 3, "box_hidden_size": 8, "hidden_size": 32,
            "memory_size": 4,
        },
        text_config={
            "model_type": "llama", "vocab_size": 32, "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
            "num_key_value_heads": 1,
        },
        image_token_id=32, region_token_id=33,
    )  # fmt: skip


def targets(names: int) -> WordTargets:
    def unit(count: int) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.randn(count, 24), dim=-1)

    return WordTargets(unit(names), unit(11), unit(3), torch.full((24,), 0.5), 3.0)


def test_word_targets_are_unit_vectors_of_the_words_and_directions_between_them() -> None:
    words = ["cat", "dog", "left", "right", "top", "bottom", "small", "large", "red", "orange"]

    def tokenizer(text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        assert text.startswith(" ") and not add_special_tokens
        return {"input_ids": [words.index(text[1:]) if text[1:] in words else len(words) + len(text)]}

    table = torch.randn(40, 24)
    found = word_targets(["cat", "dog"], tokenizer, table)
    for unit in (found.names, found.colours, found.places):
        torch.testing.assert_close(unit.norm(dim=-1), torch.ones(len(unit)))
    right_minus_left = table[3] - table[2]
    torch.testing.assert_close(found.places[0], right_minus_left / right_minus_left.norm())
    torch.testing.assert_close(found.common, table.mean(0))


def test_what_is_kept_is_as_long_as_a_word_around_what_words_share() -> None:
    torch.manual_seed(0)
    model = RegionPretrainingModel(tiny_config(), targets(3)).eval()
    crops, _ = model.crop(torch.randn(1, 3, 64, 64), [torch.tensor([[0.1, 0.2, 0.6, 0.9]] * 5)])
    boxes, pictures = torch.rand(5, 4).sort(-1).values, torch.randn(2, 4, model.vision_tower.feature_size)
    with torch.inference_mode():
        before = model.encode_crops(crops.float(), boxes)
    model.scale_to_words(crops.float(), boxes, pictures)
    with torch.inference_mode():
        after = model.encode_crops(crops.float(), boxes) - 0.5
        assert abs(after.norm(dim=-1).mean().item() - 3.0) < 1e-3
        stretched = before @ model.words.stretch().T
        torch.testing.assert_close(after / after.norm(), stretched / stretched.norm(), atol=1e-4, rtol=1e-3)
        assert abs((model.multi_modal_projector(pictures) - 0.5).norm(dim=-1).mean().item() - 3.0) < 1e-3


def test_the_memory_holds_the_names_at_the_end_and_adds_the_nearest() -> None:
    torch.manual_seed(0)
    model = RegionPretrainingModel(tiny_config(), targets(3)).eval()
    memory = cast(Memory, model.region_encoder.memory)
    crops, _ = model.crop(torch.randn(1, 3, 64, 64), [torch.tensor([[0.1, 0.2, 0.6, 0.9]] * 5)])
    model.scale_to_words(crops.float(), torch.rand(5, 4).sort(-1).values, torch.randn(2, 4, model.vision_tower.feature_size))
    names = 0.5 + 3.0 * model.words.names
    with torch.inference_mode():
        torch.testing.assert_close(memory(names) - names, MEMORY_LENGTH * 3.0 * model.words.names, atol=0.02, rtol=0.02)


def test_a_memory_smaller_than_the_names_is_refused() -> None:
    with pytest.raises(ValueError, match="memory_size of the embedded config is 4, and the training regions have 5 names; set it to 5"):
        RegionPretrainingModel(tiny_config(), targets(5))


def test_stretching_makes_names_and_places_stand_out_and_leaves_the_rest() -> None:
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(8, 8)).Q.T
    words = WordTargets(basis[:3], basis[3:4], basis[4:7], torch.zeros(8), 1.0)
    stretched = basis @ words.stretch().T
    factors = torch.tensor([1 + 1.5 / 1.1] * 3 + [1.0] + [2.0] * 3 + [1.0])
    torch.testing.assert_close(stretched, factors[:, None] * basis)


def test_crops_give_what_the_whole_encoder_gives() -> None:
    torch.manual_seed(0)
    model = RegionPretrainingModel(tiny_config(), targets(3)).eval()
    pixels, boxes = (
        torch.randn(2, 3, 64, 64),
        [torch.tensor([[0.1, 0.2, 0.6, 0.9], [0.3, 0.3, 0.5, 0.4]]), torch.tensor([[0.0, 0.0, 1.0, 1.0]])],
    )
    crops, _ = model.crop(pixels, boxes)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        _, levels = model.vision_tower(pixels)
    with torch.inference_mode():
        whole = model.region_encoder([level.float() for level in levels], boxes)
        from_crops = model.encode_crops(crops.float(), torch.cat(boxes))
    # The crops are kept in half precision.
    torch.testing.assert_close(from_crops, whole, atol=5e-3, rtol=5e-3)


def write_red_and_blue_things(tmp_path: Path, count: int) -> Path:
    records = []
    for index in range(count):
        colour, name = (((200, 20, 20), "red thing"), ((20, 40, 200), "blue thing"))[index % 2]
        array = np.full((64, 64, 3), 120, dtype=np.uint8)
        array[16:48, 16:48] = colour
        Image.fromarray(array).save(tmp_path / f"{index}.png")
        shares = [0.0] * 11
        shares[3 if index % 2 == 0 else 7] = 1.0
        records.append(
            {
                "image": str(tmp_path / f"{index}.png"),
                "source": "made",
                "regions": [{"box_xyxy": [16, 16, 48, 48], "label": name, "colours": shares}],
            }
        )
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_it_learns_two_colours_and_leaves_the_tower_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = write_red_and_blue_things(tmp_path, 16)
    model = RegionPretrainingModel(tiny_config(), targets(2))
    model.vision_tower.requires_grad_(False)
    tower = {name: value.clone() for name, value in model.vision_tower.state_dict().items()}
    classes = {"blue thing": 0, "red thing": 1}
    table: CropTable = cut_crops(model, LabelledRegions(str(path), classes, 64, None, 0), 1, 0)
    arguments = RegionPretrainingArguments(
        train="", dev="", output_dir="", epochs=30, batch_size=8, learning_rate=5e-3, label_smoothing=0.0
    )
    scores, steps = fit(model, table, table, arguments)
    assert steps == 60
    assert scores["made"] == 1.0
    assert all(torch.equal(value, tower[name]) for name, value in model.vision_tower.state_dict().items())


def test_neighbouring_pictures_share_a_fold_and_every_fold_gets_some() -> None:
    assert len({fold_of(f"set/images/CAKE008{digit}.jpg", 4) for digit in range(10)}) == 1
    assert len({fold_of(f"set/images/0000{number}.jpg", 4) for number in range(10, 500)}) == 4
    assert fold_of("here/a12.jpg", 4) == fold_of("elsewhere/a13.jpg", 4)


def test_each_fold_gets_an_encoder_that_never_saw_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = write_red_and_blue_things(tmp_path, 40)
    model = RegionPretrainingModel(tiny_config(), targets(2))
    model.vision_tower.requires_grad_(False)
    data = LabelledRegions(str(path), {"blue thing": 0, "red thing": 1}, 64, None, 0)
    table = cut_crops(model, data, 2, 0)
    folds = torch.tensor([fold_of(picture, 2) for picture in data.pictures])
    chosen = table.of_pictures(folds == 1)
    assert len(chosen.crops) == 2 * int((folds == 1).sum()) == len(chosen.pictures)
    assert bool((folds[chosen.owners] == 1).all())
    # What fold 0's encoder learned must not depend on the pictures of fold 0: spoil their labels and it stays the same.
    arguments = RegionPretrainingArguments(
        train="", dev="", output_dir=str(tmp_path), epochs=4, batch_size=8, learning_rate=5e-3, label_smoothing=0.0, folds=2
    )
    saved = []
    for spoiled in (False, True):
        if spoiled:
            table.labels = torch.where(folds[table.owners] == 0, 1 - table.labels, table.labels)
        scores = fit_folds(model, data.pictures, table, table, arguments)
        assert len(scores) == 2 and all(0 <= score["made"] <= 1 for score in scores)
        saved.append([load_file(fold_file(tmp_path, fold)) for fold in range(2)])
    assert json.loads((tmp_path / FOLDS_NAME).read_text()) == dict(zip(data.pictures, folds.tolist(), strict=True))
    name = "region_encoder.members.0.output_linear.weight"
    assert torch.equal(saved[0][0][name], saved[1][0][name])
    assert not torch.equal(saved[0][1][name], saved[1][1][name])
    # The encoders of the folds become the members of the one that is kept; what is not theirs stays.
    kept = with_members(model.kept_state(), tmp_path, 2)
    for fold in range(2):
        assert torch.equal(kept[f"region_encoder.members.{fold}.output_linear.weight"], saved[1][fold][name])
    assert torch.equal(kept["multi_modal_projector.weight"], model.multi_modal_projector.weight)


def test_as_many_folds_as_the_model_has_members(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="set folds to 4 or members to 3"):
        run({"train": "t", "dev": "d", "output_dir": str(tmp_path), "folds": 3})
