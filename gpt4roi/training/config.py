"""A training run as one YAML file: dataclass fields with a type, a default and one sentence, which is also the option's help."""

# ruff: noqa: RUF009
from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from gpt4roi.errors import UserError

PARTS = ("region_encoder", "projector", "vision_tower", "language_model")
PRECISIONS = ("auto", "bf16", "fp32")
SCHEDULES = ("cosine", "linear", "constant")
SAVE_DTYPES = ("float32", "bfloat16", "float16")
WHOLE_RUN_STEPS = 1_000_000


class ConfigError(UserError):
    """A configuration that cannot be used; the message is a sentence for the user."""


def _field(default: Any, text: str) -> Any:
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata={"help": text})
    return field(default=default, metadata={"help": text})


@dataclass
class LoraSettings:
    """Low-rank adapters of the language model (peft)."""

    r: int = _field(16, "rank")
    alpha: int = _field(32, "scale: the update is multiplied by alpha / r")
    dropout: float = _field(0.0, "dropout before the adapters")
    targets: str | list[str] = _field("all-linear", "names of the linear layers that get adapters, or all-linear")


@dataclass
class PartSettings:
    """How one part trains. In YAML `frozen` stands for a part that does not."""

    learning_rate: float | None = _field(None, "peak learning rate of this part; the run's if not given")
    weight_decay: float | None = _field(None, "of matrices, not of norms and biases; the run's if not given")
    lora: LoraSettings | None = _field(None, "adapters instead of the whole part (language_model only)")


@dataclass
class SampleQuestion:
    """A question that is asked at every save, so that one can read how answers change."""

    image: str | None = _field(None, "picture, relative to data_root")
    boxes: list[list[float]] = _field([], "boxes in pixels of the picture, the first is <region1>")
    question: str = _field("What is <region1>?", "what is asked")


@dataclass
class TrainConfig:
    """One training run."""

    output_dir: str = _field("", "folder of checkpoints, logs, report and the finished model")
    objective: str = _field("language", "language (next token), or region_pretraining (see its own module)")
    model: str = _field("embedded", "what to start from: embedded, or a model folder or hub id")
    start_from: str | None = _field(
        None, "checkpoint folder of another run with the same parts: its trained weights are the start of this one, its optimiser is not"
    )
    parts: dict[str, PartSettings | None] = _field({}, "which parts train; a part that is absent or 'frozen' does not")
    data: list[dict[str, Any]] = _field([], "data sets: reader, its options (annotations, images, …), weight, limit")
    eval_data: list[dict[str, Any]] = _field([], "the same for evaluation during training")
    data_root: str = _field(".", "folder that paths in data, eval_data and sample_questions are relative to")
    check_images: bool = _field(True, "open every picture before training starts")
    skip_broken: bool = _field(False, "go on without samples whose picture is missing or broken")
    samples_per_epoch: int | None = _field(None, "places an epoch of a weighted mixture; the sum of its sets if not given")
    max_length: int = _field(1024, "most tokens of a sample, picture included; whole turns are dropped from the end")
    batch_size: int | None = _field(None, "samples a device and forward pass; give this or tokens_per_batch")
    tokens_per_batch: int | None = _field(None, "padded tokens a device and forward pass; batches of short samples get more of them")
    gradient_accumulation_steps: int = _field(1, "forward passes an optimiser step")
    group_by_length: bool = _field(True, "batch samples of similar length, so that little is padding")
    epochs: float | None = _field(None, "passes over the data; 1 if neither this nor max_steps nor max_minutes is given")
    max_steps: int | None = _field(None, "optimiser steps")
    max_minutes: float | None = _field(None, "stop after this wall time; the schedule is scaled to whatever limit comes first")
    learning_rate: float = _field(1e-4, "peak learning rate of parts that have none of their own")
    schedule: str = _field("cosine", "after warm-up: cosine or linear to final_lr_ratio, or constant")
    warmup: float = _field(0.03, "below 1 a fraction of the run, from 1 a number of steps")
    final_lr_ratio: float = _field(0.0, "last learning rate as a fraction of the peak")
    weight_decay: float = _field(0.0, "of matrices of parts that have none of their own")
    adam_beta2: float = _field(0.999, "AdamW's second beta")
    max_grad_norm: float = _field(1.0, "gradients are clipped to this norm; 0 = never")
    precision: str = _field("auto", "auto, bf16 (autocast, frozen language model in bfloat16) or fp32; auto is bf16 where it is fast")
    gradient_checkpointing: bool = _field(False, "recompute activations: less memory, about a third more time")
    attention: str | None = _field(None, "attention back end of transformers: sdpa, eager, flash_attention_2")
    answer_logits_only: bool = _field(True, "compute logits only where a token is trained")
    cache_features: str | None = _field(None, "folder for the frozen vision tower's outputs: computed once, read afterwards")
    cross_fitted: str | None = _field(
        None, "stage 1's output with folds: each picture is read by the encoder that was fitted without it (needs cache_features)"
    )
    num_workers: int = _field(2, "processes that read and decode")
    device: str = _field("auto", "auto, cpu or cuda")
    deepspeed: str | None = _field(None, "DeepSpeed JSON, for example configs/deepspeed/zero2.json")
    log_steps: int = _field(10, "steps between two log lines")
    eval_steps: int | None = _field(None, "steps between two evaluations; at saves if not given")
    eval_limit: int | None = _field(None, "most samples of an evaluation")
    save_steps: int | None = _field(None, "steps between two checkpoints; only at the end if neither this nor save_minutes is given")
    save_minutes: float | None = _field(None, "minutes between two checkpoints")
    keep_checkpoints: int = _field(2, "latest checkpoints kept, beside the best one")
    sample_questions: list[SampleQuestion] = _field([], "asked at every save; three of eval_data if not given")
    num_sample_questions: int = _field(3, "how many of eval_data are asked if sample_questions is not given")
    save_dtype: str = _field("float32", "dtype of the finished model: float32, bfloat16, float16")
    seed: int = _field(0, "of data order, question wording, initialisation and dropout")

    def part(self, name: str) -> PartSettings | None:
        """Settings of a part that trains, None of a frozen one."""
        return self.parts.get(name)

    @property
    def is_tower_frozen(self) -> bool:
        return self.part("vision_tower") is None


def load_config(path: Path | str, overrides: Mapping[str, Any] | None = None, *, require_output: bool = True) -> TrainConfig:
    """A YAML file with overrides (dotted keys reach inside) as a checked config.

    Raises:
      ConfigError: the file is missing or not YAML, a key is unknown (the nearest known one is named), a value has the wrong type or is
        out of range.
    """
    return build_config(read_yaml(path, overrides), require_output=require_output)


def read_yaml(path: Path | str, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The file as a dict, overrides written into it, nothing checked."""
    try:
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such config file") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: a config is a mapping of keys to values; got {type(raw).__name__}")
    for key, value in (overrides or {}).items():
        *parents, last = key.split(".")
        place = raw
        for parent in parents:
            if not isinstance(place.get(parent), dict):
                place[parent] = {}
            place = place[parent]
        place[last] = value
    return raw


def build_config(raw: Mapping[str, Any], *, require_output: bool = True) -> TrainConfig:
    """A mapping as a checked config; raises ConfigError."""
    raw = dict(raw)
    parts = raw.pop("parts", {}) or {}
    if not isinstance(parts, Mapping):
        raise ConfigError("parts is a mapping from a part to its settings or 'frozen'")
    config = _build(TrainConfig, raw, "")
    for name, settings in parts.items():
        if name not in PARTS:
            raise ConfigError(unknown_key(f"parts.{name}", name, PARTS))
        is_frozen = settings is None or settings == "frozen"
        config.parts[name] = None if is_frozen else _build(PartSettings, settings, f"parts.{name}.")
    _check(config, require_output)
    return config


def _check(config: TrainConfig, require_output: bool) -> None:
    def one_of(name: str, known: tuple[str, ...]) -> None:
        value = getattr(config, name)
        if value not in known:
            raise ConfigError(f"{name} is one of {', '.join(known)}; got '{value}'")

    one_of("precision", PRECISIONS)
    one_of("schedule", SCHEDULES)
    one_of("save_dtype", SAVE_DTYPES)
    one_of("device", ("auto", "cpu", "cuda"))
    if require_output and not config.output_dir:
        raise ConfigError("output_dir is missing; say where checkpoints and the report go")
    if not config.data:
        raise ConfigError("data is empty; give at least one data set, for example - {reader: jsonl, annotations: train.jsonl}")
    if not any(config.part(name) for name in PARTS):
        raise ConfigError(f"no part trains; give at least one of {', '.join(PARTS)} a learning_rate under parts")
    for name in PARTS[:3]:
        settings = config.part(name)
        if settings is not None and settings.lora is not None:
            raise ConfigError(f"parts.{name}.lora: adapters are for the language_model; train {name} whole or freeze it")
    if (config.batch_size is None) == (config.tokens_per_batch is None):
        raise ConfigError("give either batch_size (samples) or tokens_per_batch (padded tokens), one of the two")
    for name in ("batch_size", "tokens_per_batch", "gradient_accumulation_steps", "max_length", "max_steps", "epochs", "max_minutes", "log_steps",
                 "save_steps", "eval_steps", "save_minutes", "samples_per_epoch", "keep_checkpoints"):  # fmt: skip
        value = getattr(config, name)
        if value is not None and value <= 0:
            raise ConfigError(f"{name} is positive; got {value}")
    if config.cache_features and not config.is_tower_frozen:
        raise ConfigError("cache_features needs a frozen vision_tower: features of a tower that trains are outdated after one step")
    if config.cross_fitted and not config.cache_features:
        raise ConfigError("cross_fitted needs cache_features: finished features are made of the cached ones")
    if config.cross_fitted and (config.part("region_encoder") or config.part("projector")):
        raise ConfigError("cross_fitted needs a frozen region_encoder and projector: its features are finished before the model sees them")
    if config.epochs is None and config.max_steps is None and config.max_minutes is None:
        config.epochs = 1.0


def unknown_key(path: str, key: str, known: typing.Iterable[str]) -> str:
    """The sentence about an unknown key."""
    names = list(known)
    close = difflib.get_close_matches(key.replace("-", "_"), names, n=1, cutoff=0.5)
    return f"unknown config key '{path}'" + (f"; did you mean '{close[0]}'?" if close else f"; known are {', '.join(names)}")


def _build(cls: type, raw: Any, prefix: str) -> Any:
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{prefix.rstrip('.') or 'the config'} is a mapping of keys to values; got {raw!r}")
    hints = typing.get_type_hints(cls)
    known = [item.name for item in dataclasses.fields(cls)]
    values = {}
    for key, value in raw.items():
        if key not in known:
            raise ConfigError(unknown_key(f"{prefix}{key}", str(key), known))
        values[key] = _coerce(hints[key], value, f"{prefix}{key}")
    return cls(**values)


def _coerce(hint: Any, value: Any, path: str) -> Any:
    """The value as the annotated type. YAML reads `1e-5` as text, so numbers may come as strings."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        options = [argument for argument in arguments if argument is not type(None)]
        for option in options[:-1]:
            if isinstance(value, typing.get_origin(option) or option):
                return _coerce(option, value, path)
        return _coerce(options[-1], value, path)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _build(hint, value, f"{path}.")
    if origin is list:
        if not isinstance(value, list):
            raise ConfigError(f"{path} is a list; got {value!r}")
        return [_coerce(arguments[0], item, f"{path}[{index}]") for index, item in enumerate(value)]
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{path} is a mapping; got {value!r}")
        return dict(value)
    if hint is Any:
        return value
    if hint is bool:
        if isinstance(value, bool):
            return value
        raise ConfigError(f"{path} is true or false; got {value!r}")
    if hint in (int, float) and not isinstance(value, bool):
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise ConfigError(f"{path} is a number; got {value!r}") from None
        if hint is int and number != int(number):
            raise ConfigError(f"{path} is a whole number; got {value!r}")
        return hint(number)
    if hint is str and isinstance(value, str | int | float | Path) and not isinstance(value, bool):
        return str(value)
    raise ConfigError(f"{path} is a {getattr(hint, '__name__', hint)}; got {value!r}")


def to_plain(config: TrainConfig) -> dict[str, Any]:
    """The resolved config as what YAML and JSON hold; frozen parts written out."""
    plain = dataclasses.asdict(config)
    plain["parts"] = {name: plain["parts"].get(name) or "frozen" for name in PARTS}
    return plain
