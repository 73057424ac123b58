"""Which language models the decoders of our own compute."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel


def is_llama_shaped(language_model: PreTrainedModel) -> bool:
    """Whether the architecture is exactly LLaMA's, with weights as saved, all on one device."""
    config = language_model.config
    rope = getattr(config, "rope_parameters", None) or {}
    return (
        config.model_type == "llama"
        and config.hidden_act == "silu"
        and not config.attention_bias
        and not config.mlp_bias
        and rope.get("rope_type", "default") == "default"
        and head_size(config) % 16 == 0  # as ONNX Runtime's rotation wants it
        # Quantised weights are integers in a library's own layout, and spread ones may lie on disk: neither can be read as rows of numbers.
        and all(parameter.is_floating_point() and not parameter.is_meta for parameter in language_model.parameters())
        and len({parameter.device for parameter in language_model.parameters()}) == 1
    )


def head_size(config: Any) -> int:
    """Of a LLaMA-shaped language model's config."""
    return int(config.head_dim or config.hidden_size // config.num_attention_heads)
