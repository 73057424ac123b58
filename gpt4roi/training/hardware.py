"""What the machine can do: where bfloat16 is fast, a device's peak, how much work a token is."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

# Dense bfloat16 peak of a card, from the makers' data sheets (without sparsity).
PEAK_BF16_FLOPS = {"H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "A10": 125e12,
                   "RTX 4090": 165e12, "RTX 3090": 71e12, "B200": 2250e12}  # fmt: skip


def is_bf16_fast(device: str = "auto") -> bool:
    """CUDA since Ampere; CPUs with AVX-512 BF16 or AMX."""
    if device != "cpu" and torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def peak_flops(device: torch.device) -> float | None:
    """Of one CUDA card in bfloat16; None where it is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for known, peak in PEAK_BF16_FLOPS.items() if known in name), None)


def flops_per_token(model: nn.Module) -> float:
    """Of the language model's matrices for one token, forward and backward: 2 for every weight forward, 2 for the gradient of its input,
    2 more for the gradient of the weight where it trains. Attention scores are left out (small at our lengths)."""
    language_model = model.get_submodule("language_model")
    total = 0.0
    for name, parameter in language_model.named_parameters():
        if parameter.dim() > 1 and "embed" not in name:
            total += parameter.numel() * (6 if parameter.requires_grad else 4)
    return total
