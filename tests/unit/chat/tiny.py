"""A tiny random model with a tokenizer made on the spot: no network, no weights, the real code paths."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from gpt4roi.models import GPT4RoIConfig, GPT4RoIForConditionalGeneration, GPT4RoIProcessor

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level: every byte is a token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={symbol: index for index, symbol in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|pad|>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def tiny_model(seed: int = 0, layers: int = 2) -> tuple[GPT4RoIForConditionalGeneration, GPT4RoIProcessor]:
    """Hidden 32, grouped heads, 32x32 images, 4 image tokens; large random weights so that inputs matter to the answers."""
    tokenizer = tiny_tokenizer()
    processor = GPT4RoIProcessor(tokenizer, [32, 32], 4)
    config = GPT4RoIConfig(
        vision_config={
            "kind": "transformer",
            "backbone": {
                "model_type": "clip_vision_model",
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 3,
                "num_attention_heads": 2,
                "image_size": 32,
                "patch_size": 8,
            },
            "image_size_hw": [32, 32],
            "region_layers": [0, 1, 2, 3],
            "image_grid_hw": [2, 2],
        },
        region_config={
            "channels": 16,
            "level_scales": [4, 2, 1, 1],
            "fuse_rounds": 1,
            "norm_groups": 4,
            "roi_size": 3,
            "box_hidden_size": 16,
            "hidden_size": 32,
        },
        text_config={
            "model_type": "llama",
            # Placeholders have no row, as in the embedded default.
            "vocab_size": processor.image_token_id,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "max_position_embeddings": 2048,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": None,
            "tie_word_embeddings": True,
        },
        image_token_id=processor.image_token_id,
        region_token_id=processor.region_token_id,
    )
    torch.manual_seed(seed)
    model = GPT4RoIForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.5)
    return model.eval(), processor
