"""What a model folder holds, without loading its weights: parameters, dtype, memory at each precision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gpt4roi.models.configuration_gpt4roi import GPT4RoIConfig
from gpt4roi.models.modeling_gpt4roi import GPT4RoIForConditionalGeneration
from gpt4roi.models.tensor_files import CheckpointError, TensorFiles

PARTS = ("vision_tower", "region_encoder", "multi_modal_projector", "language_model")
# Bytes a parameter of the linear layers of the language model (see `quantization`; int4 keeps a float32 for every 64); everything else
# stays in 16 bits.
QUANTISED_BYTES = {"int8": 1.0, "int4": 0.5 + 4 / 64}


def summarise(folder: str | Path) -> dict[str, Any]:
    """A folder written by `save_pretrained`.

    Returns:
      `parameters`: by part and `total`; `dtype`: what is stored; `file_bytes`; `memory_bytes`: weights at float32, bfloat16, int8 and
      int4 (the last two: linear layers of the language model, without its head); `cache_bytes_per_1000_tokens` in bfloat16;
      `image_size_hw`, `num_image_tokens`, `prompt_style`, `architecture`.
    Raises:
      CheckpointError: not one of our folders.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"'{folder}' has no config.json; give a folder written by gpt4roi train, init or convert")
    model_type = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    if model_type != "gpt4roi":
        raise CheckpointError(f"'{folder}' is not a GPT4RoI model folder (its model_type is '{model_type}')")
    config = GPT4RoIConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = GPT4RoIForConditionalGeneration(config)
    stored: dict[str, int] = {}
    files: dict[str, int] = {}
    if any((folder / name).exists() for name in ("model.safetensors", "model.safetensors.index.json")):
        tensors = TensorFiles(folder)
        files = tensors.fingerprint()
        for name, dtype in tensors.dtypes.items():
            key = str(dtype).removeprefix("torch.")
            stored[key] = stored.get(key, 0) + torch.Size(tensors.shapes[name]).numel()
    parameters = count_parameters(model)
    return {
        "architecture": f"{_vision_name(config)} + {config.text_config.model_type}",
        "parameters": parameters,
        "dtype": max(stored, key=lambda key: stored[key]) if stored else str(config.dtype or "unknown").removeprefix("torch."),
        "stored_parameters_by_dtype": stored,
        "file_bytes": sum(files.values()),
        "memory_bytes": memory_bytes(model),
        "cache_bytes_per_1000_tokens": _cache_bytes(config, 1000),
        "image_size_hw": config.vision_config.image_size_hw,
        "num_image_tokens": model.num_image_tokens,
        "prompt_style": config.prompt_style,
    }


def count_parameters(model: GPT4RoIForConditionalGeneration) -> dict[str, int]:
    """Parameters by part, tied ones once, and `total`."""
    counts = {part: sum(p.numel() for p in getattr(model, part).parameters()) for part in PARTS}
    return {**counts, "total": sum(counts.values())}


def memory_bytes(model: GPT4RoIForConditionalGeneration) -> dict[str, int]:
    """Bytes of the weights at each precision."""
    total = count_parameters(model)["total"]
    head = model.get_output_embeddings()
    linear = sum(m.weight.numel() for m in model.language_model.modules() if isinstance(m, nn.Linear) and m is not head)
    quantised = {name: round(2 * (total - linear) + size * linear) for name, size in QUANTISED_BYTES.items()}
    return {"float32": 4 * total, "bfloat16": 2 * total, **quantised}


def _cache_bytes(config: GPT4RoIConfig, tokens: int) -> int:
    text = config.text_config
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    head_size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return 2 * 2 * text.num_hidden_layers * heads * head_size * tokens


def _vision_name(config: GPT4RoIConfig) -> str:
    backbone = config.vision_config.backbone
    return str(backbone["model_type"]) if isinstance(backbone, dict) else " + ".join(str(item["name"]) for item in backbone)
