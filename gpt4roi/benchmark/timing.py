"""Medians with spread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any


def spread(values: Sequence[float]) -> dict[str, float]:
    """{"median", "low", "high", "n"} of measured values."""
    return {
        "median": round(statistics.median(values), 5),
        "low": round(min(values), 5),
        "high": round(max(values), 5),
        "n": len(values),
    }


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def alternate(works: dict[str, Callable[[], float]], repeats: int) -> dict[str, dict[str, float]]:
    """Run every measurement once, then all again, `repeats` times: what else the machine does hits all alike.

    A first round warms up and is not counted.
    """
    values: dict[str, list[float]] = {name: [] for name in works}
    for round_index in range(repeats + 1):
        for name, work in works.items():
            value = work()
            if round_index:
                values[name].append(value)
    return {name: spread(measured) for name, measured in values.items()}
