"""Least-recently-used values under a budget of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

Value = TypeVar("Value")


class ByteCache(Generic[Value]):
    """A dict that forgets what was used longest ago as soon as its values take more than `budget_bytes` together.

    A value that is larger than the whole budget is not kept. A budget of 0 keeps nothing.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.used_bytes = 0
        self.hits = 0
        self.misses = 0
        self._entries: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def peek(self) -> Iterator[tuple[Hashable, Value]]:
        """Keys and values, longest unused first; looking does not count as using."""
        return iter([(key, value) for key, (value, _) in self._entries.items()])

    def get(self, key: Hashable) -> Value | None:
        """The value, which counts as used now; None where it is not kept."""
        entry = self._entries.get(key)
        if entry is None:
            self.misses += 1
            return None
        self.hits += 1
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: Hashable, value: Value, size_bytes: int) -> None:
        self.discard(key)
        if size_bytes > self.budget_bytes:
            return
        self._entries[key] = (value, size_bytes)
        self.used_bytes += size_bytes
        while self.used_bytes > self.budget_bytes:
            _, (_, freed) = self._entries.popitem(last=False)
            self.used_bytes -= freed

    def discard(self, key: Hashable) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.used_bytes -= entry[1]

    def clear(self) -> None:
        self._entries.clear()
        self.used_bytes = 0
