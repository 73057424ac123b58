"""Several data sets as one map-style data set whose every item is a function of (seed, epoch, index).

Nothing is drawn while training runs, so all ranks, all workers and a resumed run see the same samples in the same words.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from gpt4roi.conversation import mentioned_numbers
from gpt4roi.data.errors import DataError
from gpt4roi.data.sample import Sample
from gpt4roi.data.seeding import generator
from gpt4roi.data.templates import worded

# English text has about four characters a token; grouping by length needs only the order to be about right.
CHARACTERS_PER_TOKEN = 4


class Mixture(Sequence[Sample]):
    """Data sets one after the other, or in given proportions.

    Without weights every sample appears once an epoch. With weights, part p gets its share of `length` places and walks through its
    samples in a new random order each time round; the walk goes on from epoch to epoch, so a part with a small share is seen whole
    over several epochs and none of its samples is preferred. Places of one part lie together: let the sampler shuffle.

    Args:
      parts: the data sets; none may be empty.
      weights: one positive number a part, of any sum; None = one after the other.
      seed: of order and of question templates.
      length: samples an epoch; the sum of the parts' lengths if not given. Only with weights.
    Raises:
      DataError: no data, weights that do not fit the parts, or a length without weights.
    """

    def __init__(
        self, parts: Sequence[Sequence[Sample]], weights: Sequence[float] | None = None, *, seed: int = 0, length: int | None = None
    ) -> None:
        self.parts = list(parts)
        self.seed = seed
        self.epoch = 0
        empty = [position for position, part in enumerate(self.parts) if len(part) == 0]
        if not self.parts or empty:
            raise DataError(f"data set {empty[0] + 1} of the mixture has no samples" if empty else "the mixture has no data sets")
        sizes = [len(part) for part in self.parts]
        self.is_weighted = weights is not None
        if weights is None:
            if length is not None:
                raise DataError("a mixture's length can be chosen only together with weights")
            self.counts = sizes
        else:
            if len(weights) != len(sizes) or not all(math.isfinite(w) and w > 0 for w in weights):
                raise DataError(f"a mixture of {len(sizes)} data sets needs {len(sizes)} positive weights; got {list(weights)}")
            self.counts = _shares(weights, sum(sizes) if length is None else length)
        self._starts = np.concatenate([[0], np.cumsum(self.counts)]).astype(int).tolist()
        # One order a part is in use at a time, two while a walk goes round; orders are recomputed after pickling to a worker.
        self._order = _OrderCache(seed, tuple(sizes))

    def __len__(self) -> int:
        return self._starts[-1]

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch; decides which words and which share of the samples come next."""
        self.epoch = epoch

    def position(self, index: int, epoch: int) -> tuple[int, int]:
        """(part, sample within the part) at this place of this epoch."""
        if not 0 <= index < len(self):
            raise IndexError(f"the mixture has {len(self)} samples; got index {index}")
        part = bisect_right(self._starts, index) - 1
        slot = index - self._starts[part]
        if not self.is_weighted:
            return part, slot
        size = len(self.parts[part])
        cycle, step = divmod(epoch * self.counts[part] + slot, size)
        return part, int(self._order(part, cycle)[step])

    def sample(self, index: int, epoch: int) -> Sample:
        part, position = self.position(index, epoch)
        return worded(self.parts[part][position], self.seed, epoch)

    def __getitem__(self, index):  # type: ignore[no-untyped-def, override]
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self.sample(index + len(self) if index < 0 else index, self.epoch)

    @property
    def lengths(self) -> list[int]:
        """Estimated tokens of text of every item of this epoch, for grouping batches by length."""
        estimates = [[estimated_length(sample) for sample in part] for part in self.parts]
        places = (self.position(index, self.epoch) for index in range(len(self)))
        return [estimates[part][position] for part, position in places]


class _OrderCache:
    """Permutations by (part, cycle), the latest few kept. A class of its own so that the mixture can be pickled."""

    def __init__(self, seed: int, sizes: tuple[int, ...]) -> None:
        self.seed, self.sizes = seed, sizes
        self._build()

    def _build(self) -> None:
        @lru_cache(maxsize=2 * len(self.sizes))
        def order(part: int, cycle: int) -> np.ndarray:
            return generator("mixture", self.seed, part, cycle).permutation(self.sizes[part])

        self._cached = order

    def __call__(self, part: int, cycle: int) -> np.ndarray:
        return self._cached(part, cycle)

    def __getstate__(self) -> tuple[int, tuple[int, ...]]:
        return self.seed, self.sizes

    def __setstate__(self, state: tuple[int, tuple[int, ...]]) -> None:
        self.seed, self.sizes = state
        self._build()


def _shares(weights: Sequence[float], length: int) -> list[int]:
    """Whole numbers in proportion to the weights that sum to `length` (largest remainder), at least one each."""
    if length < len(weights):
        raise DataError(f"a mixture of {len(weights)} data sets cannot have length {length}")
    exact = np.asarray(weights, dtype=np.float64) / sum(weights) * length
    counts = np.maximum(np.floor(exact).astype(int), 1)
    while counts.sum() != length:
        step = 1 if counts.sum() < length else -1
        behind = (exact - counts) * step
        behind[(counts <= 1) & (step < 0)] = -np.inf
        counts[int(np.argmax(behind))] += step
    return counts.tolist()


def estimated_length(sample: Sample) -> int:
    """Tokens of text by a rule of thumb; the image's own are the same for every sample and left out."""
    characters = sum(len(turn.content) for turn in sample.conversation)
    mentions = sum(len(mentioned_numbers(turn.content)) for turn in sample.conversation)
    return characters // CHARACTERS_PER_TOKEN + mentions
