"""Weights in eight bits: one scale for each output row, kept beside them as `NAME.scale`. Small tensors stay as they are, in float16."""

from __future__ import annotations

import torch
from torch import Tensor

# Below this many values a tensor is not worth the loss.
SMALLEST = 4096


def quantized(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state of float tensors as it is stored."""
    stored: dict[str, Tensor] = {}
    for name, value in state.items():
        if value.numel() < SMALLEST or value.dim() < 2:
            stored[name] = value.half().contiguous()
            continue
        scale = value.flatten(1).abs().amax(1).clamp(min=1e-12) / 127
        shape = (-1, *[1] * (value.dim() - 1))
        stored[name] = (value / scale.view(shape)).round().clamp(-127, 127).to(torch.int8).contiguous()
        stored[f"{name}.scale"] = scale.float()
    return stored


def dequantized(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state in float32."""
    state = {}
    for name, value in stored.items():
        if name.endswith(".scale"):
            continue
        scale = stored.get(f"{name}.scale")
        state[name] = value.float() if scale is None else value.float() * scale.view((-1, *[1] * (value.dim() - 1)))
    return state
