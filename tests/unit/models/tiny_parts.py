"""Tiny random parts built from the real config classes, saved as pretrained folders, and tokenizers with the real templates' shapes."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    SiglipVisionConfig,
    SiglipVisionModel,
    SmolLM3Config,
    SmolLM3ForCausalLM,
)

# Hand-written in the shape of the real ones: what matters is where they put line breaks, thinking blocks, dates and trimming.
CHATML = (
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}<|im_start|>system\nYou are helpful<|im_end|>\n{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN3 = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{% set c = m.content.split('</think>')[-1].lstrip('\n') %}<|im_start|>assistant\n"
    "{% if loop.last %}<think>\n\n</think>\n\n{% endif %}{{ c }}<|im_end|>\n"
    "{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n"
    "{% endif %}{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}<|start_header_id|>system<|end_header_id|>\n\nToday Date: {{ strftime_now('%d %b %Y') }}\n\n<|eot_id|>"
    "{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system turn') }}{% elif m.role == 'user' %}"
    "[INST] {{ m.content }} [/INST]{% else %} {{ m.content | trim }}{{ eos_token }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}"
    "{% endif %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
TEMPLATES = {"chatml": CHATML, "qwen3": QWEN3, "llama3": LLAMA3, "mistral": MISTRAL, "gemma": GEMMA}
CONTROLS = [
    "<s>",
    "</s>",
    "<|im_start|>",
    "<|im_end|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<start_of_turn>",
    "<end_of_turn>",
]
VOCABULARY = 272  # 256 bytes, the controls, and rows to spare


def tokenizer(template: str | None = "chatml") -> PreTrainedTokenizerFast:
    """One token a byte, so that every golden text can be read back exactly."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    fast = Tokenizer(BPE(vocab={symbol: index for index, symbol in enumerate(alphabet)}, merges=[]))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    fast.add_special_tokens([AddedToken(control, special=True, normalized=False) for control in CONTROLS])
    built = PreTrainedTokenizerFast(tokenizer_object=fast, bos_token="<s>", eos_token="</s>", pad_token="</s>")
    built.chat_template = TEMPLATES[template] if template else None
    return built


def language_model(kind: str) -> torch.nn.Module:
    torch.manual_seed(3)
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"num_key_value_heads": 2, "max_position_embeddings": 1024, "bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 257}
    if kind == "qwen3":
        return Qwen3ForCausalLM(Qwen3Config(**sizes, head_dim=8, tie_word_embeddings=True))
    if kind == "smollm3":
        return SmolLM3ForCausalLM(SmolLM3Config(**sizes, tie_word_embeddings=True))
    return LlamaForCausalLM(LlamaConfig(**sizes, tie_word_embeddings=kind == "smollm2"))


def vision_tower(kind: str) -> torch.nn.Module:
    torch.manual_seed(4)
    sizes = {"hidden_size": 16, "num_hidden_layers": 5, "num_attention_heads": 2}
    if kind == "clip":
        return CLIPVisionModel(CLIPVisionConfig(**sizes, intermediate_size=24, image_size=56, patch_size=14))
    if kind == "siglip":
        return SiglipVisionModel(SiglipVisionConfig(**sizes, intermediate_size=24, image_size=64, patch_size=16))
    if kind == "dinov2":
        return Dinov2Model(Dinov2Config(**sizes, mlp_ratio=2, image_size=70, patch_size=14))
    return Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**sizes, mlp_ratio=2, image_size=70, patch_size=14, num_register_tokens=4))


def write_language_model(folder: Path, kind: str, template: str | None) -> str:
    language_model(kind).save_pretrained(folder)  # type: ignore[operator]
    tokenizer(template).save_pretrained(folder)
    return str(folder)


def write_tower(folder: Path, kind: str) -> str:
    vision_tower(kind).save_pretrained(folder)  # type: ignore[operator]
    return str(folder)


REGION = {
    "channels": 16,
    "level_scales": [2, 1, 1, 0.5],
    "fuse_rounds": 1,
    "norm_groups": 4,
    "roi_size": 3,
    "box_hidden_size": 8,
    "hidden_size": 16,
}
