"""One run from config to finished model: load, prepare parts, data, train, export, report."""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import TrainingArguments
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_callback import ProgressCallback as PlainProgressCallback

from gpt4roi.data.collator import RegionCollator, RegionDataset
from gpt4roi.data.mixture import Mixture
from gpt4roi.data.readers import LoadedData, load_mixture
from gpt4roi.data.sample import Sample
from gpt4roi.models import GPT4RoIForConditionalGeneration, GPT4RoIProcessor
from gpt4roi.training.batches import BatchPlan, EpochStream, LengthTable, RankBatches
from gpt4roi.training.callbacks import ClockCallback, ProgressCallback, ThroughputCallback
from gpt4roi.training.clock import RunClock
from gpt4roi.training.config import WHOLE_RUN_STEPS, ConfigError, TrainConfig, to_plain
from gpt4roi.training.cross_fitting import CrossFittedProcessor
from gpt4roi.training.export import export_checkpoint, load_start
from gpt4roi.training.features import CachedFeaturesProcessor, FeatureCache, tower_fingerprint
from gpt4roi.training.hardware import flops_per_token, is_bf16_fast, peak_flops
from gpt4roi.training.parts import count_parameters
from gpt4roi.training.probes import SAMPLES_NAME, SampleAnswers, fixed_questions
from gpt4roi.training.report import ReportCallback
from gpt4roi.training.trainer import CLOCK_NAME, RegionTrainer, checkpoints, eval_batches, step_of

FINAL_NAME = "model"
FINISHED_NAME = "finished.json"
# A run that made a smaller share of its planned steps than this is called hardly trained.
HARDLY_TRAINED = 0.2
# What may differ when a run goes on: nothing that changes what is trained on which data in which order.
MAY_CHANGE = {"num_workers", "log_steps", "eval_steps", "save_steps", "save_minutes", "keep_checkpoints", "sample_questions", "num_sample_questions",
              "cache_features", "save_dtype", "output_dir", "max_minutes", "max_steps", "epochs", "check_images", "device"}  # fmt: skip


@dataclass
class Prepared:
    """A run that is ready to take its first step."""

    config: TrainConfig
    model: GPT4RoIForConditionalGeneration
    processor: GPT4RoIProcessor
    data: LoadedData
    eval_samples: list[Sample]
    trainer: RegionTrainer
    clock: RunClock
    clock_callback: ClockCallback


def is_bf16(config: TrainConfig) -> bool:
    return config.precision == "bf16" or (config.precision == "auto" and is_bf16_fast(config.device))


def world() -> tuple[int, int]:
    """(rank, number of ranks) as torchrun and deepspeed tell them."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def prepare(config: TrainConfig, *, resume_seconds: float = 0.0, extra_callbacks: Sequence[Any] = ()) -> Prepared:
    """Load everything and build the trainer; no step is taken.

    Raises:
      ConfigError, DataError, ModelNotFoundError …: each with one sentence.
    """
    bf16 = is_bf16(config)
    rank, world_size = world()
    root = Path(config.data_root).expanduser()
    data = load_mixture(
        config.data, root, seed=config.seed, length=config.samples_per_epoch,
        look_at_images=config.check_images or config.skip_broken, skip_broken=config.skip_broken,
    )  # fmt: skip
    eval_samples = _eval_samples(config, root)
    # Loaded before TrainingArguments exist, because these would make ZeRO-3 split every weight while it is read, adapters not yet in.
    model, processor = load_start(config, bf16=bf16)
    args = training_arguments(config, bf16=bf16, world_size=world_size)
    reader: Any = processor
    if config.cache_features:
        reader = cached_reader(config, model, processor, data.mixture, eval_samples, args)
    dataset = RegionDataset(EpochStream(data.mixture), reader, config.max_length)
    plan = batch_plan(config, world_size)
    batches = RankBatches(data.mixture, plan, processor.num_image_tokens, config.max_length, rank, world_size)
    max_steps = config.max_steps or (WHOLE_RUN_STEPS if config.epochs is None else batches.steps(config.epochs))
    clock = RunClock(max_steps, config.max_minutes)
    args.max_steps = max_steps
    clock_callback = ClockCallback(config, clock, resume_seconds, world_size)
    trainer = RegionTrainer(
        model, args, config, clock, dataset, batches, RegionCollator(reader),
        eval_dataset=RegionDataset(eval_samples, reader, config.max_length) if eval_samples else None,
        eval_batches=_eval_batches(config, processor, eval_samples, rank, world_size),
        callbacks=[clock_callback],
    )  # fmt: skip
    for unwanted in (PrinterCallback, PlainProgressCallback):
        trainer.remove_callback(unwanted)
    # Before the loggers, so that TensorBoard and the history get the rates too.
    throughput = ThroughputCallback(trainer.step_counts, world_size, flops_per_token(model), peak_flops(args.device), clock)
    trainer.callback_handler.callbacks.insert(0, throughput)
    for callback in (ProgressCallback(clock), *extra_callbacks):
        trainer.add_callback(callback)
    questions = fixed_questions(config, eval_samples)
    if questions:
        trainer.add_callback(SampleAnswers(questions, processor, Path(config.output_dir)))
    trainer.add_callback(ReportCallback(Path(config.output_dir)))
    return Prepared(config, model, processor, data, eval_samples, trainer, clock, clock_callback)


def batch_plan(config: TrainConfig, world_size: int) -> BatchPlan:
    return BatchPlan(
        config.batch_size, config.tokens_per_batch, config.gradient_accumulation_steps * world_size, config.group_by_length, config.seed
    )


def _eval_samples(config: TrainConfig, root: Path) -> list[Sample]:
    if not config.eval_data:
        return []
    loaded = load_mixture(
        config.eval_data, root, seed=config.seed, look_at_images=config.check_images or config.skip_broken, skip_broken=config.skip_broken
    )
    samples = [loaded.mixture.sample(index, 0) for index in range(len(loaded.mixture))]
    if config.eval_limit is not None and config.eval_limit < len(samples):
        # Evenly over the sets, the same ones every time.
        samples = [samples[round(i * (len(samples) - 1) / max(config.eval_limit - 1, 1))] for i in range(config.eval_limit)]
    return samples


def _eval_batches(
    config: TrainConfig, processor: GPT4RoIProcessor, samples: list[Sample], rank: int, world_size: int
) -> list[tuple[list[int], bool]]:
    if not samples:
        return []
    lengths = LengthTable(Mixture([samples]), processor.num_image_tokens, config.max_length).of_epoch(0)
    return eval_batches(lengths, config.tokens_per_batch, config.batch_size, rank, world_size)


def cached_reader(
    config: TrainConfig,
    model: GPT4RoIForConditionalGeneration,
    processor: GPT4RoIProcessor,
    mixture: Mixture,
    eval_samples: list[Sample],
    args: Any,
) -> CachedFeaturesProcessor:
    """Every rank computes its share of what is missing, then all wait for each other."""
    rank, world_size = world()
    assert config.cache_features is not None
    cache = FeatureCache(Path(config.cache_features).expanduser(), tower_fingerprint(model, processor))
    samples = [sample for part in mixture.parts for sample in part] + eval_samples
    images = list(dict.fromkeys(sample.image for sample in samples if sample.image is not None))
    model.vision_tower.to(args.device)
    cache.fill(images[rank::world_size], model, processor, show_progress=rank == 0)
    model.vision_tower.to("cpu")
    if world_size > 1:
        torch.distributed.barrier()
    if config.cross_fitted:
        return CrossFittedProcessor(processor, cache, model, Path(config.cross_fitted).expanduser())
    return CachedFeaturesProcessor(processor, cache)


def training_arguments(config: TrainConfig, *, bf16: bool, world_size: int) -> TrainingArguments:
    """What transformers and accelerate need to know; the rest is in our own config."""
    report_to = [name for name, package in (("tensorboard", "tensorboard"), ("wandb", "wandb")) if _is_installed(package)]
    logs = str(Path(config.output_dir) / "tensorboard")
    # transformers reads it from the environment alone; a run before this one in the same process may have left its own.
    os.environ["TENSORBOARD_LOGGING_DIR"] = logs
    deepspeed = config.deepspeed
    if deepspeed is not None:
        if not _is_installed("deepspeed"):
            raise ConfigError("deepspeed is not installed; pip install deepspeed, or leave it out of the config")
        if not Path(deepspeed).is_file():
            raise ConfigError(f"deepspeed: there is no file '{deepspeed}'; see configs/deepspeed/")
    backend = "nccl" if config.device != "cpu" and torch.cuda.is_available() else "gloo"
    return TrainingArguments(
        output_dir=config.output_dir,
        per_device_train_batch_size=config.batch_size or 1,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        max_steps=1,
        max_grad_norm=config.max_grad_norm,
        bf16=bf16,
        use_cpu=config.device == "cpu" or not torch.cuda.is_available(),
        ddp_backend=backend if world_size > 1 else None,
        ddp_find_unused_parameters=False if world_size > 1 else None,
        logging_strategy="steps",
        logging_steps=config.log_steps,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        eval_strategy="no",
        save_strategy="no",
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        report_to=report_to,
        remove_unused_columns=False,
        dataloader_num_workers=config.num_workers,
        dataloader_pin_memory=False,
        average_tokens_across_devices=True,
        disable_tqdm=True,
        seed=config.seed,
        deepspeed=deepspeed,
    )


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def train(config: TrainConfig, *, resume: bool = True, overwrite: bool = False) -> int:
    """The whole run. Returns the exit code: 0, or 130 if it was interrupted and can be continued.

    Args:
      resume: go on from the last checkpoint in output_dir if there is one.
      overwrite: throw away what is in output_dir first.
    """
    rank, _ = world()
    output = Path(config.output_dir)
    if overwrite and rank == 0:
        for path in [*output.glob("checkpoint-*"), *output.glob("partial-*"), output / FINAL_NAME, output / "tensorboard"]:
            shutil.rmtree(path, ignore_errors=True)
        for name in (SAMPLES_NAME, FINISHED_NAME):
            (output / name).unlink(missing_ok=True)
    last = checkpoint_to_resume(config) if resume and not overwrite else None
    if last is None and checkpoints(output) and not overwrite:
        raise ConfigError(f"'{output}' already holds checkpoints; go on with --resume, or start anew with --overwrite")
    done = finished_run(config) if last is not None else None
    if done is not None:
        if rank == 0:
            print(
                f"already finished: {output / FINAL_NAME} (from {done}); raise max_steps or max_minutes to go on, or start anew with --overwrite"
            )
        return 0
    output.mkdir(parents=True, exist_ok=True)
    seconds_before = json.loads((last / CLOCK_NAME).read_text(encoding="utf-8"))["seconds"] if last is not None else 0.0
    prepared = prepare(config, resume_seconds=seconds_before)
    if rank == 0:
        write_records(prepared)
        print(describe(prepared), file=sys.stderr, flush=True)
        if last is not None:
            print(f"going on from step {step_of(last)} ('{last}')", file=sys.stderr, flush=True)
    prepared.trainer.train(resume_from_checkpoint=str(last) if last is not None else None)
    if prepared.clock_callback.was_interrupted:
        if rank == 0:
            print(
                f"interrupted and saved; the same command goes on from step {prepared.trainer.state.global_step}",
                file=sys.stderr,
                flush=True,
            )
        return 130
    if rank == 0:
        finish(prepared)
    return 0


def finish(prepared: Prepared) -> Path:
    """The best checkpoint (by evaluation loss; the last one without evaluation) as an ordinary model folder."""
    config, state = prepared.config, prepared.trainer.state
    best = Path(state.best_model_checkpoint) if state.best_model_checkpoint else checkpoints(config.output_dir)[-1]
    if config.deepspeed is not None:
        from transformers.integrations.deepspeed import unset_hf_deepspeed_config

        # Under ZeRO-3 the model to export would again be split while it is read, over ranks that have already gone.
        unset_hf_deepspeed_config()
    folder = export_checkpoint(best, Path(config.output_dir) / FINAL_NAME, config)
    lost = prepared.trainer.train_dataset.truncation  # type: ignore[union-attr]
    if lost and config.num_workers == 0:
        print(f"too long for {config.max_length} tokens: {lost}", file=sys.stderr)
    step, planned = state.global_step, prepared.clock.max_steps
    (Path(config.output_dir) / FINISHED_NAME).write_text(
        json.dumps({"checkpoint": best.name, "step": step, **limits_of(config)}) + "\n", encoding="utf-8"
    )
    if planned < WHOLE_RUN_STEPS and step < HARDLY_TRAINED * planned:
        print(f"only {step} of {planned} planned steps were made: this is hardly trained; give it more time with --max-minutes", flush=True)
    print(f"finished: {folder} (from {best.name})", flush=True)
    return folder


def limits_of(config: TrainConfig) -> dict[str, float | None]:
    """What ends a run."""
    return {"max_steps": config.max_steps, "max_minutes": config.max_minutes, "epochs": config.epochs}


def finished_run(config: TrainConfig) -> str | None:
    """The checkpoint that a finished run with the same limits was exported from; None where there is still something to do."""
    output = Path(config.output_dir)
    try:
        record = json.loads((output / FINISHED_NAME).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    is_same = all(record.get(name) == value for name, value in limits_of(config).items())
    return record["checkpoint"] if is_same and (output / FINAL_NAME).is_dir() else None


def checkpoint_to_resume(config: TrainConfig) -> Path | None:
    """The last complete checkpoint of the same run, or None. Refuses a checkpoint of a different one."""
    found = checkpoints(config.output_dir)
    if not found:
        return None
    before = yaml.safe_load((found[-1] / "config.yaml").read_text(encoding="utf-8"))
    now = json.loads(json.dumps(to_plain(config)))
    changed = [key for key in now if key not in MAY_CHANGE and before.get(key) != now[key]]
    if changed:
        raise ConfigError(
            f"'{config.output_dir}' holds checkpoints of a run with another {', '.join(changed)}; choose another output_dir, or --overwrite"
        )
    return found[-1]


def write_records(prepared: Prepared) -> None:
    """The resolved config, the commit, versions and data counts, beside the checkpoints."""
    output = Path(prepared.config.output_dir)
    (output / "config.yaml").write_text(
        yaml.safe_dump(json.loads(json.dumps(to_plain(prepared.config))), sort_keys=False), encoding="utf-8"
    )
    data = prepared.data
    record = {
        "commit": commit(),
        "command": " ".join(sys.argv),
        "versions": {name: metadata.version(name) for name in ("torch", "transformers", "accelerate", "peft") if _is_installed(name)},
        "python": platform.python_version(),
        "data": [
            {"name": name, "samples": count, "places_an_epoch": places, "left_out": left_out}
            for name, count, places, left_out in zip(data.names, data.num_samples, data.mixture.counts, data.left_out, strict=True)
        ],
        "eval_samples": len(prepared.eval_samples),
        "parameters": count_parameters(prepared.model),
        "max_steps": prepared.clock.max_steps,
    }
    (output / "run.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def commit() -> str | None:
    """The repository's commit, with `+` if it has changes; None outside of one."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12"], cwd=here, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None


def describe(prepared: Prepared) -> str:
    """Data, parameters and length of the run in a few lines."""
    lines = [str(prepared.data)]
    if prepared.eval_samples:
        lines.append(f"evaluation: {len(prepared.eval_samples)} samples")
    for part, counts in count_parameters(prepared.model).items():
        lines.append(f"{part}: {counts['trainable'] / 1e6:.2f} of {counts['all'] / 1e6:.2f} million parameters train")
    limits = [] if prepared.clock.max_steps >= WHOLE_RUN_STEPS else [f"{prepared.clock.max_steps} steps"]
    if math.isfinite(prepared.clock.max_seconds):
        limits.append(f"{prepared.clock.max_seconds / 60:g} minutes")
    args = prepared.trainer.args
    lines.append(
        f"{' or '.join(limits)}, {args.gradient_accumulation_steps} x {args.world_size} batches a step, {'bf16' if args.bf16 else 'fp32'} on {args.device}"
    )
    return "\n".join(lines)
