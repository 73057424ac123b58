"""A tiny random model folder, images drawn on the spot and region data in our own format: no network, no weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from gpt4roi.models import GPT4RoIConfig, GPT4RoIForConditionalGeneration, GPT4RoIProcessor

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
COLORS = {"red": (200, 30, 30), "green": (30, 160, 40), "blue": (30, 50, 200)}


def save_tiny_model(folder: Path, seed: int = 0) -> Path:
    """Hidden 32, two layers, 16 x 16 images, one token a byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={symbol: index for index, symbol in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|pad|>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    tokenizer.chat_template = TEMPLATE
    processor = GPT4RoIProcessor(tokenizer, [16, 16], 4)
    vit = {"model_type": "clip_vision_model", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
           "image_size": 16, "patch_size": 4}  # fmt: skip
    config = GPT4RoIConfig(
        vision_config={"backbone": vit, "image_size_hw": [16, 16], "region_layers": [1, 2], "image_grid_hw": [2, 2]},
        region_config={"channels": 16, "level_scales": [2, 1], "fuse_rounds": 1, "norm_groups": 4, "roi_size": 2, "box_hidden_size": 16,
                       "hidden_size": 32},
        text_config={"model_type": "llama", "vocab_size": processor.image_token_id, "hidden_size": 32, "intermediate_size": 64,
                     "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 1024,
                     "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None,
                     "tie_word_embeddings": True},
        image_token_id=processor.image_token_id,
        region_token_id=processor.region_token_id,
    )  # fmt: skip
    torch.manual_seed(seed)
    GPT4RoIForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def write_data(folder: Path, count: int = 12, seed: int = 0) -> Path:
    """Squares on grey and their colours; every fourth sample has no region, every sixth no image at all."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for index in range(count):
        name = list(COLORS)[index % len(COLORS)]
        x, y = (int(v) for v in rng.integers(0, 20, 2))
        pixels = np.full((32, 40, 3), 128, dtype=np.uint8)
        pixels[y : y + 10, x : x + 12] = COLORS[name]
        Image.fromarray(pixels).save(folder / f"{index}.png")
        record: dict[str, Any] = {"image": f"{index}.png", "regions": [{"box_xyxy": [x, y, x + 12, y + 10], "label": name}]}
        question, answer = "Colour of <region1>?", name
        if index % 4 == 3:
            record["regions"], question, answer = [], "Any text?" + " Look well." * (index % 3), "no"
        if index % 6 == 5:
            record, question, answer = {}, "One and one?", "two"
        record["conversation"] = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        records.append(record)
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


LORA_STAGE = {
    "region_encoder": {"learning_rate": 3e-3},
    "projector": {"learning_rate": 3e-3},
    "vision_tower": "frozen",
    "language_model": {"learning_rate": 3e-3, "lora": {"r": 4, "alpha": 8}},
}


def base_config(folder: Path, **changes: Any) -> dict[str, Any]:
    """A float32 run of a few steps on the CPU as a plain dict; `folder` holds `start` and `data`."""
    return {
        "model": str(folder / "start"),
        "output_dir": str(folder / "out"),
        "data_root": str(folder / "data"),
        "data": [{"reader": "jsonl", "annotations": "train.jsonl"}],
        "parts": LORA_STAGE,
        "batch_size": 4,
        "max_steps": 4,
        "schedule": "constant",
        "warmup": 0,
        "precision": "fp32",
        "device": "cpu",
        "num_workers": 0,
        "log_steps": 1,
        **changes,
    }


def write_config(folder: Path, name: str = "config.yaml", **changes: Any) -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(base_config(folder, **changes)), encoding="utf-8")
    return path


def losses(output_dir: Path) -> dict[int, float]:
    """Logged training loss by step."""
    history = json.loads((output_dir / "history.json").read_text(encoding="utf-8"))
    return {record["step"]: record["loss"] for record in history if "loss" in record}
