"""What happens around the steps: the clock, stopping, saving by time, throughput, the progress line."""

from __future__ import annotations

import os
import signal
import sys
import time
from types import FrameType
from typing import Any

import torch
import torch.distributed
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gpt4roi.training.clock import RunClock
from gpt4roi.training.config import TrainConfig


class ClockCallback(TrainerCallback):
    """Ends the run by step or time, saves and evaluates when it is time to, stops after the running step on Ctrl-C.

    `was_interrupted` tells afterwards whether it was Ctrl-C (or SIGTERM). All ranks follow rank 0's clock and any rank's signal.
    """

    def __init__(self, config: TrainConfig, clock: RunClock, seconds_before: float, world_size: int) -> None:
        self.config, self.clock = config, clock
        self.seconds_before = seconds_before
        self.world_size = world_size
        self.was_interrupted = False
        self._signalled = False
        self._last_save = 0.0
        self._previous: dict[int, Any] = {}

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.clock.start(self.seconds_before)
        self._last_save = self.clock.seconds()
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._signalled:
            raise KeyboardInterrupt
        self._signalled = True
        # Not print: the signal may come in the middle of one, and Python refuses a second within it.
        os.write(2, b"stopping after this step and saving a checkpoint; once more to stop at once\n")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        seconds, stop = self._agreed(args.device)
        self.clock.agree(seconds)
        config, step = self.config, state.global_step
        is_over = self.clock.fraction(step) >= 1
        by_time = config.save_minutes is not None and seconds - self._last_save >= config.save_minutes * 60
        if is_over or stop or by_time or (config.save_steps is not None and step % config.save_steps == 0):
            control.should_save = True
            self._last_save = seconds
            if config.eval_steps is None and not stop:
                control.should_evaluate = True
        if config.eval_steps is not None and (step % config.eval_steps == 0 or is_over):
            control.should_evaluate = True
        if not config.eval_data:
            control.should_evaluate = False
        if is_over or stop:
            control.should_training_stop = True
            control.should_log = True
            self.was_interrupted = stop and not is_over

    def _agreed(self, device: torch.device) -> tuple[float, bool]:
        if self.world_size == 1:
            return self.clock.seconds(), self._signalled
        values = torch.tensor([self.clock.seconds(), 0.0], dtype=torch.float64, device=device)
        torch.distributed.broadcast(values, src=0)
        values[1] = float(self._signalled)
        torch.distributed.all_reduce(values, op=torch.distributed.ReduceOp.MAX)
        return float(values[0]), bool(values[1])

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)


class ThroughputCallback(TrainerCallback):
    """Adds samples/s, tokens/s, padding and, where the device's peak is known, model FLOPs utilisation to every log record.

    counts: running totals of this rank, kept by the trainer. flops_per_token: forward and backward, of the language model.
    peak_flops: of the device, or None.
    """

    def __init__(self, counts: dict[str, int], world_size: int, flops_per_token: float, peak_flops: float | None, clock: RunClock) -> None:
        self.counts, self.world_size, self.clock = counts, world_size, clock
        self.flops_per_token, self.peak_flops = flops_per_token, peak_flops
        self._since = time.monotonic()
        self._last = dict(counts)
        self._paused = 0.0
        self._step_ended = self._since

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._since = self._step_ended = time.monotonic()

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        # Waiting for data counts as training time, evaluation and saving do not.
        if self._paused:
            self._since += time.monotonic() - self._paused
            self._paused = 0.0

    def _pause(self, *args: Any, **kwargs: Any) -> None:
        self._paused = self._paused or time.monotonic()

    on_evaluate = _pause
    on_save = _pause

    def rates(self) -> dict[str, float]:
        """Since the last call."""
        now = time.monotonic()
        seconds = max(now - self._since, 1e-9)
        change = {name: value - self._last[name] for name, value in self.counts.items()}
        self._since, self._last = now, dict(self.counts)
        tokens_per_second = change["tokens"] * self.world_size / seconds
        rates = {
            "samples_per_second": round(change["samples"] * self.world_size / seconds, 3),
            "tokens_per_second": round(tokens_per_second, 1),
            "padding_share": round(1 - change["tokens"] / max(change["padded_tokens"], 1), 4),
        }
        if self.peak_flops:
            rates["model_flops_utilisation"] = round(tokens_per_second * self.flops_per_token / (self.peak_flops * self.world_size), 4)
        return rates

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        if logs is not None and "loss" in logs:
            extra = {**self.rates(), "seconds": round(self.clock.seconds(), 1)}
            logs.update(extra)
            state.log_history[-1].update(extra)


class ProgressCallback(TrainerCallback):
    """One line a log record on stderr: step, loss, rate, speed, time left."""

    def __init__(self, clock: RunClock) -> None:
        self.clock = clock

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        if logs is None or not state.is_world_process_zero:
            return
        step = state.global_step
        if "loss" in logs:
            left = self.clock.seconds_left(step)
            limit = "" if self.clock.max_steps >= 1_000_000 else f"/{self.clock.max_steps}"
            text = (
                f"step {step}{limit} ({self.clock.fraction(step):.0%})  loss {logs['loss']:.4f}  "
                f"lr {logs.get('learning_rate', 0):.2e}  norm {logs.get('grad_norm', 0):.2f}  "
                f"{logs.get('samples_per_second', 0):.1f} samples/s  {logs.get('tokens_per_second', 0):.0f} tokens/s"
            )
            if "model_flops_utilisation" in logs:
                text += f"  MFU {logs['model_flops_utilisation']:.0%}"
            text += f"  {clock_time(self.clock.seconds())} gone" + (f", {clock_time(left)} left" if left is not None else "")
        elif "eval_loss" in logs:
            text = f"step {step}  evaluation: loss {logs['eval_loss']:.4f}, token accuracy {logs['eval_token_accuracy']:.1%}"
        else:
            return
        print(text, file=sys.stderr, flush=True)


def clock_time(seconds: float) -> str:
    """`75` → `1:15`, `3700` → `1:01:40`."""
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
