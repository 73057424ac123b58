"""A very narrow checkpoint in the released layout, written by hand-made code: whole or delta, pickles or safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig

from gpt4roi.models.released_config import ADDED_TOKENS
from gpt4roi.models.released_keys import REGION_PREFIX, is_delta, region_names, text_names

HIDDEN, INTERMEDIATE, LAYERS, WIDTH = 8, 12, 1, 64
CONFIG = {
    "model_type": "llava",
    "vocab_size": 32006,
    "hidden_size": HIDDEN,
    "intermediate_size": INTERMEDIATE,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
    "mm_hidden_size": WIDTH,
    "mm_vision_select_layer": -2,
}


def shape_of(name: str, rows: int = 32006) -> tuple[int, ...]:
    if name in ("model.embed_tokens.weight", "lm_head.weight"):
        return rows, HIDDEN
    if name.endswith("norm.weight") and name.startswith("model.") and "spi_module" not in name:
        return (HIDDEN,)
    for part, shape in {
        "self_attn": (HIDDEN, HIDDEN),
        "down_proj": (HIDDEN, INTERMEDIATE),
        "mlp.": (INTERMEDIATE, HIDDEN),
        "mm_projector.weight": (HIDDEN, WIDTH),
        "mm_projector.bias": (HIDDEN,),
        "input_conv": (WIDTH, WIDTH + 2, 1, 1),
        ".conv.": (WIDTH, WIDTH, 3, 3),
        ".gn.": (WIDTH,),
        "pconvs": (WIDTH, WIDTH, 3, 3),
        "pos_embedd.0": (6, 4),
        "pos_embedd.2": (6,),
        "pos_embedd.3": (2, 6),
        "pos_embedd.5": (2,),
        "flatten_linear": (2, WIDTH * 196),
        "updims": (HIDDEN, 2),
    }.items():
        if part in name:
            is_bias = name.endswith("bias")
            return shape[:1] if is_bias else shape
    raise KeyError(name)


def tensors(rows: int = 32006, seed: int = 0, scale: float = 1.0) -> dict[str, Tensor]:
    """Every tensor of a released checkpoint, float16; norms about 1 * scale."""
    generator = torch.Generator().manual_seed(seed)
    names = [*text_names(LAYERS), "model.mm_projector.weight", "model.mm_projector.bias", *(REGION_PREFIX + n for n in region_names())]
    found = {name: torch.randn(shape_of(name, rows), generator=generator) * 0.1 * scale for name in names}
    for name in found:
        if name.endswith("norm.weight"):
            found[name] = found[name] + scale
    return {name: tensor.half() for name, tensor in found.items()}


def with_rotary(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**state, "model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(2)}


def write_released(folder: Path, state: dict[str, Tensor], config: dict[str, Any] | None = None, safetensors: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **(config or {})}))
    (folder / "added_tokens.json").write_text(json.dumps(ADDED_TOKENS))
    if safetensors:
        save_file(state, folder / "model.safetensors")
        return folder
    names = list(state)
    index = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"pytorch_model-{number:05d}-of-00002.bin"
        torch.save({name: state[name] for name in part}, folder / file)
        index |= dict.fromkeys(part, file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return folder


def write_base(folder: Path, seed: int = 1, **config: Any) -> dict[str, Tensor]:
    """A LLaMA-1 folder as transformers writes it; returns its tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {name: CONFIG[name] for name in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")}
    base = LlamaConfig(vocab_size=32000, max_position_embeddings=2048, rms_norm_eps=1e-6, **sizes).to_dict() | config
    (folder / "config.json").write_text(json.dumps(base))
    state = {name: tensor for name, tensor in tensors(rows=32000, seed=seed).items() if is_delta(name)}
    torch.save(with_rotary(state), folder / "pytorch_model.bin")
    return state


def write_tower(folder: Path, whole_clip: bool = False, **config: Any) -> CLIPVisionModel:
    sizes = {
        "hidden_size": WIDTH,
        "intermediate_size": 16,
        "num_hidden_layers": 12,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    torch.manual_seed(5)
    tower = CLIPVisionModel(CLIPVisionConfig(**(sizes | config)))
    if not whole_clip:
        tower.save_pretrained(folder)
        return tower
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "clip", "vision_config": sizes | config}))
    state = {f"vision_model.{name.removeprefix('vision_model.')}": tensor for name, tensor in tower.state_dict().items()}
    save_file(
        {**state, "logit_scale": torch.tensor(1.0), "text_model.final_layer_norm.weight": torch.ones(2)}, folder / "model.safetensors"
    )
    return tower
