"""From a click or a scribble to the thing under it: a mask and its box.

Whoever clicks does not say how large the thing is. So the mask head looks through windows of several sizes around the points; the box of what
it sees in each window, and every box that the caller proposes, gets a mask as a drawn box does. Of these masks that one is taken which the
head expects to be right, which the others resemble, and which contains the points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from gpt4roi.boxes import ROUNDING_PX, as_boxes, normalise
from gpt4roi.masks import MaskError, Rle, decode, encode, pairwise_iou, tight_box
from gpt4roi.models.mask_head import MaskHead, box_planes, frames_of, paste, point_planes

# Sides of the windows, in sides of the image. Where the points lie further apart than that, a window is as wide as they need.
WINDOW_SIDES = (0.06, 0.1, 0.17, 0.3, 0.5, 0.8, 1.1)
SPREAD = 1.25
# A mask without the points may still be taken, but only where no other has them.
MISSED = 0.1


@dataclass(frozen=True)
class PointMask:
    """mask: of the image's size; box_xyxy_abs: tight around it, in pixels; quality: the overlap with the truth that is expected, in [0, 1]."""

    mask: Rle
    box_xyxy_abs: tuple[float, float, float, float]
    quality: float


@torch.inference_mode()
def mask_at_points(
    head: MaskHead,
    levels: Sequence[Tensor],
    points_xy_abs: Sequence[Sequence[float]] | np.ndarray,
    image_size_wh: tuple[int, int],
    candidates_xyxy_abs: Sequence[Sequence[float]] | np.ndarray | None = None,
) -> PointMask:
    """The thing at a point, or along a scribble.

    Args:
      levels: the tower's, of one image, float[1, C_l, h_l, w_l].
      points_xy_abs: [P, 2] in pixels of the original image, P >= 1, all on one thing.
      candidates_xyxy_abs: [M, 4] in pixels: boxes of things, from a detector; those without a point are passed over.
    Raises:
      MaskError: no point, a point that is not a number, or one outside the image.
    """
    points = checked_points(points_xy_abs, image_size_wh)
    norm = torch.from_numpy(points / np.array(image_size_wh)).float().to(levels[0].device)
    windows = windows_around(norm)
    logits, _ = head.predict(levels, [windows], point_planes([norm] * len(windows), windows))
    boxes = []
    for grid, window in zip(logits.cpu().numpy(), windows.cpu().numpy(), strict=True):
        seen = paste(grid, window, image_size_wh, window * np.tile(image_size_wh, 2))
        boxes.append(tight_box(part_with(seen, points)))
    proposed = as_boxes(candidates_xyxy_abs)
    with_points = [((points >= box[:2]) & (points <= box[2:])).all() for box in proposed]
    found = np.concatenate([as_boxes(boxes), proposed[np.array(with_points, dtype=bool)]])
    drawn = torch.from_numpy(normalise(found, image_size_wh)).float().to(windows.device)
    frames = frames_of(drawn)
    logits, quality = head.predict(levels, [frames], box_planes(drawn, frames))
    pairs = zip(logits.cpu().numpy(), frames.cpu().numpy(), found, strict=True)
    masks = [paste(grid, frame, image_size_wh, box) for grid, frame, box in pairs]
    shares = np.array([inside_share(mask, points) for mask in masks])
    expected = quality.sigmoid().cpu().numpy()
    scores = expected * np.sqrt(pairwise_iou(masks, masks).mean(axis=1)) * (shares + MISSED)
    best = int(np.argmax(scores))
    mask = part_with(masks[best], points)
    return PointMask(mask, tight_box(mask), float(expected[best]))


def checked_points(points_xy_abs: Sequence[Sequence[float]] | np.ndarray, image_size_wh: tuple[int, int]) -> np.ndarray:
    """Points in pixels as float64[P, 2], moved inside where they are off by rounding.

    Raises:
      MaskError: see `mask_at_points`.
    """
    try:
        points = np.asarray(points_xy_abs, dtype=np.float64)
    except (TypeError, ValueError):
        points = np.zeros(0)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) == 0 or not np.isfinite(points).all():
        raise MaskError(f"a click or scribble is one or more points x, y in pixels; got {str(points_xy_abs)[:80]}")
    width, height = image_size_wh
    outside = ((points < -ROUNDING_PX) | (points > np.array([width, height]) + ROUNDING_PX)).any(axis=1)
    if outside.any():
        x, y = points[outside][0]
        raise MaskError(f"the point ({x:g}, {y:g}) lies outside the image, which is {width} x {height} pixels; click inside")
    return np.clip(points, 0, [width, height])


def windows_around(points_xy_norm: Tensor) -> Tensor:
    """Square windows (in sides of the image) around points float[P, 2] in [0, 1]: float[W, 4], smallest first."""
    low, high = points_xy_norm.amin(0), points_xy_norm.amax(0)
    least = SPREAD * float((high - low).max())
    halves = torch.tensor([max(side, least) for side in WINDOW_SIDES], device=points_xy_norm.device)[:, None] / 2
    centre = ((low + high) / 2)[None]
    return torch.cat([centre - halves, centre + halves], dim=1)


def inside_share(mask: Rle, points_xy_abs: np.ndarray) -> float:
    """The share of points that a mask contains."""
    return float(decode(mask)[_pixels_of(points_xy_abs, mask)].mean())


def part_with(mask: Rle, points_xy_abs: np.ndarray) -> Rle:
    """The connected parts that contain a point; the whole mask where none does."""
    labels = cv2.connectedComponents(decode(mask).astype(np.uint8), connectivity=8)[1]
    hit = np.setdiff1d(labels[_pixels_of(points_xy_abs, mask)], [0])
    return encode(np.isin(labels, hit)) if len(hit) else mask


def _pixels_of(points_xy_abs: np.ndarray, mask: Rle) -> tuple[np.ndarray, np.ndarray]:
    height, width = mask["size"]
    columns, rows = np.minimum(points_xy_abs.astype(int), [width - 1, height - 1]).T
    return rows, columns
