"""Key-value states of conversations, found again by their longest common beginning."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence

from gpt4roi.engine.byte_cache import ByteCache
from gpt4roi.engine.decoder import State


def common_length(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """How many positions two sequences share from their beginning."""
    count = min(len(first), len(second))
    for index in range(count):
        if first[index] != second[index]:
            return index
    return count


class PrefixCache:
    """States by what they were computed from.

    A position's key is its token, or the image or (image, box) whose feature stands there: a moved region changes the key at its
    first mention, so everything before stays usable and nothing after is.
    """

    def __init__(self, budget_bytes: int) -> None:
        self._states: ByteCache[tuple[tuple[Hashable, ...], State]] = ByteCache(budget_bytes)
        self._serial = itertools.count()

    @property
    def used_bytes(self) -> int:
        return self._states.used_bytes

    @property
    def budget_bytes(self) -> int:
        return self._states.budget_bytes

    def __len__(self) -> int:
        return len(self._states)

    def longest(self, keys: Sequence[Hashable]) -> tuple[int, State | None]:
        """The state that shares the longest beginning with `keys`, and how long that is."""
        best_length, best_serial = 0, None
        for serial, kept in self._peek():
            length = common_length(kept, keys)
            if length > best_length:
                best_length, best_serial = length, serial
        if best_serial is None:
            return 0, None
        entry = self._states.get(best_serial)
        return (best_length, entry[1]) if entry is not None else (0, None)

    def keep(self, keys: Sequence[Hashable], state: State) -> None:
        """Keep a state; those it extends are dropped, they hold nothing that it does not."""
        kept_keys = tuple(keys)
        for serial, other in self._peek():
            if common_length(other, kept_keys) == len(other):
                self._states.discard(serial)
        self._states.put(next(self._serial), (kept_keys, state), state.size_bytes)

    def clear(self) -> None:
        self._states.clear()

    def _peek(self) -> list[tuple[Hashable, tuple[Hashable, ...]]]:
        return [(serial, entry[0]) for serial, entry in self._states.peek()]
