"""Samples that are too long: whole turns go from the end, and what went is counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch.utils.data import get_worker_info

from gpt4roi.data.sample import Sample

# Rows of the shared table: the main process and as many workers as anyone starts (row = worker modulo rows).
MAX_WORKERS = 128
COUNTS = ("samples", "shortened", "dropped_turns", "dropped_samples")


def fit_to_length(sample: Sample, count_tokens: Callable[[Sample], int], max_length: int) -> tuple[Sample | None, int]:
    """The longest beginning of the conversation that fits and ends with an answer.

    Turns go whole, from the end, so a placeholder is never separated from its features and no answer is cut mid-sentence. Region
    numbers keep their boxes: regions that are no longer mentioned stay in the sample.

    Args:
      count_tokens: tokens of a sample, image included; longer conversations have more.
    Returns:
      (sample, number of turns dropped); (None, all turns) if not even the first answer fits.
    """
    if count_tokens(sample) <= max_length:
        return sample, 0
    turns = sample.conversation
    has_asked = False
    ends: list[int] = []
    for position, turn in enumerate(turns, start=1):
        has_asked = has_asked or turn.role == "user"
        if turn.role == "assistant" and has_asked:
            ends.append(position)
    fitting, too_long = 0, len(ends)
    while fitting < too_long:
        middle = (fitting + too_long + 1) // 2
        if count_tokens(replace(sample, conversation=turns[: ends[middle - 1]])) <= max_length:
            fitting = middle
        else:
            too_long = middle - 1
    if fitting == 0:
        return None, len(turns)
    return replace(sample, conversation=turns[: ends[fitting - 1]]), len(turns) - ends[fitting - 1]


class TruncationReport:
    """Counts of visited, shortened and dropped samples, added up over all data-loading workers of this process.

    A sample that is visited in three epochs counts three times. Every worker has a row of its own in shared memory, so that no count
    is lost and no lock is needed.
    """

    def __init__(self, max_length: int | None) -> None:
        self.max_length = max_length
        self._table = torch.zeros((MAX_WORKERS + 1, len(COUNTS)), dtype=torch.int64).share_memory_()

    def add(self, dropped_turns: int, is_dropped: bool) -> None:
        worker = get_worker_info()
        row = 0 if worker is None else 1 + worker.id % MAX_WORKERS
        shortened = int(dropped_turns > 0 and not is_dropped)
        self._table[row] += torch.tensor([1, shortened, 0 if is_dropped else dropped_turns, int(is_dropped)])

    def counts(self) -> dict[str, int]:
        """`samples` visited, `shortened` among them, `dropped_turns` in those, `dropped_samples` that did not fit at all."""
        return dict(zip(COUNTS, self._table.sum(dim=0).tolist(), strict=True))

    def __bool__(self) -> bool:
        """Whether anything was lost."""
        counts = self.counts()
        return bool(counts["shortened"] or counts["dropped_samples"])

    def __str__(self) -> str:
        counts = self.counts()
        if not self:
            return f"{counts['samples']} samples, none shortened"
        return (
            f"{counts['samples']} samples: {counts['shortened']} shortened by {counts['dropped_turns']} turns, "
            f"{counts['dropped_samples']} left out because not even their first answer fits into {self.max_length} tokens"
        )
