#!/usr/bin/env python
"""The linear-probe baseline of `gpt4roi evaluate embedded_suite`: logistic regression on the same frozen vision features.

    python -m recipes.embedded.probe_baseline LABELLED_DIR ITEMS.jsonl PROBE.jsonl

Features: the vision tower's levels, RoIAligned and averaged over the box, standardised. One probe names (all train labels at once), one
tells the dominant colour. Yes/no questions are answered by comparing the probe's name with the asked one. Relations get no answer.
Then: gpt4roi evaluate embedded_suite --data ITEMS.jsonl --baseline linear_probe=PROBE.jsonl
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import roi_align
from tqdm import tqdm

from gpt4roi.colors import COLORS
from gpt4roi.images import open_image
from gpt4roi.models.loading import load_model
from recipes.embedded.conversations import with_article

Box = tuple[float, ...]


@torch.inference_mode()
def pooled_features(boxes_by_image: dict[str, list[Box]]) -> dict[tuple[str, Box], Tensor]:
    """Mean of every level over each box, levels concatenated: float[C] by (image, box)."""
    model, processor = load_model("embedded")
    features: dict[tuple[str, Box], Tensor] = {}
    for image, boxes in tqdm(boxes_by_image.items(), unit="picture", mininterval=10):
        opened = open_image(image)
        scale = torch.tensor([*opened.size, *opened.size])
        with torch.autocast("cpu", torch.bfloat16):
            _, levels = model.vision_tower(processor.image_processor(opened)[None])
        parts = []
        for level in levels:
            size = torch.tensor([level.shape[3], level.shape[2]] * 2)
            parts.append(roi_align(level.float(), [torch.tensor(boxes) / scale * size], 1, 1.0, 6, True).flatten(1))
        for box, row in zip(boxes, torch.cat(parts, dim=1), strict=True):
            features[image, box] = row
    return features


def fit_probe(x: Tensor, y: Tensor, classes: int) -> nn.Linear:
    torch.manual_seed(0)
    probe = nn.Linear(x.shape[1], classes)
    optimizer = torch.optim.AdamW(probe.parameters(), lr=1e-3, weight_decay=0.1)
    for _ in range(40):
        for rows in torch.randperm(len(x)).split(256):
            loss = F.cross_entropy(probe(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return probe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labelled_dir", type=Path)
    parser.add_argument("items", type=Path)
    parser.add_argument("output", type=Path)
    args = parser.parse_args()
    train = [json.loads(line) for line in (args.labelled_dir / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    items: list[dict[str, Any]] = [json.loads(line) for line in args.items.read_text(encoding="utf-8").splitlines()]
    wanted: dict[str, list[Box]] = {}
    for record in [*train, *items]:
        for region in record["regions"]:
            box = tuple(region["box_xyxy"])
            if box not in wanted.setdefault(record["image"], []):
                wanted[record["image"]].append(box)
    features = pooled_features(wanted)
    regions = [(record["image"], region) for record in train for region in record["regions"]]
    labels = sorted({region["label"] for _, region in regions})
    x = torch.stack([features[image, tuple(region["box_xyxy"])] for image, region in regions])
    mean, deviation = x.mean(0), x.std(0) + 1e-5
    x = (x - mean) / deviation
    names = fit_probe(x, torch.tensor([labels.index(region["label"]) for _, region in regions]), len(labels))
    colours = fit_probe(x, torch.tensor([max(range(11), key=region["colours"].__getitem__) for _, region in regions]), len(COLORS))
    with open(args.output, "w", encoding="utf-8") as file, torch.inference_mode():
        for item in items:
            row = (features[item["image"], tuple(item["regions"][0]["box_xyxy"])] - mean) / deviation
            name, colour = labels[int(names(row).argmax())], COLORS[int(colours(row).argmax())]
            output = {"name": name, "colour": colour}.get(item["kind"], "")
            if item["kind"] == "yes_no":
                output = "yes" if with_article(name) in item["question"] else "no"
            file.write(json.dumps({"id": item["id"], "output": output}) + "\n")
    print(f"{len(items)} answers of the linear probe ({len(labels)} names, {len(regions)} training boxes) -> {args.output}")


if __name__ == "__main__":
    main()
