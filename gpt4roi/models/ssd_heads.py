"""The COCO detector's own heads on the shipped MobileNetV2: boxes with class scores, and class scores of a box that is given.

Port of `ssd_mobilenet_v2_coco_2018_03_29` (TensorFlow model zoo, Apache-2.0) behind its backbone. The detector reads 300 x 300 pixels,
six levels of stride 16 to 300 and 1,917 anchors; its scores are one sigmoid a class. The graph's own post-processing hides boxes
below a fixed score and is not ported: `proposals` suppresses doubles by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import batched_nms, box_iou

COCO_NAMES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light", "fire hydrant", "stop sign",
    "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard",
    "surfboard", "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange",
    "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet", "tv",
    "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase",
    "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip

INPUT_SIZE = 300
# Ratio of width to height, and size as a share of the image's side, of each level's anchors (ssd_anchor_generator of the checkpoint).
MIN_SCALE, MAX_SCALE, LEVELS = 0.2, 0.95, 6
RATIOS = (1.0, 2.0, 0.5, 3.0, 0.3333)
# The box coder's factors for y, x, height and width.
CODER = (10.0, 10.0, 5.0, 5.0)
EXTRA_WIDTHS = ((1280, 256, 512), (512, 128, 256), (256, 128, 256), (256, 64, 128))


@dataclass(frozen=True)
class Detections:
    """Every anchor of one image, before suppression.

    boxes_xyxy_norm: float32[A, 4]. class_logits: float32[A, 80] in the order of `COCO_NAMES`.
    """

    boxes_xyxy_norm: Tensor
    class_logits: Tensor


@dataclass(frozen=True)
class Proposals:
    """Boxes without doubles, the surest first: boxes_xyxy_norm float32[M, 4], objectness float32[M], class_scores float32[M, 80]."""

    boxes_xyxy_norm: Tensor
    objectness: Tensor
    class_scores: Tensor


def same_padding(feature_map: Tensor, stride: int) -> Tensor:
    """Zeros around a map as TensorFlow's SAME wants them for a 3 x 3 kernel: with stride 2 the odd one lies right and below."""
    height, width = feature_map.shape[-2:]
    pad_y, pad_x = (max((-(-size // stride) - 1) * stride + 3 - size, 0) for size in (height, width))
    return F.pad(feature_map, (pad_x // 2, pad_x - pad_x // 2, pad_y // 2, pad_y - pad_y // 2))


def anchors(grids_hw: Sequence[tuple[int, int]], scale: float = 1.0) -> Tensor:
    """Centre and size of every anchor: float32[A, 4] as cx, cy, w, h in [0, 1] of the image.

    Args:
      grids_hw: height and width of each level's map, finest first.
      scale: of the anchors' sizes; 300 / S where the detector reads S x S pixels, for what it has learned is sizes in pixels.
    """
    scales = [MIN_SCALE + (MAX_SCALE - MIN_SCALE) * level / (LEVELS - 1) for level in range(LEVELS)] + [1.0]
    tables = []
    for level, (height, width) in enumerate(grids_hw):
        # The finest level has a small square and two others; the rest a square more, between its own size and the next level's.
        shapes = [(scales[level], ratio) for ratio in RATIOS] + [((scales[level] * scales[level + 1]) ** 0.5, 1.0)]
        if level == 0:
            shapes = [(0.1, 1.0), (scales[0], 2.0), (scales[0], 0.5)]
        sizes = torch.tensor([[size * ratio**0.5, size / ratio**0.5] for size, ratio in shapes]) * scale
        cy, cx = torch.meshgrid((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij")
        centres = torch.stack([cx, cy], dim=-1).reshape(-1, 1, 2).expand(-1, len(shapes), 2)
        tables.append(torch.cat([centres, sizes.expand(height * width, -1, 2)], dim=-1).reshape(-1, 4))
    return torch.cat(tables)


def decode(offsets: Tensor, anchors_cxcywh: Tensor) -> Tensor:
    """The box predictors' float32[A, 4] (y, x, height, width) and their anchors to boxes_xyxy_norm float32[A, 4], clipped to the image."""
    ty, tx, th, tw = (offsets / torch.tensor(CODER)).unbind(-1)
    cx, cy, w, h = anchors_cxcywh.unbind(-1)
    half_w, half_h = w * tw.exp() / 2, h * th.exp() / 2
    cx, cy = cx + tx * w, cy + ty * h
    return torch.stack([cx - half_w, cy - half_h, cx + half_w, cy + half_h], dim=-1).clamp(0, 1)


class ExtraLayer(nn.Module):
    """1 x 1 to fewer channels, 3 x 3 a channel with stride 2, 1 x 1 to more; ReLU6 behind each. Batch norms are folded in."""

    def __init__(self, width_in: int, width: int, width_out: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(width_in, width, 1)
        self.depthwise = nn.Conv2d(width, width, 3, stride=2, groups=width)
        self.expand = nn.Conv2d(width, width_out, 1)

    def forward(self, feature_map: Tensor) -> Tensor:
        hidden = F.relu6(self.reduce(feature_map))
        hidden = F.relu6(self.depthwise(same_padding(hidden, 2)))
        return F.relu6(self.expand(hidden))


class SSDHeads(nn.Module):
    """What follows the backbone: levels of stride 16 and 32 to every anchor's box and class scores."""

    def __init__(self) -> None:
        super().__init__()
        # The first predictor looks at the inside of the next block, where stride 16 is widest; the second at the classifier's head.
        self.expansion = nn.Conv2d(96, 576, 1)
        self.head = nn.Conv2d(320, 1280, 1)
        self.extras = nn.ModuleList(ExtraLayer(*widths) for widths in EXTRA_WIDTHS)
        widths = [576, 1280, *(out for _, _, out in EXTRA_WIDTHS)]
        self.counts = [3] + [6] * (LEVELS - 1)
        self.box_predictors = nn.ModuleList(nn.Conv2d(w, 4 * n, 3, padding=1) for w, n in zip(widths, self.counts, strict=True))
        self.class_predictors = nn.ModuleList(
            nn.Conv2d(w, len(COCO_NAMES) * n, 3, padding=1) for w, n in zip(widths, self.counts, strict=True)
        )

    def feature_maps(self, level16: Tensor, level32: Tensor) -> list[Tensor]:
        """The six maps that the predictors read, finest first."""
        maps = [F.relu6(self.expansion(level16)), F.relu6(self.head(level32))]
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        return maps

    def forward(self, level16: Tensor, level32: Tensor, input_size: int = INPUT_SIZE) -> Detections:
        """One image's levels to all its anchors.

        Args:
          level16: float32[1, 96, h, w], the MobileNetV2's last map of stride 16.
          level32: float32[1, 320, h, w], its last map.
          input_size: side of the square image that the backbone read, in pixels.
        """
        maps = self.feature_maps(level16, level32)
        offsets = [_by_anchor(predictor(m), 4) for predictor, m in zip(self.box_predictors, maps, strict=True)]
        logits = [_by_anchor(predictor(m), len(COCO_NAMES)) for predictor, m in zip(self.class_predictors, maps, strict=True)]
        table = anchors([cast("tuple[int, int]", tuple(m.shape[-2:])) for m in maps], INPUT_SIZE / input_size)
        return Detections(decode(torch.cat(offsets), table), torch.cat(logits))


def _by_anchor(prediction: Tensor, width: int) -> Tensor:
    """float32[1, n * width, h, w] to float32[h * w * n, width], row by row of the grid as the anchors are."""
    return prediction[0].permute(1, 2, 0).reshape(-1, width)


def proposals(detections: Detections, limit: int = 100, iou_threshold: float = 0.6) -> Proposals:
    """The `limit` surest boxes; of boxes that overlap by more than `iou_threshold` and are of one class the surest is kept.

    A box's class is its best one, so that a box comes back once with the scores of all classes.
    """
    scores = detections.class_logits.sigmoid()
    objectness, classes = scores.max(-1)
    kept = batched_nms(detections.boxes_xyxy_norm, objectness, classes, iou_threshold)[:limit]
    return Proposals(detections.boxes_xyxy_norm[kept], objectness[kept], scores[kept])


def class_scores_at(detections: Detections, boxes_xyxy_norm: Tensor, power: float = 4.0) -> Tensor:
    """What the detector sees in given boxes: the anchors' scores, weighted by their overlap with the box.

    Args:
      boxes_xyxy_norm: float32[N, 4].
      power: of the intersection over union; 4 lets the nearest anchors speak almost alone.
    Returns:
      float32[N, 80], one probability a class, each by itself. A box that no anchor touches has zeros.
    """
    weights = box_iou(boxes_xyxy_norm, detections.boxes_xyxy_norm) ** power
    total = weights.sum(-1, keepdim=True)
    return weights @ detections.class_logits.sigmoid() / total.clamp_min(torch.finfo(total.dtype).tiny)
