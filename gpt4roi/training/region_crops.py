"""Labelled boxes as a frozen tower shows them: every box of every augmented view, cut out once, for `region_pretraining`."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from gpt4roi.images import open_image


class Cropper(Protocol):
    """What this module needs of a `RegionPretrainingModel`."""

    def crop(self, pixels: Tensor, boxes: list[Tensor]) -> tuple[Tensor, Tensor]: ...


class LabelledRegions(Dataset):
    """Images with labelled boxes, augmented when training: crop, flip, box jitter, brightness."""

    def __init__(self, path: str, classes: dict[str, int], image_size: int, crop_min: float | None, seed: int) -> None:
        self.records = [r for r in map(json.loads, Path(path).read_text(encoding="utf-8").splitlines()) if r["regions"]]
        self.classes, self.image_size, self.crop_min, self.seed, self.epoch = classes, image_size, crop_min, seed, 0

    def __len__(self) -> int:
        return len(self.records)

    @property
    def images(self) -> list[str]:
        return [record["image"] for record in self.records]

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        record = self.records[index]
        rng = np.random.default_rng((self.seed, self.epoch, index))
        image = open_image(record["image"])
        width, height = image.size
        regions = record["regions"]
        if len(regions) > 14:
            regions = [regions[i] for i in sorted(rng.permutation(len(regions))[:14])] if self.crop_min else regions
        boxes = np.array([region["box_xyxy"] for region in regions], dtype=np.float64)
        keep = np.ones(len(boxes), dtype=bool)
        flip, gain = False, 1.0
        if self.crop_min:
            scale = rng.uniform(self.crop_min, 1.0, size=2) * [width, height]
            x0, y0 = rng.uniform(0, [width - scale[0], height - scale[1]])
            window = np.array([x0, y0, x0 + scale[0], y0 + scale[1]])
            clipped = np.concatenate([np.maximum(boxes[:, :2], window[:2]), np.minimum(boxes[:, 2:], window[2:])], axis=1)
            share = np.clip(clipped[:, 2:] - clipped[:, :2], 0, None).prod(1) / (boxes[:, 2:] - boxes[:, :2]).prod(1)
            keep = share > 0.6
            if keep.any():
                image = image.resize((self.image_size, self.image_size), Image.Resampling.BILINEAR, box=tuple(window))
                boxes = (clipped - window[[0, 1, 0, 1]]) / np.array([*scale, *scale])
            else:
                keep[:] = True
                boxes = boxes / [width, height, width, height]
            size = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
            boxes = np.clip(boxes + rng.normal(0, 0.04, boxes.shape).clip(-0.08, 0.08) * size, 0, 1)
            flip, gain = bool(rng.random() < 0.5), float(rng.uniform(0.8, 1.2))
        else:
            boxes = boxes / [width, height, width, height]
        if image.size != (self.image_size, self.image_size):
            image = image.resize((self.image_size, self.image_size), Image.Resampling.BILINEAR)
        pixels = np.asarray(image, dtype=np.float32)
        if flip:
            pixels, boxes = pixels[:, ::-1], np.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], axis=1)
        pixels = np.clip(pixels * gain, 0, 255) / 127.5 - 1
        present = np.zeros(len(self.classes), dtype=np.float32)
        labels = np.array([self.classes.get(region["label"], -100) for region in regions])
        present[labels[keep & (labels >= 0)]] = 1
        return {
            "pixels": torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))),
            "boxes": torch.from_numpy(boxes[keep]).float(),
            "labels": torch.from_numpy(labels[keep]),
            "colours": torch.tensor([r["colours"] for r, k in zip(regions, keep, strict=True) if k]),
            "present": torch.from_numpy(present),
        }


def collate(examples: list[dict[str, Tensor]]) -> dict[str, Any]:
    return {
        "pixels": torch.stack([e["pixels"] for e in examples]),
        "boxes": [e["boxes"] for e in examples],
        "labels": torch.cat([e["labels"] for e in examples]),
        "colours": torch.cat([e["colours"] for e in examples]),
        "present": torch.stack([e["present"] for e in examples]),
    }


@dataclass
class CropTable:
    """Every box of every view, and every image of every view, as the trained layers see them.

    owners: int[N], the image of each box as a row of `sources`; images and present have one row an image and view, view by view.
    """

    crops: Tensor
    boxes: Tensor
    labels: Tensor
    colours: Tensor
    owners: Tensor
    images: Tensor
    present: Tensor
    sources: list[str]

    def of_images(self, chosen: Tensor) -> CropTable:
        """What belongs to the chosen images, bool[len(sources)]; `owners` and `sources` keep their rows."""
        boxes, rows = chosen[self.owners], chosen.repeat(len(self.images) // len(chosen))
        of_boxes = {name: getattr(self, name)[boxes] for name in ("crops", "boxes", "labels", "colours", "owners")}
        return replace(self, **of_boxes, images=self.images[rows], present=self.present[rows])


def cut_crops(model: Cropper, data: LabelledRegions, views: int, workers: int) -> CropTable:
    """Run the frozen tower once over `views` augmented passes of the images."""
    columns: dict[str, list[Tensor]] = {name: [] for name in ("crops", "boxes", "labels", "colours", "owners", "images", "present")}
    augmented = data.crop_min
    for view in range(views):
        # The first view is the image as it is, which is what the model will be asked about.
        data.epoch, data.crop_min = view, augmented if view else None
        loader = DataLoader(data, 16, collate_fn=collate, num_workers=workers)
        position = 0
        for batch in tqdm(loader, desc=f"view {view + 1} of {views}", unit="batch", mininterval=10):
            crops, images = model.crop(batch["pixels"], batch["boxes"])
            for name, value in (("crops", crops), ("boxes", torch.cat(batch["boxes"])), ("images", images)):
                columns[name].append(value)
            for name in ("labels", "colours", "present"):
                columns[name].append(batch[name])
            for boxes in batch["boxes"]:
                columns["owners"].append(torch.full((len(boxes),), position))
                position += 1
    data.crop_min = augmented
    sources = [record["source"] for record in data.records]
    return CropTable(**{name: torch.cat(values) for name, values in columns.items()}, sources=sources)
