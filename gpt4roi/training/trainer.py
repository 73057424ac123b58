"""What differs from `transformers.Trainer`: our batches, logits at trained places only, per-part rates, small atomic checkpoints."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import Trainer, TrainingArguments

from gpt4roi.errors import UserError
from gpt4roi.training.batches import RankBatches
from gpt4roi.training.clock import RunClock, rate_factor
from gpt4roi.training.config import TrainConfig
from gpt4roi.training.parts import load_trained_state, parameter_groups, trained_state

TRAINED_NAME = "trained.safetensors"
STATE_NAME = "trainer_state.json"
CLOCK_NAME = "clock.json"
LABELS_OF_A_BATCH = ("sample_ids",)


class NonFiniteLossError(UserError):
    """The loss of a batch is NaN or infinite; the message names its samples."""


class TracedCollator:
    """A collator whose batches carry their samples' ids, so that a bad batch can be named."""

    def __init__(self, collator: Any) -> None:
        self.collator = collator

    def __call__(self, samples: Sequence[Any]) -> dict[str, Any]:
        return {**self.collator(samples), "sample_ids": [sample.sample_id for sample in samples]}


class RegionTrainer(Trainer):
    """Trainer of region conversations.

    Args:
      config: the run.
      clock: its progress.
      train_batches: micro-batches of this rank.
      eval_batches: (indices, whether they count) of this rank, the same number on every rank.
    """

    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments,
        config: TrainConfig,
        clock: RunClock,
        train_dataset: Dataset[Any],
        train_batches: RankBatches,
        collator: Any,
        eval_dataset: Dataset[Any] | None = None,
        eval_batches: Sequence[tuple[list[int], bool]] = (),
        callbacks: list[Any] | None = None,
    ) -> None:
        self.config = config
        self.clock = clock
        self.network = model
        self.output_dir = Path(config.output_dir)
        self.train_batches = train_batches
        self.eval_batches = eval_batches
        self.step_counts = {"samples": 0, "tokens": 0, "padded_tokens": 0, "trained_tokens": 0}
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            data_collator=TracedCollator(collator),
            callbacks=callbacks,
        )
        # The loss is summed over trained tokens and divided by their number in the whole optimiser step.
        self.model_accepts_loss_kwargs = True
        self.loss_is_scaled_for_ga = True

    # Data

    def _loader(self, dataset: Any, batches: Any, num_workers: int) -> DataLoader[Any]:
        context = {"prefetch_factor": 4, "persistent_workers": True} if num_workers else {}
        return DataLoader(
            dataset,
            batch_sampler=batches,
            collate_fn=self.data_collator,
            num_workers=num_workers,
            pin_memory=torch.cuda.is_available(),
            **context,  # type: ignore[arg-type]
        )

    def get_train_dataloader(self) -> DataLoader[Any]:
        # Not handed to accelerate: the batches are this rank's own already.
        return self._loader(self.train_dataset, self.train_batches, self.config.num_workers)

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Tensor | None:
        if not batch_samples:
            return None
        count = torch.stack([(batch["labels"][:, 1:] != -100).sum() for batch in batch_samples]).sum().to(device)
        if self.args.world_size > 1:
            torch.distributed.all_reduce(count)
        return count.clamp(min=1)

    # Loss

    def _forward(self, model: nn.Module, inputs: Mapping[str, Any], num_items: Tensor | int) -> Any:
        tensors = {name: value for name, value in inputs.items() if name not in LABELS_OF_A_BATCH}
        return model(**tensors, trained_logits_only=self.config.answer_logits_only, num_items_in_batch=num_items, use_cache=False)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Tensor | int | None = None
    ) -> Any:
        self._count(inputs)
        count = num_items_in_batch if num_items_in_batch is not None else (inputs["labels"][:, 1:] != -100).sum().clamp(min=1)
        outputs = self._forward(model, inputs, count)
        loss = outputs.loss
        if not bool(torch.isfinite(loss)):
            raise NonFiniteLossError(self._describe_bad_batch(inputs, float(loss.detach())))
        # DDP and DeepSpeed average gradients over ranks; the count above is already that of all ranks.
        loss = loss * self.args.world_size
        return (loss, outputs) if return_outputs else loss

    def _describe_bad_batch(self, inputs: Mapping[str, Any], loss: float) -> str:
        weights = [name for name, parameter in self.network.named_parameters() if not bool(torch.isfinite(parameter).all())]
        record = {"step": self.state.global_step, "loss": str(loss), "sample_ids": list(inputs["sample_ids"]), "bad_weights": weights[:20]}
        path = self.output_dir / "nonfinite_batch.json"
        path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        cause = f"{len(weights)} weights are already not finite (first: {weights[0]})" if weights else "the weights are still finite"
        ids = ", ".join(str(sample_id) for sample_id in record["sample_ids"][:8])  # type: ignore[index]
        return (
            f"the loss became {loss} at step {self.state.global_step} on the batch with samples {ids}; {cause}; lower the learning rate or "
            f"look at these samples (all of them in '{path}'), then start again to go on from the last checkpoint"
        )

    def _count(self, inputs: Mapping[str, Any]) -> None:
        mask, labels = inputs["attention_mask"], inputs["labels"]
        self.step_counts["samples"] += mask.shape[0]
        self.step_counts["tokens"] += int(mask.sum())
        self.step_counts["padded_tokens"] += mask.numel()
        self.step_counts["trained_tokens"] += int((labels[:, 1:] != -100).sum())

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        return 0

    # Optimiser

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            groups = parameter_groups(model or self.network, self.config)
            self.optimizer = torch.optim.AdamW(groups, betas=(0.9, self.config.adam_beta2), fused=self.args.device.type == "cuda" or None)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> Any:
        if self.lr_scheduler is None:
            target = optimizer if optimizer is not None else self.optimizer
            if target is None:
                raise ValueError("the optimiser must be created before its schedule")
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(target, lambda step: rate_factor(self.config, self.clock, step))
            self._created_lr_scheduler = True
        return self.lr_scheduler

    # Evaluation

    @torch.no_grad()
    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Loss and accuracy per trained token over the whole evaluation set: exact, whatever the batches."""
        model = self.model_wrapped if self.is_deepspeed_enabled else self.network
        was_training = model.training
        model.eval()
        totals = torch.zeros(3, dtype=torch.float64)
        loader = self._loader(self.eval_dataset, [indices for indices, _ in self.eval_batches], 0)
        for inputs, (_, counts) in zip(loader, self.eval_batches, strict=True):
            inputs = self._prepare_inputs(inputs)
            with self.accelerator.autocast():
                outputs = self._forward(model, {**inputs}, 1)
            targets = inputs["labels"][:, 1:]
            is_trained = targets != -100
            logits = outputs.logits if self.config.answer_logits_only else outputs.logits[:, :-1][is_trained]
            hits = int((logits.argmax(-1) == targets[is_trained]).sum())
            # Ranks without a batch of their own repeat one, because ZeRO-3 must run forward everywhere; it does not count.
            totals += torch.tensor([float(outputs.loss), hits, int(is_trained.sum())], dtype=torch.float64) * counts
        if self.args.world_size > 1:
            totals = totals.to(self.args.device)
            torch.distributed.all_reduce(totals)
        model.train(was_training)
        loss, hits, count = totals.tolist()
        metrics = {"eval_loss": loss / max(count, 1), "eval_token_accuracy": hits / max(count, 1)}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        is_best = super()._determine_best_metric(metrics, trial)
        if is_best:
            # transformers notes the step only when it decides itself when to save.
            self.state.best_global_step = self.state.global_step
        return is_best

    # Checkpoints

    def _save_checkpoint(self, model: nn.Module, trial: Any = None) -> None:
        """Write a checkpoint beside its place and move it there whole: what is called `checkpoint-N` is always complete."""
        folder = self.output_dir / f"checkpoint-{self.state.global_step}"
        partial = folder.with_name(f"partial-{folder.name}")
        if self.args.should_save:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        self._barrier()
        self._save_optimizer_and_scheduler(str(partial))
        self._save_rng_state(str(partial))
        state = trained_state(self.network)
        if self.args.should_save:
            save_file(state, str(partial / TRAINED_NAME))
            (partial / CLOCK_NAME).write_text(json.dumps({"seconds": self.clock.seconds()}), encoding="utf-8")
            if self.state.best_global_step == self.state.global_step:
                self.state.best_model_checkpoint = str(folder)
            self.state.save_to_json(str(partial / STATE_NAME))
            shutil.copy(self.output_dir / "config.yaml", partial / "config.yaml")
            for path in partial.rglob("*"):
                if path.is_file():
                    _flush(path)
        self._barrier()
        if self.args.should_save:
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(partial, folder)
            self._remove_old_checkpoints()
        self._barrier()

    def _remove_old_checkpoints(self) -> None:
        folders = checkpoints(self.output_dir)
        keep = folders[-self.config.keep_checkpoints :]
        for folder in folders:
            # The best evaluation may have been at a step that was not saved: what counts is the best of those that were.
            if folder not in keep and str(folder) != self.state.best_model_checkpoint:
                shutil.rmtree(folder, ignore_errors=True)

    def _barrier(self) -> None:
        if self.args.world_size > 1:
            torch.distributed.barrier()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        load_trained_state(self.network, load_file(Path(resume_from_checkpoint) / TRAINED_NAME))


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def checkpoints(output_dir: Path | str) -> list[Path]:
    """Complete checkpoints, oldest first."""
    folders = [
        path for path in Path(output_dir).glob("checkpoint-*") if (path / STATE_NAME).exists() and path.name.partition("-")[2].isdigit()
    ]
    return sorted(folders, key=step_of)


def eval_batches(
    lengths: Sequence[int], tokens: int | None, batch_size: int | None, rank: int, world_size: int
) -> list[tuple[list[int], bool]]:
    """Batches of the evaluation set for one rank, longest first: as many as any other rank has, repeats marked as not counting."""
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        last = batches[-1] if batches else []
        fits = len(last) < batch_size if batch_size is not None else lengths[last[0] if last else index] * (len(last) + 1) <= (tokens or 1)
        if last and fits:
            last.append(index)
        else:
            batches.append([index])
    counted = [(batch, True) for batch in batches]
    rounds = math.ceil(len(counted) / world_size)
    counted += [(batches[0], False)] * (rounds * world_size - len(counted))
    return counted[rank::world_size]


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
