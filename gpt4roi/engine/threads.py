"""How many threads a step takes, decided by the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")
FIRST_INTERVAL, LAST_INTERVAL = 16, 1024


class ThreadChooser:
    """One thread or all of them for the many small products of a step, whichever was faster when last compared.

    On idle cores all threads win. As soon as another program keeps one core busy, every product waits for the thread that was put
    aside, a few milliseconds each, 120 times a token: measured on two cores beside a training run, two threads wrote 4 tokens/s
    where one wrote 80. So the two are compared again and again, more and more rarely while the answer stays the same.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.current = 1
        self._interval = FIRST_INTERVAL
        self._until_comparison = 1
        self._own_s = 0.0

    def run(self, work: Callable[[], Result]) -> Result:
        """Run one step."""
        if self.most == 1:
            return work()
        self._until_comparison -= 1
        # A comparison is two steps in a row: one as settled, one the other way.
        other = self.most if self.current == 1 else 1
        count = other if self._until_comparison < 0 else self.current
        torch.set_num_threads(count)
        start = time.perf_counter()
        try:
            return work()
        finally:
            taken = time.perf_counter() - start
            torch.set_num_threads(self.most)
            if self._until_comparison == 0:
                self._own_s = taken
            elif self._until_comparison < 0:
                self._settle(other, taken)

    def _settle(self, other: int, other_s: float) -> None:
        if other_s < 0.95 * self._own_s:
            self.current, self._interval = other, FIRST_INTERVAL
        else:
            self._interval = min(2 * self._interval, LAST_INTERVAL)
        self._until_comparison = self._interval
