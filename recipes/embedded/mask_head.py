#!/usr/bin/env python
"""Train the mask head on the frozen tower's levels and write `gpt4roi/assets/embedded/mask_head.safetensors`.

    python -m recipes.embedded.mask_head DATA_DIR WORK_DIR

DATA_DIR holds the development photographs (see `mask_data.py` for the sets); WORK_DIR takes the tower's levels (2 GB a view) and is not
needed afterwards. Prints mean IoU of true boxes on dev while it trains, and at the end on the val part of every set.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.ops import roi_align
from tqdm import tqdm

from gpt4roi.masks import area, decode, pairwise_iou, tight_box
from gpt4roi.models.embedded import ASSETS, PARTS_NAME, embedded_config
from gpt4roi.models.mask_head import GRID, MASK_HEAD_NAME, MaskHead, box_planes, frames_of, load_mask_head, point_planes
from gpt4roi.models.vision_tower import VisionTower
from recipes.embedded.mask_data import (
    OTHER_SETS,
    TRAIN_SETS,
    CachedView,
    LevelCache,
    MaskedImage,
    plain_view,
    random_view,
    read_phrases,
    read_set,
    training_images,
    write_cache,
)

IMAGES_A_STEP, BOXES_AN_IMAGE = 4, 8
# Small boxes are many, and a few pixels wide; the windows of house fronts are alike.
SMALL_SIDE, SMALL_SHARE, FACADE_SHARE = 0.08, 0.5, 0.25
POINT_SHARE = 0.3
LEARNING_RATE = 2e-3


def load_tower() -> tuple[nn.Module, list[list[int]], Tensor, Tensor]:
    """The shipped tower, frozen and fused (twice as fast); channels of its levels by size; mean and std of its pixels."""
    config = embedded_config()
    tower = VisionTower(config.vision_config)
    prefix = "vision_tower."
    tensors = {k.removeprefix(prefix): v.float() for k, v in load_file(ASSETS / PARTS_NAME).items() if k.startswith(prefix)}
    tower.load_state_dict(tensors, strict=False)
    example = torch.zeros(1, 3, *config.vision_config.image_size_hw)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fused = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(tower.eval(), example, check_trace=False)))
        levels = fused(example)[1]
    scales: dict[int, list[int]] = {}
    for level in levels:
        scales.setdefault(level.shape[-1], []).append(level.shape[1])
    settings = json.loads((ASSETS / "processor_config.json").read_text(encoding="utf-8"))
    mean, std = (torch.tensor(settings[name])[:, None, None] for name in ("image_mean", "image_std"))
    return fused, list(scales.values()), mean, std


def levels_of_views(views: Sequence[CachedView]) -> list[Tensor]:
    """The levels of a batch of views, float32[B, C, h, w] each."""
    return [torch.from_numpy(np.stack([view.levels[k] for view in views])).float() for k in range(len(views[0].levels))]


def pick(view: CachedView, random: np.random.Generator) -> np.ndarray:
    """Which things of a view are trained on at this step: int[K], K may be 0."""
    sides = (view.boxes_xyxy_norm[:, 2:] - view.boxes_xyxy_norm[:, :2]).max(axis=1) if len(view.masks) else np.zeros(0)
    keep = random.random(len(sides)) < np.where(sides < SMALL_SIDE, SMALL_SHARE, 1.0) * (FACADE_SHARE if view.source == "facades" else 1.0)
    return random.permutation(np.flatnonzero(keep))[:BOXES_AN_IMAGE]


def jittered(box: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Half of the boxes as they are; half as people draw them, sides off by some percent."""
    if random.random() < 0.5:
        return box
    sides = np.tile(box[2:] - box[:2], 2)
    moved = np.clip(box + random.normal(0, 0.06, 4) * sides, 0, 1)
    return moved if (moved[2:] - moved[:2] > 0.3 * sides[:2]).all() else box


def point_prompt(mask: np.ndarray, box: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A click (or a scribble of up to eight points) on a mask, and a square window around it: float[P, 2] and float[4], both in [0, 1].

    The window is 0.5 to 4 times as large as the thing: whoever clicks does not say how large that is.
    """
    rows, columns = np.nonzero(mask)
    count = 1 if random.random() < 0.7 else int(random.integers(2, 9))
    chosen = random.integers(0, len(rows), count)
    points = (np.stack([columns[chosen], rows[chosen]], axis=1) + 0.5) / mask.shape[::-1]
    side = min((box[2:] - box[:2]).max() * np.exp(random.uniform(np.log(0.5), np.log(4.0))), 1.1)
    centre = points.mean(axis=0) + random.normal(0, 0.05, 2) * side
    if random.random() < 0.4:
        # The second look: the window lies around what the first one found.
        side = min((box[2:] - box[:2]).max() * random.uniform(1.0, 2.0), 1.1)
        centre = (box[:2] + box[2:]) / 2 + random.normal(0, 0.08, 2) * side
    return points, np.concatenate([centre - side / 2, centre + side / 2])


def step_loss(head: MaskHead, views: list[CachedView], random: np.random.Generator) -> tuple[Tensor, dict[str, float]] | None:
    """Loss of one batch of views and what it consists of; None where nothing was picked."""
    frames: list[Tensor] = []
    planes, targets, totals, is_point = [], [], [], []
    for view in views:
        own = []
        for index in pick(view, random):
            inside, box = decode(view.masks[index]), view.boxes_xyxy_norm[index]
            if random.random() < POINT_SHARE:
                points, window = point_prompt(inside, box, random)
                frame = torch.from_numpy(window).float()[None]
                planes.append(point_planes([torch.from_numpy(points).float()], frame))
            else:
                drawn = torch.from_numpy(jittered(box, random)).float()[None]
                frame = frames_of(drawn)
                planes.append(box_planes(drawn, frame))
            is_point.append(bool(planes[-1][0, 1].any()))
            height, width = inside.shape
            scale = torch.tensor([width, height, width, height])
            targets.append(roi_align(torch.from_numpy(inside).float()[None, None], [frame * scale], GRID, 1.0, 0, aligned=True)[0, 0])
            cell = (frame[0, 2:] - frame[0, :2]).prod() * width * height / GRID**2
            totals.append(inside.sum() / cell)
            own.append(frame)
        frames.append(torch.cat(own) if own else torch.zeros(0, 4))
    if not targets:
        return None
    target, total = torch.stack(targets), torch.stack(totals).float()
    logits, quality = head.predict(levels_of_views(views), frames, torch.cat(planes))
    shares = logits.sigmoid()
    dice = 1 - (2 * (shares * target).sum((1, 2)) + 1) / (shares.pow(2).sum((1, 2)) + target.pow(2).sum((1, 2)) + 1)
    binary = F.binary_cross_entropy_with_logits(logits, target)
    with torch.no_grad():
        found = logits > 0
        common = (found * target).sum((1, 2))
        # What the window does not show is missed, so that a window which is too small does not look good.
        overlap = common / (found.sum((1, 2)) + total - common).clamp(min=1)
    judged = F.binary_cross_entropy_with_logits(quality, overlap.clamp(0, 1))
    clicked = torch.tensor(is_point)
    parts = {"bce": binary.item(), "dice": dice.mean().item(), "box_iou": overlap[~clicked].mean().item()}
    return binary + dice.mean() + 0.2 * judged, parts | {"point_iou": overlap[clicked].mean().item()}


def true_box_iou(head: MaskHead, images: list[MaskedImage], cache: LevelCache) -> np.ndarray:
    """IoU of the predicted with the true mask of every true box, at the image's own size: float[number of masks]."""
    overlaps = []
    for number, image in enumerate(images):
        height, width = image.masks[0]["size"]
        found = head.masks_of(levels_of_views([cache[number]]), [tight_box(mask) for mask in image.masks], (width, height))
        overlaps += [pairwise_iou([a], [b])[0, 0] for a, b in zip(found, image.masks, strict=True)]
    return np.array(overlaps)


def train(
    head: MaskHead,
    caches: Sequence[LevelCache],
    minutes: float,
    on_epoch: Callable[[int, float], None],
    seed: int = 0,
) -> None:
    """Every image once an epoch, in a view drawn at random, until the time is up; by then the learning rate has fallen to zero."""
    random = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(head.parameters(), lr=LEARNING_RATE, weight_decay=0.02)
    start, share, epoch = time.monotonic(), 0.0, 0
    while share < 1:
        epoch += 1
        head.train()
        order, losses = random.permutation(len(caches[0])), dict[str, list[float]]()
        progress = tqdm(range(0, len(order), IMAGES_A_STEP), desc=f"epoch {epoch}", unit="step", mininterval=5)
        for first in progress:
            share = (time.monotonic() - start) / (60 * minutes)
            if share >= 1:
                break
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * min(share / 0.04 + 0.02, 0.5 + 0.5 * math.cos(math.pi * share))
            views = [caches[int(random.integers(len(caches)))][number] for number in order[first : first + IMAGES_A_STEP]]
            outcome = step_loss(head, views, random)
            if outcome is None:
                continue
            optimizer.zero_grad()
            outcome[0].backward()
            nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
            for name, value in outcome[1].items():
                losses.setdefault(name, []).append(value)
            progress.set_postfix({name: f"{np.nanmean(values):.3f}" for name, values in losses.items()}, refresh=False)
        head.eval()
        on_epoch(epoch, time.monotonic() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("work_dir", type=Path)
    parser.add_argument("--output", type=Path, default=ASSETS / MASK_HEAD_NAME, help="the file to write")
    parser.add_argument("--views", type=int, default=4, help="views of each image, the first one plain")
    parser.add_argument("--minutes", type=float, default=40, help="how long to train")
    args = parser.parse_args()
    torch.manual_seed(0)
    tower, scales, mean, std = load_tower()
    size_hw = embedded_config().vision_config.image_size_hw
    size = (size_hw[0], size_hw[1])

    def levels_of(pixels: Tensor) -> list[Tensor]:
        return tower(pixels)[1]

    def plain(images: list[MaskedImage], name: str) -> LevelCache:
        return write_cache(args.work_dir / name, (plain_view(i, size) for i in images), len(images), levels_of, mean, std, name)

    train_images, dev_images = training_images(args.data_dir)
    dev = plain(dev_images, "dev")
    caches = [plain(train_images, "view0")]
    for number in range(1, args.views):
        views = (random_view(image, size, random) for random in [np.random.default_rng(number)] for image in train_images)
        caches.append(write_cache(args.work_dir / f"view{number}", views, len(train_images), levels_of, mean, std, f"view{number}"))
    head = MaskHead(scales)

    def on_epoch(epoch: int, seconds: float) -> None:
        if epoch % 3 == 0:
            overlaps = true_box_iou(head, dev_images, dev)
            print(
                f"epoch {epoch}, {seconds / 60:.1f} min: mean IoU on dev {100 * overlaps.mean():.1f} % ({len(overlaps)} masks)",
                flush=True,
            )

    train(head, caches, args.minutes, on_epoch)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.half().contiguous() for k, v in head.state_dict().items()}, args.output, metadata={"scales": json.dumps(scales)})
    head = load_mask_head(args.output)
    print("| set | masks | mean IoU | the box itself |", "| --- | --- | --- | --- |", sep="\n")
    for name in (*TRAIN_SETS, "phrases", *OTHER_SETS):
        images = read_phrases(args.data_dir, "val") if name == "phrases" else read_set(args.data_dir, name, "val")
        if images:
            cache = plain(images, f"val_{name}")
            columns = [true_box_iou(head, images, cache), box_iou(images)]
            print(f"| {name} | {len(columns[0])} | " + " | ".join(f"{100 * column.mean():.1f}" for column in columns) + " |", flush=True)


def box_iou(images: list[MaskedImage]) -> np.ndarray:
    """IoU of every true box, taken as a mask, with its mask."""
    overlaps = []
    for mask in (mask for image in images for mask in image.masks):
        x0, y0, x1, y1 = tight_box(mask)
        overlaps.append(area(mask) / ((x1 - x0) * (y1 - y0)))
    return np.array(overlaps)


if __name__ == "__main__":
    main()
