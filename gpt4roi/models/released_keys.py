"""The names in a released GPT4RoI checkpoint and ours: one table for the region module, one rule for the rest.

Released names and shapes: reference section 1 and 3.1 (368 tensors at 32 layers).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

REGION_PREFIX = "model.spi_module."
PROJECTOR_PREFIX = "model.mm_projector."

# Released name below REGION_PREFIX -> our name below `region_encoder.`; `(\d+)` is a level or a round and stays what it is.
REGION_NAMES = (
    (r"mlvl_fuse\.input_conv\.(\d+)\.(weight|bias)", r"input_convs.\1.\2"),
    (r"mlvl_fuse\.fuse_convs\.(\d+)\.conv\.(weight)", r"fuse_rounds.\1.conv.\2"),
    (r"mlvl_fuse\.fuse_convs\.(\d+)\.gn\.(weight|bias)", r"fuse_rounds.\1.norm.\2"),
    (r"roi_align\.pconvs\.(\d+)\.(weight|bias)", r"roi_convs.\1.\2"),
    (r"roi_align\.pos_embedd\.([0235])\.(weight|bias)", r"box_embedding.\1.\2"),
    (r"roi_align\.flatten_linear\.(weight|bias)", r"flatten_linear.\1"),
    (r"roi_align\.updims\.(weight|bias)", r"output_linear.\1"),
)

# Rotary frequencies are computed from the config. In a delta they are differences, so about zero: loading them would break attention.
IGNORED = re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq")

LAYER_TENSORS = (
    *(f"self_attn.{part}_proj.weight" for part in "qkvo"),
    *(f"mlp.{part}_proj.weight" for part in ("gate", "up", "down")),
    "input_layernorm.weight",
    "post_attention_layernorm.weight",
)
TEXT_TENSORS = ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight")
TEXT_NAME = re.compile("|".join(map(re.escape, TEXT_TENSORS)) + r"|model\.layers\.\d+\.(?:" + "|".join(map(re.escape, LAYER_TENSORS)) + ")")


def region_name(released: str) -> str | None:
    """Our name below `region_encoder.` of a released name below `model.spi_module.`; None if it is not one."""
    for pattern, ours in REGION_NAMES:
        match = re.fullmatch(pattern, released)
        if match:
            return match.expand(ours)
    return None


def our_name(released: str) -> str | None:
    """Our state-dict name of a released one; None for names that no released checkpoint has (ask `is_ignored` first)."""
    if released.startswith(REGION_PREFIX):
        name = region_name(released.removeprefix(REGION_PREFIX))
        return None if name is None else f"region_encoder.{name}"
    if released in (f"{PROJECTOR_PREFIX}weight", f"{PROJECTOR_PREFIX}bias"):
        return f"multi_modal_projector.{released.removeprefix(PROJECTOR_PREFIX)}"
    return f"language_model.{released}" if TEXT_NAME.fullmatch(released) else None


def is_ignored(released: str) -> bool:
    return IGNORED.fullmatch(released) is not None


def is_delta(released: str) -> bool:
    """Whether a delta file holds this tensor as a difference to LLaMA; the projector and the region module are stored whole."""
    return not released.startswith((REGION_PREFIX, PROJECTOR_PREFIX))


def text_names(num_layers: int) -> Iterator[str]:
    """Every LLaMA tensor of a released checkpoint, rotary buffers apart."""
    yield from TEXT_TENSORS
    for layer in range(num_layers):
        yield from (f"model.layers.{layer}.{tensor}" for tensor in LAYER_TENSORS)


def region_names(num_levels: int = 4, fuse_rounds: int = 5) -> Iterator[str]:
    """Every tensor of the released region module, without REGION_PREFIX."""
    for level in range(num_levels):
        yield from (f"mlvl_fuse.input_conv.{level}.{kind}" for kind in ("weight", "bias"))
        yield from (f"roi_align.pconvs.{level}.{kind}" for kind in ("weight", "bias"))
    for index in range(fuse_rounds):
        yield from (f"mlvl_fuse.fuse_convs.{index}.{tensor}" for tensor in ("conv.weight", "gn.weight", "gn.bias"))
    for tensor in ("pos_embedd.0", "pos_embedd.2", "pos_embedd.3", "pos_embedd.5", "flatten_linear", "updims"):
        yield from (f"roi_align.{tensor}.{kind}" for kind in ("weight", "bias"))


def released_names(num_layers: int) -> list[str]:
    """Every name that a complete released checkpoint must hold, and that we load."""
    return [
        *text_names(num_layers),
        *(f"{PROJECTOR_PREFIX}{kind}" for kind in ("weight", "bias")),
        *(f"{REGION_PREFIX}{name}" for name in region_names()),
    ]
