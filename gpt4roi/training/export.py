"""Checkpoints as models: an ordinary `from_pretrained` folder, or the small set of tensors that training changed."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import set_seed

from gpt4roi.models import GPT4RoIForConditionalGeneration, GPT4RoIProcessor
from gpt4roi.models.embedded import ADAPTER_NAME, PARTS_NAME, has_adapters
from gpt4roi.models.loading import load_model
from gpt4roi.training.config import ConfigError, TrainConfig, build_config, to_plain
from gpt4roi.training.parts import load_trained_state, merge_and_save, prepare_parts
from gpt4roi.training.trainer import TRAINED_NAME


def load_start(config: TrainConfig, *, bf16: bool) -> tuple[GPT4RoIForConditionalGeneration, GPT4RoIProcessor]:
    """The model a run starts from, with its parts frozen, unfrozen and adapted, on the CPU."""
    # The language model's own precision is decided by `prepare_parts`; loading in float32 keeps what trains exact.
    model, processor = load_model(config.model, device="cpu", dtype=torch.float32)
    if config.attention is not None:
        model.set_attn_implementation(config.attention)
    set_seed(config.seed)
    prepare_parts(model, config, bf16=bf16)
    if config.start_from is not None:
        load_trained_state(model, load_file(trained_file(config.start_from)))
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model, processor


def trained_file(checkpoint: Path | str) -> Path:
    file = Path(checkpoint) / TRAINED_NAME
    if not file.is_file():
        raise ConfigError(f"'{checkpoint}' is not a checkpoint of gpt4roi train: it has no {TRAINED_NAME}")
    return file


def export_checkpoint(checkpoint: Path | str, folder: Path | str, config: TrainConfig | None = None) -> Path:
    """Any checkpoint of ours, ZeRO-3's too, as an ordinary `from_pretrained` folder, adapters merged. Runs on one CPU process.

    Args:
      config: the run's; read from the checkpoint if not given.
    """
    model, processor, config = load_checkpoint(checkpoint, config)
    partial = Path(f"{folder}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    merge_and_save(model, processor, partial, getattr(torch, config.save_dtype))
    records = {"checkpoint": Path(checkpoint).name, "config": to_plain(config)}
    (partial / "training.json").write_text(json.dumps(records, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)
    return Path(folder)


def load_checkpoint(
    checkpoint: Path | str, config: TrainConfig | None = None
) -> tuple[GPT4RoIForConditionalGeneration, GPT4RoIProcessor, TrainConfig]:
    """The model of a checkpoint in float32, adapters in place and not merged, on one CPU process."""
    trained = trained_file(checkpoint)
    if config is None:
        config = build_config(yaml.safe_load((trained.parent / "config.yaml").read_text(encoding="utf-8")))
    # What the run started from is in the checkpoint already, and its folder may be gone.
    model, processor = load_start(replace(config, start_from=None), bf16=False)
    load_trained_state(model, load_file(trained))
    return model, processor, config


def export_parts(checkpoint: Path | str, folder: Path | str, dtype: torch.dtype = torch.float16) -> Path:
    """Everything but the frozen language model, as the embedded default ships it.

    Writes `model.safetensors` with the tensors of vision tower, region encoder and projector under their own names and, of the language
    model's adapters, `adapter.safetensors` with `NAME.lora_A` [r, in] and `NAME.lora_B` [out, r], their scale in its metadata.
    """
    model, _, config = load_checkpoint(checkpoint)
    if config.model == "embedded" and has_adapters():
        raise ConfigError(
            "gpt4roi/assets/embedded holds adapters already, and shipping this run's alone would lose them; put stage 1's export there first"
        )
    parts: dict[str, Tensor] = {}
    adapters: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        if name.startswith("language_model."):
            for side in ("lora_A", "lora_B"):
                if name.endswith(f".{side}.default.weight"):
                    adapters[name.removesuffix(".default.weight")] = tensor.to(dtype).contiguous()
        else:
            parts[name] = tensor.to(dtype).contiguous() if tensor.is_floating_point() else tensor
    settings = config.part("language_model")
    if settings is not None and settings.lora is None:
        raise ConfigError("the language model was trained whole: it has no adapters to ship; use the exported model folder")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(parts, str(folder / PARTS_NAME))
    if settings is not None and settings.lora is not None:
        save_file(adapters, str(folder / ADAPTER_NAME), metadata={"scale": str(settings.lora.alpha / settings.lora.r)})
    return folder
