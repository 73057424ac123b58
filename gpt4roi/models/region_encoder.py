"""The region encoder: fuse the levels of a vision tower, crop every box out of every level, one embedding per box.

Architecture of the released GPT4RoI spatial module (arXiv:2307.03601 section 3.1), with every number in `GPT4RoIRegionConfig`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import roi_align

from gpt4roi.models.configuration_gpt4roi import GPT4RoIRegionConfig


def resize_map(feature_map: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Bilinear with aligned corners, computed in float32; float[B, C, h, w] in and out, input dtype."""
    if feature_map.shape[-2:] == size_hw:
        return feature_map
    return F.interpolate(feature_map.float(), size=size_hw, mode="bilinear", align_corners=True).to(feature_map.dtype)


def coordinate_channels(feature_map: Tensor) -> Tensor:
    """x, then y, both from -1 to 1: float[B, 2, h, w] (CoordConv)."""
    batch, _, height, width = feature_map.shape
    x = torch.linspace(-1, 1, width, device=feature_map.device)
    y = torch.linspace(-1, 1, height, device=feature_map.device)
    grid = torch.stack([x[None, :].expand(height, width), y[:, None].expand(height, width)])
    return grid.to(feature_map.dtype)[None].expand(batch, -1, -1, -1)


def crop_regions(
    maps: Sequence[Tensor], boxes_xyxy_norm: Sequence[Tensor], config: GPT4RoIRegionConfig, bins: Tensor | None = None
) -> list[Tensor]:
    """RoIAlign of every box out of every level: float32[sum(R_b), C, roi_size, roi_size] each.

    Args:
      bins: float[sum(R_b), roi_size, roi_size], how much of each bin a region's mask covers; None for boxes alone, which cover all.

    Raises:
      ValueError: the number of box sets is not the number of images.
    """
    if len(boxes_xyxy_norm) != maps[0].shape[0]:
        raise ValueError(
            f"{maps[0].shape[0]} pictures but {len(boxes_xyxy_norm)} sets of boxes were given; give one set (maybe empty) per picture"
        )
    crops = []
    for level_map in maps:
        height, width = level_map.shape[-2:]
        size = torch.tensor([width, height, width, height], dtype=torch.float32, device=level_map.device)
        # Coordinates stay float32 whatever the weights are: half precision moves a corner by up to half a pixel.
        boxes = [b.to(device=level_map.device, dtype=torch.float32).reshape(-1, 4) * size for b in boxes_xyxy_norm]
        crop = roi_align(level_map.float(), boxes, config.roi_size, 1.0, config.sampling_ratio, aligned=True)
        crops.append(crop if bins is None else crop * bins[:, None].to(crop))
    return crops


class FuseRound(nn.Module):
    """One round: every level takes a quarter of its channels from each neighbour, then a shared 3x3 convolution."""

    def __init__(self, channels: int, norm_groups: int) -> None:
        super().__init__()
        self.quarter = channels // 4
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(norm_groups, channels)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        q, last = self.quarter, len(maps) - 1
        fused = []
        for level, own in enumerate(maps):
            size_hw = (own.shape[-2], own.shape[-1])
            from_coarser = resize_map(maps[min(level + 1, last)][:, -q:], size_hw)
            from_finer = resize_map(maps[max(level - 1, 0)][:, -2 * q : -q], size_hw)
            mixed = torch.cat([own[:, : -2 * q], from_coarser, from_finer], dim=1)
            fused.append(F.relu(self.norm(self.conv(mixed))))
        return fused


class RegionEncoder(nn.Module):
    """Levels of a vision tower and boxes to one embedding per box.

    Args:
      config: every number.
      in_channels: channels of each level, in the order of the levels.
      output_size: width of the language model.
    """

    def __init__(self, config: GPT4RoIRegionConfig, in_channels: Sequence[int], output_size: int) -> None:
        super().__init__()
        if len(in_channels) != len(config.level_scales):
            raise ValueError(
                f"the vision tower gives {len(in_channels)} levels but region_config.level_scales has {len(config.level_scales)} entries"
            )
        channels, hidden = config.channels, config.hidden_size
        self.config = config
        self.output_size = output_size
        self.input_convs = nn.ModuleList(nn.Conv2d(width + 2, channels, 1) for width in in_channels)
        self.fuse_rounds = nn.ModuleList(FuseRound(channels, config.norm_groups) for _ in range(config.fuse_rounds))
        self.roi_convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in in_channels)
        self.flatten_linear = nn.Linear(channels * config.roi_size**2, hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.box_embedding = nn.Sequential(
            nn.Linear(4, config.box_hidden_size),
            nn.ReLU(),
            nn.LayerNorm(config.box_hidden_size),
            nn.Linear(config.box_hidden_size, hidden),
            nn.ReLU(),
            nn.LayerNorm(hidden),
        )
        self.output_linear = nn.Linear(hidden, output_size)

    def initialise(self) -> None:
        """Initial values for training, as released (reference section 3.3)."""
        for conv in cast("list[nn.Conv2d]", self.roi_convs):
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(cast(Tensor, conv.bias))
        for fuse_round in cast("list[FuseRound]", self.fuse_rounds):
            nn.init.kaiming_normal_(fuse_round.conv.weight, mode="fan_in", nonlinearity="relu")
        for conv in cast("list[nn.Conv2d]", self.input_convs):
            conv.reset_parameters()
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
            elif isinstance(module, (nn.LayerNorm, nn.GroupNorm)):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)

    def fuse_levels(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """The pyramid, which depends on the image alone and so can be kept for all its boxes and turns.

        Args:
          levels: float[B, C_l, h_l, w_l] each, finest first.
        Returns:
          float[B, channels, round(scale_l * h_l), round(scale_l * w_l)] each.
        """
        resized = self.resize_levels(levels)
        maps = [conv(level) for level, conv in zip(resized, self.input_convs, strict=True)]
        for fuse_round in self.fuse_rounds:
            maps = fuse_round(maps)
        return maps

    def resize_levels(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """The levels at their sizes in the pyramid, with coordinates: float[B, C_l + 2, h, w] each."""
        resized = []
        for level, scale in zip(levels, self.config.level_scales, strict=True):
            own = resize_map(level, (round(level.shape[-2] * scale), round(level.shape[-1] * scale)))
            resized.append(torch.cat([own, coordinate_channels(own)], dim=1))
        return resized

    def pool_regions(self, maps: Sequence[Tensor], boxes_xyxy_norm: Sequence[Tensor], bins: Tensor | None = None) -> Tensor:
        """Crop every box out of every level and embed it.

        Args:
          maps: from `fuse_levels`.
          boxes_xyxy_norm: one float32[R_b, 4] per image, in [0, 1] of it; R_b may be 0. An empty or outside box is legal here:
            its features are what RoIAlign defines, refusing it is the processor's work.
          bins: what masks cover of the bins, see `crop_regions`.
        Returns:
          float[sum(R_b), output_size], boxes in the order given.
        Raises:
          ValueError: the number of box sets is not the number of images.
        """
        return self.embed_crops(
            crop_regions(maps, boxes_xyxy_norm, self.config, bins), torch.cat([b.reshape(-1, 4) for b in boxes_xyxy_norm])
        )

    def embed_crops(self, crops: Sequence[Tensor], boxes_xyxy_norm: Tensor) -> Tensor:
        """From `crop_regions` of the maps and float[R, 4] on: float[R, output_size]."""
        weight = self.flatten_linear.weight
        pooled = torch.zeros((), dtype=weight.dtype, device=weight.device)
        for crop, conv in zip(crops, self.roi_convs, strict=True):
            pooled = pooled + conv(crop.to(weight.dtype))
        return self.embed_pooled(pooled, boxes_xyxy_norm)

    def embed_pooled(self, pooled: Tensor, boxes_xyxy_norm: Tensor) -> Tensor:
        """From the sum over the levels, float[R, channels, roi_size, roi_size], on."""
        weight = self.flatten_linear.weight
        flat = self.dropout(self.flatten_linear(F.relu(pooled).flatten(1)))
        return self.output_linear(flat + self.box_embedding(boxes_xyxy_norm.to(weight)))

    def forward(self, levels: Sequence[Tensor], boxes_xyxy_norm: Sequence[Tensor]) -> Tensor:
        return self.pool_regions(self.fuse_levels(levels), boxes_xyxy_norm)
