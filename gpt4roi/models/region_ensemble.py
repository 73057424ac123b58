"""Several region encoders asked together, and a memory behind them. Ours; the released model is one `RegionEncoder` without a memory."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt4roi.errors import UserError
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


class RegionEnsemble(nn.Module):
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
            raise UserError(f"several members, or a memory, need region_config.fuse_rounds 0; got {config.fuse_rounds}")
        self.config = config
        self.members = nn.ModuleList(RegionEncoder(config, in_channels, output_size) for _ in range(config.members))
        self._kept: tuple[tuple[tuple[int, int], ...], tuple[Tensor, Tensor]] | None = None
        self.memory = Memory(config.memory_size, output_size) if config.memory_size else nn.Identity()

    def fuse_levels(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """What all members share of an image: the levels with coordinates, and a channel of ones that tells how much of a bin is inside."""
        resized = cast(RegionEncoder, self.members[0]).resize_levels(levels)
        return [torch.cat([level, torch.ones_like(level[:, :1])], dim=1) for level in resized]

    def pool_regions(self, maps: Sequence[Tensor], boxes_xyxy_norm: Sequence[Tensor], bins: Tensor | None = None) -> Tensor:
        """As of `RegionEncoder`: float[sum(R_b), output_size]."""
        weight, bias = self._joint_convolution()
        crops = torch.cat(crop_regions(maps, boxes_xyxy_norm, self.config, bins), dim=1)
        pooled = F.conv2d(crops.to(weight.dtype), weight, bias, padding=1).chunk(len(self.members), dim=1)
        boxes = torch.cat([b.reshape(-1, 4) for b in boxes_xyxy_norm])
        members = cast("Iterable[RegionEncoder]", self.members)
        embeddings = [member.embed_pooled(own, boxes) for member, own in zip(members, pooled, strict=True)]
        return cast(Tensor, self.memory(torch.stack(embeddings).mean(0)))

    def _joint_convolution(self) -> tuple[Tensor, Tensor]:
        """All levels' 1x1 and 3x3 convolutions of all members as one 3x3 convolution of the crops one behind the other.

        Nothing that is not linear stands between the two, so that their product does the same in a quarter of the time.
        """
        if torch.is_grad_enabled():
            return self._joined()
        parameters = [p for member in self.members for convs in (member.input_convs, member.roi_convs) for p in convs.parameters()]  # type: ignore[union-attr, operator]
        state = tuple((p.data_ptr(), 0 if p.is_inference() else p._version) for p in parameters)
        if self._kept is None or self._kept[0] != state:
            self._kept = state, self._joined()
        return self._kept[1]

    def _joined(self) -> tuple[Tensor, Tensor]:
        weights, biases = [], []
        for member in cast("Iterable[RegionEncoder]", self.members):
            own = []
            for one, three in zip(
                cast("Iterable[nn.Conv2d]", member.input_convs), cast("Iterable[nn.Conv2d]", member.roi_convs), strict=True
            ):
                # The bias of the 1x1 convolution is the weight of the channel of ones.
                inner = torch.cat([one.weight[:, :, 0, 0], cast(Tensor, one.bias)[:, None]], dim=1)
                own.append(torch.einsum("oihw,ic->ochw", three.weight.float(), inner.float()))
            weights.append(torch.cat(own, dim=1))
            biases.append(sum(cast(Tensor, three.bias) for three in cast("Iterable[nn.Conv2d]", member.roi_convs)))
        dtype = cast(Tensor, biases[0]).dtype
        return torch.cat(weights).to(dtype).contiguous(memory_format=torch.channels_last), torch.cat(cast("list[Tensor]", biases))

    def forward(self, levels: Sequence[Tensor], boxes_xyxy_norm: Sequence[Tensor]) -> Tensor:
        return self.pool_regions(self.fuse_levels(levels), boxes_xyxy_norm)

    def of_one(self) -> RegionEnsemble:
        """A copy of the first member with the memory."""
        alone = copy.deepcopy(self)
        alone.members = alone.members[:1]
        return alone


def region_encoder(config: GPT4RoIRegionConfig, in_channels: Sequence[int], output_size: int) -> RegionEncoder | RegionEnsemble:
    """What the config asks for: the released module, or a committee."""
    kind = RegionEnsemble if config.members > 1 or config.memory_size else RegionEncoder
    return kind(config, in_channels, output_size)
