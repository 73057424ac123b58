"""Stages as data: which parts train, with which learning rate, whole or through adapters, and what of them is worth saving."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gpt4roi.models import GPT4RoIForConditionalGeneration, GPT4RoIProcessor
from gpt4roi.training.config import PARTS, ConfigError, LoraSettings, TrainConfig

# Part of a config -> attribute of the model.
ATTRIBUTES = {
    "region_encoder": "region_encoder",
    "projector": "multi_modal_projector",
    "vision_tower": "vision_tower",
    "language_model": "language_model",
}


def prepare_parts(model: GPT4RoIForConditionalGeneration, config: TrainConfig, *, bf16: bool) -> None:
    """Freeze, unfreeze and inject adapters, in place.

    What trains is held in float32 (master weights); a frozen or adapted language model in bfloat16 if `bf16`, which halves its memory
    and, on CPUs, most of its time.
    """
    for name in PARTS:
        settings = config.part(name)
        module: nn.Module = getattr(model, ATTRIBUTES[name])
        trains_whole = settings is not None and settings.lora is None
        module.requires_grad_(trains_whole)
        if trains_whole:
            module.float()
        elif name == "language_model" and bf16:
            module.to(torch.bfloat16)
        if settings is not None and settings.lora is not None:
            inject_lora(module, settings.lora)


def inject_lora(language_model: nn.Module, settings: LoraSettings) -> None:
    """Adapters into the layers themselves; the model keeps its class, so whatever reaches into it keeps working."""
    from peft import LoraConfig, inject_adapter_in_model

    targets: Any = settings.targets
    if targets == "all-linear":
        # The output head shares its weight with the embedding in small models, so it is never a target.
        targets = sorted({name.rpartition(".")[2] for name, m in language_model.named_modules() if isinstance(m, nn.Linear)} - {"lm_head"})
    lora = LoraConfig(r=settings.r, lora_alpha=settings.alpha, lora_dropout=settings.dropout, target_modules=targets)
    try:
        inject_adapter_in_model(lora, language_model)
    except ValueError as error:
        raise ConfigError(f"parts.language_model.lora.targets: {error}") from error
    for name, parameter in language_model.named_parameters():
        if parameter.requires_grad:
            if "lora_" not in name:
                raise ConfigError(f"adapters left '{name}' trainable; choose other lora.targets")
            parameter.data = parameter.data.float()


def part_of(parameter_name: str) -> str:
    """`multi_modal_projector.weight` → `projector`."""
    first = parameter_name.split(".", 1)[0]
    return next(part for part, attribute in ATTRIBUTES.items() if attribute == first)


def parameter_groups(model: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Optimiser groups, two a part: matrices with weight decay, norms and biases without."""
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            # ZeRO-3 leaves an empty tensor where the weights were; the full shape is kept beside it.
            dimensions = len(getattr(parameter, "ds_shape", parameter.shape))
            groups.setdefault((part_of(name), dimensions > 1), []).append(parameter)
    result = []
    for (part, decays), parameters in sorted(groups.items()):
        settings = config.part(part)
        if settings is None:
            raise ConfigError(f"{part} has trainable parameters but is frozen in the config")
        rate = settings.learning_rate if settings.learning_rate is not None else config.learning_rate
        decay = settings.weight_decay if settings.weight_decay is not None else config.weight_decay
        result.append({"params": parameters, "lr": rate, "weight_decay": decay if decays else 0.0, "name": part})
    return result


@contextmanager
def gathered(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """The whole weights on every rank while ZeRO-3 has them split; nothing to do otherwise. All ranks must enter."""
    split = [parameter for parameter in parameters if hasattr(parameter, "ds_id")]
    if not split:
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(split):
        yield


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """Everything that training changed: parameters that require gradients (adapters among them), on the CPU, keyed as in the model.

    Under ZeRO-3 every rank must call this.
    """
    state: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            with gathered([parameter]):
                state[name] = parameter.detach().to("cpu", copy=True).contiguous()
    return state


def load_trained_state(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Put a `trained_state` back into a model with the same parts.

    Raises:
      ConfigError: the tensors are not those of this stage.
    """
    expected = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    missing, extra = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or extra:
        example = (missing or extra)[0]
        raise ConfigError(
            f"the checkpoint was written by another stage: {len(missing)} tensors are missing and {len(extra)} are too many, for example '{example}'"
        )
    with torch.no_grad():
        for name, parameter in expected.items():
            parameter.copy_(state[name])


def merge_adapters(model: nn.Module) -> int:
    """Add every adapter to the weight it adapts, in float32, and put the plain layer in its place; returns how many."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapted = [(name, module) for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
    for name, module in adapted:
        parent_name, _, child = name.rpartition(".")
        # In half precision a small update would vanish in the rounding of the weight.
        model.get_submodule(name).float()
        module.merge(safe_merge=True)
        setattr(model.get_submodule(parent_name), child, module.get_base_layer())
    return len(adapted)


def merge_and_save(
    model: GPT4RoIForConditionalGeneration, processor: GPT4RoIProcessor, folder: Path | str, dtype: torch.dtype = torch.float32
) -> Path:
    """An ordinary `from_pretrained` folder with adapters merged. The model is changed: its adapters are gone, its dtype is `dtype`.

    Not for a model that ZeRO-3 has split; see `gpt4roi.training.export` for those.
    """
    folder = Path(folder)
    merge_adapters(model)
    model.to(dtype=dtype)  # type: ignore[call-arg]
    model.config.dtype = dtype
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def count_parameters(model: nn.Module) -> dict[str, dict[str, int]]:
    """Trainable and all parameters of each part."""
    counts = {part: {"trainable": 0, "all": 0} for part in PARTS}
    for name, parameter in model.named_parameters():
        number = int(getattr(parameter, "ds_numel", parameter.numel()))
        counts[part_of(name)]["all"] += number
        counts[part_of(name)]["trainable"] += number if parameter.requires_grad else 0
    return counts
