"""The mask head: the shape of the thing in a box, or at a point, from the vision tower's levels. No class is asked for.

One small U-shaped network reads RoIAlign crops of every level of a frame, which is the box and a margin, together with two planes that say
what was drawn: the box, or the points of a click or a scribble. The tower stays frozen and has run already, so a mask costs only the head.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.ops import roi_align

from gpt4roi.boxes import as_boxes, normalise
from gpt4roi.masks import MaskError, Rle, encode
from gpt4roi.models.modeling_gpt4roi import GPT4RoIForConditionalGeneration

# Cells a side of what is predicted, and of the two coarser stages.
GRID, MIDDLE, COARSE = 56, 28, 14
# A frame is larger than its box by this share of the box's side at each of its sides: an outline is easier to see from both sides.
MARGIN = 0.1
WIDTHS = {"fine": 16, "middle": 48, "coarse": 96, "trunk": 96}
# Of a point, in cells of the grid.
POINT_SIGMA = 2.0
MASK_HEAD_NAME = "mask_head.safetensors"


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions before which channels are normalised, added to the input; float[R, C, s, s] in and out."""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.GroupNorm(8, channels) for _ in range(2))
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=rate, dilation=rate) for rate in (1, dilation))

    def forward(self, hidden: Tensor) -> Tensor:
        update = hidden
        for norm, conv in zip(self.norms, self.convs, strict=True):
            update = conv(F.silu(norm(update)))
        return hidden + update


class MaskHead(nn.Module):
    """Masks of boxes and points.

    Args:
      scales: channels of the tower's levels, those of one size together, finest first; four sizes.
    """

    def __init__(self, scales: Sequence[Sequence[int]]) -> None:
        super().__init__()
        if len(scales) != 4:
            raise ValueError(f"the mask head reads levels of four sizes; got {len(scales)}")
        self.scales = [list(channels) for channels in scales]
        fine, middle, coarse, trunk = (WIDTHS[name] for name in ("fine", "middle", "coarse", "trunk"))
        self.projections = nn.ModuleList(
            nn.Conv2d(sum(channels), width, 1) for channels, width in zip(scales, (fine, middle, coarse, coarse), strict=True)
        )
        # Two planes of what was drawn, x and y, width and height of the frame.
        self.trunk_input = nn.Conv2d(middle + 2 * coarse + 6, trunk, 1)
        self.trunk = nn.Sequential(ResidualBlock(trunk), ResidualBlock(trunk, dilation=2), ResidualBlock(trunk, dilation=3))
        self.context = nn.Linear(trunk, trunk)
        self.trunk_output = nn.Conv2d(trunk, middle, 1)
        self.middle_input = nn.Conv2d(middle + 2, middle, 1)
        self.middle_block = ResidualBlock(middle)
        self.middle_output = nn.Conv2d(middle, fine, 1)
        self.fine_input = nn.Conv2d(fine + 2, fine, 3, padding=1)
        self.fine_block = ResidualBlock(fine)
        self.output = nn.Sequential(nn.GroupNorm(8, fine), nn.SiLU(), nn.Conv2d(fine, 1, 1))
        self.quality = nn.Sequential(nn.Linear(2 * trunk + 6, trunk), nn.SiLU(), nn.Linear(trunk, 1))

    def forward(self, levels: Sequence[Tensor], boxes_xyxy_norm: Sequence[Tensor] | Tensor) -> Tensor:
        """Logits of the mask in the frame of every box: float[R, GRID, GRID], cells of `frames_of(boxes)`, rows from top to bottom.

        Args:
          levels: the tower's, float[B, C_l, h_l, w_l], finest first.
          boxes_xyxy_norm: B tensors float[R_b, 4] in [0, 1] of the image; for one image float[R, 4] alone.
        """
        boxes = [boxes_xyxy_norm] if isinstance(boxes_xyxy_norm, Tensor) else list(boxes_xyxy_norm)
        frames = [frames_of(b) for b in boxes]
        return self.predict(levels, frames, box_planes(torch.cat(boxes), torch.cat(frames)))[0]

    def predict(self, levels: Sequence[Tensor], frames_xyxy_norm: Sequence[Tensor], drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Logits float[R, GRID, GRID] and the logit of the overlap that the mask is expected to have with the truth, float[R].

        Args:
          frames_xyxy_norm: B tensors float[R_b, 4]; what lies outside the image reads as zero.
          drawn: `box_planes` or `point_planes` of the frames.
        """
        frames = [frame.reshape(-1, 4).float() for frame in frames_xyxy_norm]
        # RoIAlign commutes with a 1x1 convolution, and a map has fewer cells than the crops of many boxes.
        maps = [conv(level) for conv, level in zip(self.projections, self._joined(levels), strict=True)]
        samples = (1, 1, 2, 2)
        sizes = (GRID, MIDDLE, COARSE, COARSE)
        fine, middle, *coarse = [_crop(level, frames, size, count) for level, size, count in zip(maps, sizes, samples, strict=True)]
        every = torch.cat(frames)
        drawn_middle, drawn_coarse = F.max_pool2d(drawn, GRID // MIDDLE), F.max_pool2d(drawn, GRID // COARSE)
        places = torch.cat([_coordinates(every), (every[:, 2:] - every[:, :2])[:, :, None, None].expand(-1, -1, COARSE, COARSE)], dim=1)
        hidden = self.trunk_input(torch.cat([F.avg_pool2d(middle, MIDDLE // COARSE), *coarse, drawn_coarse, places], dim=1))
        hidden = self.trunk(hidden)
        context = F.silu(hidden + self.context(hidden.mean((2, 3)))[:, :, None, None])
        hidden = middle + _enlarge(self.trunk_output(context), MIDDLE)
        hidden = self.middle_block(self.middle_input(torch.cat([hidden, drawn_middle], dim=1)))
        hidden = fine + _enlarge(self.middle_output(F.silu(hidden)), GRID)
        logits = self.output(self.fine_block(self.fine_input(torch.cat([hidden, drawn], dim=1))))[:, 0]
        return logits, self.quality(_evidence(context.detach(), logits.detach().sigmoid(), drawn))[:, 0]

    @torch.inference_mode()
    def masks_of(
        self,
        levels: Sequence[Tensor],
        boxes_xyxy_abs: Sequence[Sequence[float]] | np.ndarray,
        image_size_wh: tuple[int, int],
    ) -> list[Rle]:
        """A mask for every box of one image, inside the box, at the image's size; no boxes give [].

        Args:
          boxes_xyxy_abs: N boxes in pixels of the original image.
        """
        boxes = as_boxes(boxes_xyxy_abs)
        if len(boxes) == 0:
            return []
        norm = torch.from_numpy(normalise(boxes, image_size_wh)).float()
        logits = self(levels, norm.to(levels[0].device)).float().cpu().numpy()
        return [paste(grid, frame, image_size_wh, box) for grid, frame, box in zip(logits, frames_of(norm).numpy(), boxes, strict=True)]

    def _joined(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Levels of one size as one map."""
        found = [level.shape[1] for level in levels]
        if found != [width for channels in self.scales for width in channels]:
            raise ValueError(f"the mask head reads levels of {self.scales} channels; got {found}")
        rest = iter(levels)
        return [torch.cat([next(rest).float() for _ in channels], dim=1) for channels in self.scales]


def load_mask_head(path: Path) -> MaskHead:
    """The trained head, in float32, for inference."""
    with safe_open(str(path), framework="pt") as file:
        head = MaskHead(json.loads(file.metadata()["scales"]))
    head.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return head.eval()


def mask_head_of(model: GPT4RoIForConditionalGeneration) -> MaskHead:
    """The shipped head, for models with the embedded default's vision tower; loaded once.

    Raises:
      MaskError: the model has another tower.
    """
    if not has_mask_head(model):
        raise MaskError("this model's vision tower has no mask head, so points cannot become an outline; draw a box, or give a mask")
    return _shipped_head()


def has_mask_head(model: GPT4RoIForConditionalGeneration) -> bool:
    """Whether the shipped head reads this model's levels."""
    return model.vision_tower.level_channels == [width for channels in _shipped_head().scales for width in channels]


@cache
def _shipped_head() -> MaskHead:
    return load_mask_head(Path(__file__).parent.parent / "assets" / "embedded" / MASK_HEAD_NAME)


def frames_of(boxes_xyxy_norm: Tensor) -> Tensor:
    """Boxes and their margin, float[R, 4]; they may leave the image."""
    boxes = boxes_xyxy_norm.reshape(-1, 4)
    sides = boxes[:, 2:] - boxes[:, :2]
    return torch.cat([boxes[:, :2] - MARGIN * sides, boxes[:, 2:] + MARGIN * sides], dim=1)


def box_planes(boxes_xyxy_norm: Tensor, frames_xyxy_norm: Tensor) -> Tensor:
    """What a drawn box looks like to the head: how much of each cell lies in it, and no points; float[R, 2, GRID, GRID]."""
    cells = _in_cells(boxes_xyxy_norm.reshape(-1, 2, 2), frames_xyxy_norm).flatten(1)
    start = torch.arange(GRID, device=cells.device, dtype=cells.dtype)
    covered = [(torch.minimum(cells[:, None, 2 + a], start + 1) - torch.maximum(cells[:, None, a], start)).clamp(0, 1) for a in (0, 1)]
    inside = covered[1][:, :, None] * covered[0][:, None, :]
    return torch.stack([inside, torch.zeros_like(inside)], dim=1)


def point_planes(points_xy_norm: Sequence[Tensor], frames_xyxy_norm: Tensor) -> Tensor:
    """What points look like to the head: no box, and a bump at each point; float[R, 2, GRID, GRID].

    Args:
      points_xy_norm: R tensors float[P_r, 2] in [0, 1] of the image, P_r >= 1.
    """
    centres = torch.arange(GRID, device=frames_xyxy_norm.device, dtype=torch.float32) + 0.5
    bumps = []
    for points, frame in zip(points_xy_norm, frames_xyxy_norm.reshape(-1, 4), strict=True):
        cells = _in_cells(points.reshape(1, -1, 2), frame[None])[0]
        squared = (centres[None, None, :] - cells[:, 0, None, None]) ** 2 + (centres[None, :, None] - cells[:, 1, None, None]) ** 2
        bumps.append(torch.exp(-squared.amin(0) / (2 * POINT_SIGMA**2)))
    stacked = torch.stack(bumps) if bumps else frames_xyxy_norm.new_zeros(0, GRID, GRID)
    return torch.stack([torch.zeros_like(stacked), stacked], dim=1)


def paste(
    logits: np.ndarray, frame_xyxy_norm: np.ndarray, image_size_wh: tuple[int, int], box_xyxy_abs: Sequence[float] | np.ndarray
) -> Rle:
    """Logits of one frame as a mask of the image: where they are positive, inside the box.

    Where nothing in the box is, the mask is the box: a mask without a pixel is no answer to somebody who drew one.

    Args:
      logits: float32[GRID, GRID]. frame_xyxy_norm: float[4]. box_xyxy_abs: four numbers in pixels of the original image.
    """
    width, height = image_size_wh
    # Pixels whose centre the box contains, at least one.
    (left, right), (top, bottom) = (_pixels(box_xyxy_abs[axis], box_xyxy_abs[axis + 2], side) for axis, side in ((0, width), (1, height)))
    x0, y0, x1, y1 = (float(value) for value in frame_xyxy_norm)
    step_x, step_y = GRID / ((x1 - x0) * width), GRID / ((y1 - y0) * height)
    # From the centre of a pixel to where it lies among the centres of the cells.
    to_cells = np.array(
        [[step_x, 0, (left + 0.5 - x0 * width) * step_x - 0.5], [0, step_y, (top + 0.5 - y0 * height) * step_y - 0.5]], dtype=np.float64
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    part = cv2.warpAffine(logits.astype(np.float32), to_cells, (right - left, bottom - top), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    mask = np.zeros((height, width), dtype=bool)
    mask[top:bottom, left:right] = part > 0 if (part > 0).any() else True
    return encode(mask)


def _pixels(start: float, end: float, side: int) -> tuple[int, int]:
    first = int(np.clip(np.ceil(start - 0.5), 0, side - 1))
    return first, max(first + 1, int(np.clip(np.ceil(end - 0.5), 0, side)))


def _in_cells(points_xy_norm: Tensor, frames_xyxy_norm: Tensor) -> Tensor:
    """float[R, P, 2] of the image to cells of R frames."""
    frames = frames_xyxy_norm.reshape(-1, 4).float()
    return (points_xy_norm.float() - frames[:, None, :2]) / (frames[:, None, 2:] - frames[:, None, :2]) * GRID


def _crop(level: Tensor, frames_xyxy_norm: list[Tensor], size: int, samples: int) -> Tensor:
    height, width = level.shape[-2:]
    scale = torch.tensor([width, height, width, height], dtype=torch.float32, device=level.device)
    return roi_align(level, [frame.to(level.device) * scale for frame in frames_xyxy_norm], size, 1.0, samples, aligned=True)


def _evidence(context: Tensor, shares: Tensor, drawn: Tensor) -> Tensor:
    """What a predicted mask is judged by: features inside and outside, its size, how clear-cut it is, what it has at the frame's border and
    in common with what was drawn; float[R, 2 * C + 6].
    """
    coarse = F.avg_pool2d(shares[:, None], GRID // COARSE)
    means = [(context * weight).sum((2, 3)) / weight.sum((2, 3)).clamp(min=1e-3) for weight in (coarse, 1 - coarse)]
    border = torch.cat([shares[:, 0], shares[:, -1], shares[:, :, 0], shares[:, :, -1]], dim=1).mean(1)
    size = shares.mean((1, 2))
    common = (drawn * shares[:, None]).sum((2, 3)) / drawn.sum((2, 3)).clamp(min=1)
    filled = (drawn[:, 0] * shares).sum((1, 2)) / shares.sum((1, 2)).clamp(min=1)
    numbers = [size, (2 * shares - 1).abs().mean((1, 2)), border, filled]
    return torch.cat([*means, torch.stack(numbers, dim=1), common], dim=1)


def _coordinates(frames: Tensor) -> Tensor:
    line = torch.linspace(-1, 1, COARSE, device=frames.device)
    x, y = line[None, :].expand(COARSE, COARSE), line[:, None].expand(COARSE, COARSE)
    return torch.stack([x, y])[None].expand(len(frames), -1, -1, -1)


def _enlarge(hidden: Tensor, size: int) -> Tensor:
    return F.interpolate(hidden, size=(size, size), mode="bilinear", align_corners=False)
