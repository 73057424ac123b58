"""Which samples go together: one endless, seeded stream of micro-batches, dealt out to the ranks.

The order of optimiser steps depends on the seed and the global batch alone. With a fixed `batch_size`, 2 ranks x 4 accumulation steps
x 1 sample train on exactly the samples of 1 x 1 x 8 in every step, and a resumed run goes on where it stopped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

from gpt4roi.data.mixture import Mixture
from gpt4roi.data.sample import Sample
from gpt4roi.data.seeding import generator

# Global batches that are sorted by length together: enough that little is padding, few enough that the order stays random.
SORTED_TOGETHER = 50
# Turn markers and role names of a chat template, beside the words: only the order of lengths has to be about right.
TEMPLATE_TOKENS = 16


class EpochStream(Sequence[Sample]):
    """All epochs of a mixture one after the other: place i is place i % n of epoch i // n.

    A mixture's wording depends on its epoch; as one sequence, workers that prefetch across an epoch's end need no telling.
    """

    def __init__(self, mixture: Mixture) -> None:
        self.mixture = mixture

    def __len__(self) -> int:
        return len(self.mixture) * 1_000_000

    def __getitem__(self, index):  # type: ignore[no-untyped-def, override]
        epoch, place = divmod(index, len(self.mixture))
        return self.mixture.sample(place, epoch)


@dataclass(frozen=True)
class BatchPlan:
    """How batches are cut.

    batch_size: samples a micro-batch, or tokens: padded tokens a micro-batch (one of the two).
    micro_batches: of one optimiser step over all ranks = accumulation steps x ranks.
    """

    batch_size: int | None
    tokens: int | None
    micro_batches: int
    group_by_length: bool
    seed: int


def epoch_batches(lengths: Sequence[int], plan: BatchPlan, epoch: int) -> list[list[int]]:
    """Micro-batches of one epoch in order; a multiple of `micro_batches`, filled up with samples of the epoch's beginning.

    Args:
      lengths: tokens of every place of the epoch, image included.
    """
    order = generator("batches", plan.seed, epoch).permutation(len(lengths))
    if plan.batch_size is not None:
        batches = _by_samples(order, np.asarray(lengths), plan, epoch)
    else:
        batches = _by_tokens(order, np.asarray(lengths), plan, epoch)
    lacking = -len(batches) % plan.micro_batches
    return batches + [batches[index % len(batches)] for index in range(lacking)]


def _by_samples(order: np.ndarray, lengths: np.ndarray, plan: BatchPlan, epoch: int) -> list[list[int]]:
    # Whole optimiser steps are formed first and split afterwards, so the split does not change what a step sees.
    size = plan.batch_size or 1
    step_size = size * plan.micro_batches
    order = np.concatenate([order, np.resize(order, -len(order) % step_size)])
    if plan.group_by_length:
        order = _sorted_in_chunks(order, lengths, step_size * SORTED_TOGETHER)
    steps = order.reshape(-1, step_size)
    if plan.group_by_length:
        steps = steps[generator("steps", plan.seed, epoch).permutation(len(steps))]
    return [batch.tolist() for step in steps for batch in step.reshape(-1, size)]


def _by_tokens(order: np.ndarray, lengths: np.ndarray, plan: BatchPlan, epoch: int) -> list[list[int]]:
    budget = plan.tokens or 1
    if plan.group_by_length:
        per_step = max(1, int(budget / max(1.0, float(lengths.mean()))) * plan.micro_batches)
        order = _sorted_in_chunks(order, lengths, per_step * SORTED_TOGETHER)
    batches: list[list[int]] = []
    batch: list[int] = []
    longest = 0
    for index in order.tolist():
        longest_with = max(longest, int(lengths[index]))
        if batch and longest_with * (len(batch) + 1) > budget:
            batches.append(batch)
            batch, longest_with = [], int(lengths[index])
        batch.append(index)
        longest = longest_with
    batches.append(batch)
    if plan.group_by_length:
        batches = [batches[i] for i in generator("steps", plan.seed, epoch).permutation(len(batches))]
    return batches


def _sorted_in_chunks(order: np.ndarray, lengths: np.ndarray, chunk: int) -> np.ndarray:
    pieces = [order[start : start + chunk] for start in range(0, len(order), chunk)]
    return np.concatenate([piece[np.argsort(-lengths[piece], kind="stable")] for piece in pieces])


class RankBatches(Sampler[list[int]]):
    """The micro-batches of one rank, without end: indices into an `EpochStream`.

    It has no length on purpose: the trainer stops at a number of steps or at a time, and epochs need not have the same number of batches.
    """

    def __init__(self, mixture: Mixture, plan: BatchPlan, image_tokens: int, max_length: int, rank: int = 0, world_size: int = 1) -> None:
        self.mixture = mixture
        self.plan = plan
        self.rank, self.world_size = rank, world_size
        self._text_lengths = LengthTable(mixture, image_tokens, max_length)

    def __iter__(self) -> Iterator[list[int]]:
        epoch = 0
        while True:
            offset = epoch * len(self.mixture)
            for batch in self.batches(epoch)[self.rank :: self.world_size]:
                yield [offset + place for place in batch]
            epoch += 1

    def batches(self, epoch: int) -> list[list[int]]:
        """Of all ranks."""
        return epoch_batches(self._text_lengths.of_epoch(epoch), self.plan, epoch)

    def steps(self, epochs: float) -> int:
        """Optimiser steps of so many epochs, at least one."""
        whole, part = divmod(epochs, 1.0)
        count = sum(len(self.batches(epoch)) // self.plan.micro_batches for epoch in range(int(whole)))
        if part > 0:
            count += math.ceil(part * (len(self.batches(int(whole))) // self.plan.micro_batches))
        return max(1, count)


class LengthTable:
    """Estimated tokens of every place of an epoch, image and template included; the samples' texts are measured once."""

    def __init__(self, mixture: Mixture, image_tokens: int, max_length: int) -> None:
        from gpt4roi.data.mixture import estimated_length

        self.mixture = mixture
        self._parts = [
            np.array(
                [min(max_length, estimated_length(s) + TEMPLATE_TOKENS + (image_tokens if s.image is not None else 0)) for s in part],
                dtype=np.int64,
            )
            for part in mixture.parts
        ]

    def of_epoch(self, epoch: int) -> list[int]:
        places = (self.mixture.position(index, epoch) for index in range(len(self.mixture)))
        return [int(self._parts[part][position]) for part, position in places]
