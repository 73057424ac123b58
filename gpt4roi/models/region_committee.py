"""Several region encoders asked together, and a memory behind them. Ours; the released model is one `RegionEncoder` without a memory."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt4roi.models.configuration_gpt4roi import GPT4RoIRegionConfig
from gpt4roi.models.region_encoder import RegionEncoder, crop_regions


class Memory(nn.Module):
    """Adds to each embedding what it resembles: attention over learned entries, one step of a Hopfield network (arXiv:2008.02217).

    A small language model reads an embedding wrongly that lies between words, even where it is clearly nearest to one of them.
    """

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.centre = nn.Parameter(torch.empty(width))
        self.keys = nn.Parameter(torch.empty(size, width))
        self.values = nn.Parameter(torch.empty(size, width))
        self.initialise()

    def initialise(self) -> None:
        """A new memory adds nothing, and can learn to."""
        nn.init.zeros_(self.centre)
        nn.init.normal_(self.keys)
        nn.init.zeros_(self.values)

    def forward(self, embeddings: Tensor) -> Tensor:
        """float[R, D] in and out. Only the direction from `centre` counts; the keys' length is the attention's sharpness."""
        directions = F.normalize(embeddings.float() - self.centre.float(), dim=-1)
        shares = (directions @ self.keys.float().T).softmax(-1)
        return embeddings + (shares @ self.values.float()).to(embeddings.dtype)


class RegionCommittee(nn.Module):
    """The mean of what several region encoders say of a box, then the memory; used as a `RegionEncoder` is.

    Encoders fitted on different parts of few data err differently, and where they disagree the mean is short, so that it claims less.
    The members crop the same boxes out of the same levels, once for all: without fuse rounds, RoIAlign commutes with their 1x1 convolutions.

    Args: as for `RegionEncoder`; `config.members` and `config.memory_size` say how many and how large.
    Raises:
      ValueError: the config has fuse rounds.
    """

    def __init__(self, config: GPT4RoIRegionConfig, in_channels: Sequence[int], output_size: int) -> None:
        super().__init__()
        if config.fuse_rounds:
            raise ValueError(f"several members, or a memory, need region_config.fuse_rounds 0; got {config.fuse_rounds}")
        self.config = config
        self.members = nn.ModuleList(RegionEncoder(config, in_channels, output_size) for _ in range(config.members))
        self.memory = Memory(config.memory_size, output_size) if config.memory_size else nn.Identity()

    def fuse_levels(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """What all members share of a picture: the levels with coordinates, and a channel of ones that tells how much of a bin is inside."""
        resized = cast(RegionEncoder, self.members[0]).resize_levels(levels)
        return [torch.cat([level, torch.ones_like(level[:, :1])], dim=1) for level in resized]

    def pool_regions(self, maps: Sequence[Tensor], boxes_xyxy_norm: Sequence[Tensor]) -> Tensor:
        """As of `RegionEncoder`: float[sum(R_b), output_size]."""
        crops = crop_regions(maps, boxes_xyxy_norm, self.config)
        boxes = torch.cat([b.reshape(-1, 4) for b in boxes_xyxy_norm])
        embeddings = []
        for member in cast("Iterable[RegionEncoder]", self.members):
            own = [_convolve(crop, cast(nn.Conv2d, conv)) for crop, conv in zip(crops, member.input_convs, strict=True)]
            embeddings.append(member.embed_crops(own, boxes))
        return cast(Tensor, self.memory(torch.stack(embeddings).mean(0)))

    def forward(self, levels: Sequence[Tensor], boxes_xyxy_norm: Sequence[Tensor]) -> Tensor:
        return self.pool_regions(self.fuse_levels(levels), boxes_xyxy_norm)

    def of_one(self) -> RegionCommittee:
        """A copy of the first member with the memory."""
        alone = copy.deepcopy(self)
        alone.members = alone.members[:1]
        return alone


def _convolve(crop: Tensor, conv: nn.Conv2d) -> Tensor:
    """A 1x1 convolution after RoIAlign instead of before it; the last channel is what RoIAlign makes of ones."""
    bias = cast(Tensor, conv.bias)[:, None, None]
    crop = crop.to(conv.weight.dtype)
    return F.conv2d(crop[:, :-1], conv.weight) + bias * crop[:, -1:]


def region_encoder(config: GPT4RoIRegionConfig, in_channels: Sequence[int], output_size: int) -> RegionEncoder | RegionCommittee:
    """What the config asks for: the released module, or a committee."""
    kind = RegionCommittee if config.members > 1 or config.memory_size else RegionEncoder
    return kind(config, in_channels, output_size)
