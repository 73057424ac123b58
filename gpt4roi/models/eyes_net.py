"""What looks at a picture beside the chat model: a detector's heads, an ImageNet head and linear readers of names, on the shipped tower.

Four witnesses speak about a box: `crop_names` (frozen features of the box), `region_names` (the chat model's own region embedding), the
COCO detector's class scores there, and EfficientNet-Lite0's own 1,000 classes on a crop. `gpt4roi.eyes.recogniser` joins them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import roi_align

from gpt4roi.models.ssd_heads import INPUT_SIZE, Detections, SSDHeads

CROP_SIZE = 224
# How far a crop reaches beyond its box, as a share of the box's side.
CROP_MARGIN = 0.08
LITE_WIDTH, IMAGENET_CLASSES = 1280, 1000
DETECTOR_WIDTHS = (576, 1280)
FEATURE_WIDTH = LITE_WIDTH + sum(DETECTOR_WIDTHS)
# Finding looks at the whole picture and at four overlapping parts of it, for small things.
TILE_SHARE = 0.6
TILES = ((0.0, 0.0), (1 - TILE_SHARE, 0.0), (0.0, 1 - TILE_SHARE), (1 - TILE_SHARE, 1 - TILE_SHARE))


@dataclass(frozen=True)
class Witnesses:
    """What each witness says of N boxes, before they are joined; every tensor is float32 with N rows.

    crop: [N, names] logits. region: [N, names] logits. detector: [N, 80] probabilities, one a class. imagenet: [N, 1000] logits.
    """

    crop: Tensor
    region: Tensor
    detector: Tensor
    imagenet: Tensor


class EyesNet(nn.Module):
    """Heads on the two backbones of the embedded default's tower, which is not owned.

    Args:
      tower: `PyramidTower` with a MobileNetV2 and an EfficientNet-Lite0, in this order.
      num_names: names that the linear readers know.
      region_width: width of the chat model's region embedding.
    """

    def __init__(self, tower: Any, num_names: int, region_width: int) -> None:
        super().__init__()
        self._tower = [tower]  # In a list, so that its weights are not ours.
        self.ssd = SSDHeads()
        self.lite_head = nn.Conv2d(320, LITE_WIDTH, 1)
        self.imagenet = nn.Linear(LITE_WIDTH, IMAGENET_CLASSES)
        self.crop_names = nn.Linear(FEATURE_WIDTH, num_names)
        self.region_names = nn.Linear(region_width, num_names)

    def detect(self, rgb: np.ndarray) -> Detections:
        """Every anchor of the whole image read at 300 x 300. `rgb`: uint8[h, w, 3]."""
        return self._detect(_as_pixels(rgb, INPUT_SIZE))

    def detect_parts(self, rgb: np.ndarray) -> list[Detections]:
        """Every anchor of the four parts, in the frame of the whole image; without those that a cut edge goes through."""
        height, width = rgb.shape[:2]
        found = []
        for left, top in TILES:
            x0, y0 = int(left * width), int(top * height)
            x1, y1 = min(width, x0 + max(1, round(TILE_SHARE * width))), min(height, y0 + max(1, round(TILE_SHARE * height)))
            part = self._detect(_as_pixels(rgb[y0:y1, x0:x1], INPUT_SIZE))
            boxes = part.boxes_xyxy_norm
            inner = torch.tensor([left > 0, top > 0, left == 0, top == 0])
            cut = (torch.stack([boxes[:, 0] < 0.01, boxes[:, 1] < 0.01, boxes[:, 2] > 0.99, boxes[:, 3] > 0.99], dim=1) & inner).any(1)
            scale = torch.tensor([(x1 - x0) / width, (y1 - y0) / height] * 2)
            shift = torch.tensor([x0 / width, y0 / height] * 2)
            found.append(Detections(boxes[~cut] * scale + shift, part.class_logits[~cut]))
        return found

    def features(self, rgb: np.ndarray, levels: Sequence[Tensor], boxes_xyxy_norm: Tensor) -> tuple[Tensor, Tensor]:
        """What `crop_names` and `imagenet` read of N boxes: float32[N, FEATURE_WIDTH] and float32[N, 1280].

        Args:
          rgb: uint8[h, w, 3], the whole image. levels: the MobileNetV2's maps of stride 16 and 32, float[1, 96 | 320, h, w].
        """
        crops = torch.cat([_as_pixels(crop_of(rgb, box), CROP_SIZE) for box in boxes_xyxy_norm.tolist()])
        lite = F.relu6(self.lite_head(self._tower[0].backbones[1](crops.to(memory_format=torch.channels_last))[-1])).mean((2, 3))
        maps = self.ssd.feature_maps(levels[0].float(), levels[1].float())[:2]
        pooled = [_pooled(feature_map, boxes_xyxy_norm) for feature_map in maps]
        return torch.cat([F.normalize(part, dim=1) for part in (lite, *pooled)], dim=1), lite

    def witnesses(
        self, rgb: np.ndarray, levels: Sequence[Tensor], detector: Tensor, region_embeddings: Tensor, boxes_xyxy_norm: Tensor
    ) -> Witnesses:
        """All four witnesses of N boxes; `detector` is float32[N, 80] from `ssd_heads.class_scores_at`, the rest as of `features`."""
        features, lite = self.features(rgb, levels, boxes_xyxy_norm)
        region = self.region_names(F.normalize(region_embeddings.float(), dim=1))
        return Witnesses(self.crop_names(features), region, detector, self.imagenet(lite))

    def rough_witnesses(self, levels: Sequence[Tensor], detector: Tensor, region_embeddings: Tensor, boxes_xyxy_norm: Tensor) -> Witnesses:
        """As `witnesses`, but the EfficientNet's view of a box is cut out of its map of the whole image and not of a crop: faster, coarser.

        Args:
          levels: all of the tower's, float[1, C_l, h_l, w_l].
        """
        first, second = detector_levels(levels)
        lite = _pooled(F.relu6(self.lite_head([level for level in levels if level.shape[1] == 320][-1].float())), boxes_xyxy_norm)
        pooled = [_pooled(feature_map, boxes_xyxy_norm) for feature_map in self.ssd.feature_maps(first.float(), second.float())[:2]]
        features = torch.cat([F.normalize(part, dim=1) for part in (lite, *pooled)], dim=1)
        region = self.region_names(F.normalize(region_embeddings.float(), dim=1))
        return Witnesses(self.crop_names(features), region, detector, self.imagenet(lite))

    def _detect(self, pixels: Tensor) -> Detections:
        levels = self._tower[0].backbones[0](pixels.to(memory_format=torch.channels_last))
        return self.ssd(levels[2].float(), levels[3].float())


def detector_levels(levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The MobileNetV2's maps of stride 16 and 32 among the embedded default's tower levels."""
    wide = {level.shape[1]: level for level in levels}
    return wide[96], _widest_320(levels)


def _widest_320(levels: Sequence[Tensor]) -> Tensor:
    # Both backbones end in 320 channels of stride 32; the MobileNetV2's comes first.
    return next(level for level in levels if level.shape[1] == 320)


def crop_of(rgb: np.ndarray, box_xyxy_norm: Sequence[float]) -> np.ndarray:
    """The box with its margin, made square where the image has room: uint8[h, w, 3]."""
    height, width = rgb.shape[:2]
    x0, y0, x1, y1 = (value * side for value, side in zip(box_xyxy_norm, (width, height, width, height), strict=True))
    side_x, side_y = (x1 - x0) * (1 + 2 * CROP_MARGIN), (y1 - y0) * (1 + 2 * CROP_MARGIN)
    side = max(side_x, side_y)
    left, right = _span((x0 + x1) / 2, side, width)
    top, bottom = _span((y0 + y1) / 2, side, height)
    return rgb[top:bottom, left:right]


def _span(centre: float, length: float, side: int) -> tuple[int, int]:
    """`length` pixels around `centre`, moved and cut to lie in the image; at least one."""
    length = min(length, side)
    start = int(np.clip(round(centre - length / 2), 0, side - 1))
    end = max(start + 1, min(side, round(start + length)))
    return (max(0, round(end - length)) if end - start < length else start), end


def _as_pixels(rgb: np.ndarray, size: int) -> Tensor:
    """float32[1, 3, size, size] in [-1, 1], as both backbones learned it."""
    shrinks = rgb.shape[0] > size or rgb.shape[1] > size
    small = cv2.resize(rgb, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return torch.from_numpy(small.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]


def _pooled(feature_map: Tensor, boxes_xyxy_norm: Tensor) -> Tensor:
    """The mean of a map in each box, float32[N, C]."""
    height, width = feature_map.shape[-2:]
    scaled = boxes_xyxy_norm * torch.tensor([width, height, width, height], dtype=torch.float32)
    return cast(Tensor, roi_align(feature_map, [scaled], 1, 1.0, 7, aligned=True)).flatten(1)
