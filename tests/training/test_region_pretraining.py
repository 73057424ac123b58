from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from gpt4roi.models import GPT4RoIConfig
from gpt4roi.training.region_pretraining import (
    CropTable,
    LabelledRegions,
    RegionPretrainingArguments,
    RegionPretrainingModel,
    cut_crops,
    fit,
)


def tiny_config() -> GPT4RoIConfig:
    return GPT4RoIConfig(
        vision_config={
            "kind": "pyramid", "backbone": [{"name": "mobilenetv2_050", "out_indices": [2, 3]}], "image_size_hw": [64, 64], "image_grid_hw": [2, 2],
        },
        region_config={
            "channels": 16, "level_scales": [1, 1], "fuse_rounds": 0, "norm_groups": 2, "roi_size": 3, "box_hidden_size": 8, "hidden_size": 32,
        },
        text_config={
            "model_type": "llama", "vocab_size": 32, "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
            "num_key_value_heads": 1,
        },
        image_token_id=32, region_token_id=33,
    )  # fmt: skip


def test_crops_give_what_the_whole_encoder_gives() -> None:
    torch.manual_seed(0)
    model = RegionPretrainingModel(tiny_config(), torch.randn(3, 24)).eval()
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


def test_it_learns_two_colours_and_leaves_the_tower_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    records = []
    for index in range(16):
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
    model = RegionPretrainingModel(tiny_config(), torch.randn(2, 24))
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
