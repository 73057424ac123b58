"""Masks of the development photographs, and the frozen tower's levels of several views of each image, kept on disk.

One tower pass costs more than a training step of all its boxes, so every view is passed once and its levels are cut into crops at every
epoch anew. The first view is the plain image, the others are flipped, cropped and coloured at random.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from gpt4roi.masks import Rle, area, as_rle, decode, encode, tight_box
from recipes.embedded.data import is_dev

# What may be trained on: the sets' terms, as the data folder's README states them.
TRAIN_SETS = ("coco_small", "facades", "litter", "nuts", "wild_animals")
TRAIN_PHRASES = ("gar_bench_vqa", "gar_bench_relation_simple", "gar_bench_relation_detailed", "dlc_bench")
# What is only looked at: research terms or none stated.
OTHER_SETS = ("camvid", "ade_street", "balloons")


@dataclass(frozen=True)
class MaskedImage:
    """One image with the masks of some of its things, in its own pixels."""

    path: Path
    source: str
    masks: list[Rle]


def read_set(root: Path, name: str, split: str) -> list[MaskedImage]:
    """The masks of one set; crowds and masks of fewer than 16 pixels are left out. A split that the set lacks is empty."""
    file = root / name / f"instances_{split}.json"
    if not file.exists():
        return []
    data = json.loads(file.read_text(encoding="utf-8"))
    by_image: dict[int, list[Any]] = {}
    for annotation in data["annotations"]:
        if annotation.get("segmentation") and not annotation.get("iscrowd"):
            by_image.setdefault(annotation["image_id"], []).append(annotation["segmentation"])
    images = []
    for image in data["images"]:
        size_wh = (image["width"], image["height"])
        masks = [as_rle(segmentation, size_wh) for segmentation in by_image.get(image["id"], [])]
        images.append(MaskedImage(root / name / "images" / Path(image["file_name"]).name, name, [m for m in masks if area(m) >= 16]))
    return [image for image in images if image.masks]


def read_phrases(root: Path, split: str) -> list[MaskedImage]:
    """The masks of the region phrases, each once."""
    by_path: dict[str, dict[str, Rle]] = {}
    for name in TRAIN_PHRASES:
        for line in (root / "phrases" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            if record["split"] != split:
                continue
            for region in record["regions"]:
                rle = as_rle(region["segmentation"], (record["width"], record["height"]))
                if area(rle) >= 16:
                    by_path.setdefault(record["image"], {})[rle["counts"]] = rle
    return [MaskedImage(root / path, "phrases", list(masks.values())) for path, masks in by_path.items()]


def training_images(root: Path) -> tuple[list[MaskedImage], list[MaskedImage]]:
    """Train and dev; dev is a slice of train, cut by the image's name."""
    images = [image for name in TRAIN_SETS for image in read_set(root, name, "train")] + read_phrases(root, "train")
    return [i for i in images if not is_dev(i.path.name)], [i for i in images if is_dev(i.path.name)]


@dataclass(frozen=True)
class View:
    """An image as the tower sees it. rgb: uint8[H, W, 3]; masks: uint8[N, H, W], soft edges; source: the set's name."""

    rgb: np.ndarray
    masks: np.ndarray
    source: str


def plain_view(image: MaskedImage, size_hw: tuple[int, int]) -> View:
    width, height = Image.open(image.path).size
    return _warp(image, np.array([[size_hw[1] / width, 0, 0], [0, size_hw[0] / height, 0]]), size_hw)


def random_view(image: MaskedImage, size_hw: tuple[int, int], random: np.random.Generator) -> View:
    """Half of the views mirrored; a crop of 55 to 100 % of each side; brightness, contrast and saturation changed."""
    width, height = Image.open(image.path).size
    zoom, stretch = random.uniform(0.55, 1.0), random.uniform(0.9, 1.1)
    crop_w, crop_h = width * min(zoom * stretch, 1.0), height * min(zoom / stretch, 1.0)
    left, top = random.uniform(0, width - crop_w), random.uniform(0, height - crop_h)
    scale_x, scale_y = size_hw[1] / crop_w, size_hw[0] / crop_h
    matrix = np.array([[scale_x, 0, -left * scale_x], [0, scale_y, -top * scale_y]])
    if random.random() < 0.5:
        matrix[0] = [-scale_x, 0, size_hw[1] + left * scale_x]
    view = _warp(image, matrix, size_hw)
    # A thing of which the crop shows less than 60 % is another thing.
    shares = np.array([mask.sum() / 255 / (area(rle) * scale_x * scale_y) for mask, rle in zip(view.masks, image.masks, strict=True)])
    rgb = view.rgb.astype(np.float32)
    grey = rgb.mean(axis=2, keepdims=True)
    rgb = grey + (rgb - grey) * random.uniform(0.5, 1.5)
    rgb = (rgb - rgb.mean()) * random.uniform(0.7, 1.3) + rgb.mean() * random.uniform(0.7, 1.3)
    return View(np.clip(rgb, 0, 255).astype(np.uint8), view.masks[shares >= 0.6], view.source)


def _warp(image: MaskedImage, matrix: np.ndarray, size_hw: tuple[int, int]) -> View:
    rgb = np.asarray(Image.open(image.path).convert("RGB"))
    # Pixel centres lie at half: cv2 counts from the centre of the first pixel.
    shifted = matrix.astype(np.float64).copy()
    shifted[:, 2] += matrix[:, :2].sum(axis=1) * 0.5 - 0.5
    size_wh = (size_hw[1], size_hw[0])
    warped = cv2.warpAffine(rgb, shifted, size_wh, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    masks = [cv2.warpAffine(decode(rle).astype(np.uint8) * 255, shifted, size_wh, flags=cv2.INTER_LINEAR) for rle in image.masks]
    return View(warped, np.stack(masks), image.source)


@dataclass(frozen=True)
class CachedView:
    """What training reads. levels: L maps float16[C, h, w]; rgb: uint8[H, W, 3]; masks at the view's size; boxes_xyxy_norm: float64[N, 4]."""

    levels: list[np.ndarray]
    rgb: np.ndarray
    masks: list[Rle]
    boxes_xyxy_norm: np.ndarray
    source: str


class LevelCache:
    """Views on disk, a folder of files that are mapped when they are read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index: list[dict[str, Any]] = json.loads((folder / "index.json").read_text(encoding="utf-8"))

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, number: int) -> CachedView:
        entry = self.index[number]
        flat = np.memmap(self.folder / f"{number}.levels", dtype=np.float16, mode="r")
        levels, start = [], 0
        for shape in entry["shapes"]:
            count = int(np.prod(shape))
            levels.append(flat[start : start + count].reshape(shape))
            start += count
        rgb = np.memmap(self.folder / f"{number}.rgb", dtype=np.uint8, mode="r", shape=tuple(entry["rgb_shape"]))
        return CachedView(levels, rgb, entry["masks"], np.array(entry["boxes"]).reshape(-1, 4), entry["source"])


@torch.inference_mode()
def write_cache(
    folder: Path, views: Iterator[View], total: int, tower: Callable[[Tensor], list[Tensor]], mean: Tensor, std: Tensor, name: str
) -> LevelCache:
    """Pass every view through the tower once; a folder that is complete is taken as it is.

    Args:
      tower: pixel_values to levels. mean, std: float[3, 1, 1] of RGB in [0, 1].
    """
    if not (folder / "index.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        index = []
        for number, view in enumerate(tqdm(views, total=total, desc=name, unit="image", mininterval=5)):
            pixels = torch.from_numpy(view.rgb.copy()).permute(2, 0, 1).float() / 255
            levels = [level[0].half().numpy() for level in tower(((pixels - mean) / std)[None])]
            np.concatenate([level.ravel() for level in levels]).tofile(folder / f"{number}.levels")
            view.rgb.tofile(folder / f"{number}.rgb")
            masks = [encode(mask > 127) for mask in view.masks]
            masks = [mask for mask in masks if area(mask) >= 16]
            height, width = view.rgb.shape[:2]
            boxes = [(np.array(tight_box(mask)) / [width, height, width, height]).tolist() for mask in masks]
            shapes = [list(level.shape) for level in levels]
            index.append({"shapes": shapes, "rgb_shape": view.rgb.shape, "masks": masks, "boxes": boxes, "source": view.source})
        (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")
    return LevelCache(folder)
