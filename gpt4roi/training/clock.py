"""How far a run is: by steps, or by wall time where that is the limit. The learning rate follows this, so it always reaches its end."""

from __future__ import annotations

import math
import time

from gpt4roi.training.config import TrainConfig


class RunClock:
    """Progress of a run in [0, 1], across interruptions.

    Args:
      max_steps: of the whole run.
      max_minutes: wall time of the whole run without start-up, or None.
    """

    def __init__(self, max_steps: int, max_minutes: float | None) -> None:
        self.max_steps = max_steps
        self.max_seconds = math.inf if max_minutes is None else max_minutes * 60
        self._before = 0.0
        self._started: float | None = None
        self._agreed = 0.0

    def start(self, seconds_before: float = 0.0) -> None:
        """Training begins; `seconds_before` were spent before an interruption."""
        self._before, self._agreed, self._started = seconds_before, seconds_before, time.monotonic()

    def seconds(self) -> float:
        return self._before + (time.monotonic() - self._started if self._started is not None else 0.0)

    def agree(self, seconds: float) -> None:
        """The time that counts from now on; ranks hand in rank 0's, so that all stop at the same step."""
        self._agreed = seconds

    def fraction(self, step: int) -> float:
        return min(1.0, max(step / self.max_steps, self._agreed / self.max_seconds))

    def seconds_left(self, step: int) -> float | None:
        """Estimate from the progress so far; None before the first step."""
        done = self.fraction(step)
        return self.seconds() * (1 - done) / done if done > 0 else None


def rate_factor(config: TrainConfig, clock: RunClock, step: int) -> float:
    """Learning rate as a fraction of its peak."""
    fraction = clock.fraction(step)
    if config.warmup >= 1:
        warmup_end = config.warmup / max(clock.max_steps, config.warmup)
        warm = (step + 1) / config.warmup
    else:
        warmup_end = config.warmup
        # The step to come counts, or the first one would change nothing.
        warm = clock.fraction(step + 1) / warmup_end if warmup_end > 0 else 1.0
    if warm < 1:
        return max(warm, 1e-3)
    if config.schedule == "constant":
        return 1.0
    done = (fraction - warmup_end) / (1 - warmup_end) if warmup_end < 1 else 1.0
    done = min(1.0, max(0.0, done))
    falling = 0.5 * (1 + math.cos(math.pi * done)) if config.schedule == "cosine" else 1 - done
    return config.final_lr_ratio + (1 - config.final_lr_ratio) * falling
