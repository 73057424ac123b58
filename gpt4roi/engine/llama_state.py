"""Keys and values of sequences of a LLaMA-shaped language model: each on its own, and several side by side for one step."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import torch
from torch import Tensor

# A batch's room grows by so many positions at a time: who joins rarely needs a larger one.
POSITIONS = 256


class LlamaState:
    """Keys and values of one sequence: one block float[layers, 2, kv_heads, capacity, head_size], of which `length` positions are filled."""

    def __init__(self, block: Tensor, length: int = 0) -> None:
        self.block = block
        self.length = length

    @property
    def size_bytes(self) -> int:
        return self.block.nbytes

    def fork(self, length: int, capacity: int) -> LlamaState:
        layers, two, heads, _, size = self.block.shape
        block = self.block.new_empty(layers, two, heads, max(capacity, length), size)
        block[:, :, :, :length] = self.block[:, :, :, :length]
        return LlamaState(block, length)

    def reserve(self, length: int) -> None:
        """Make room for `length` positions, and for as many again when it grows."""
        if length > self.block.shape[3]:
            self.block = self.fork(self.length, 2 * length).block

    def trim(self) -> None:
        """Give back the room that was not needed."""
        if self.block.shape[3] > self.length:
            self.block = self.block[:, :, :, : self.length].clone()


class StateBatch:
    """Keys and values of several sequences side by side, as one step of all of them needs them.

    The states keep their own, which stay complete; a state that steps with the batch again only brings what is new since.
    """

    def __init__(self) -> None:
        self.block = torch.empty(0)
        # Whose keys and values lie in each row, and how many positions of them.
        self._owners: list[weakref.ref[LlamaState] | None] = []
        self._filled: list[int] = []

    def place(self, states: Sequence[LlamaState]) -> list[int]:
        """The row of each state, all of the first `len(states)`; its keys and values are copied there as far as they are not there yet."""
        count = len(states)
        capacity = -(-max(state.block.shape[3] for state in states) // POSITIONS) * POSITIONS
        if len(self._owners) < count or self.block.shape[4] < capacity:
            layers, two, heads, _, size = states[0].block.shape
            self._owners = [None] * max(count, len(self._owners))
            self._filled = [0] * len(self._owners)
            # Zeros, because attention that masks what is not filled still multiplies it by nothing.
            self.block = states[0].block.new_zeros(layers, two, len(self._owners), heads, capacity, size)
        lying = {id(owner()): row for row, owner in enumerate(self._owners[:count]) if owner is not None}
        rows = [lying.get(id(state)) for state in states]
        free = iter(sorted(set(range(count)) - set(rows)))
        placed = [next(free) if row is None else row for row in rows]
        for state, row, known in zip(states, placed, rows, strict=True):
            if known is None:
                self._owners[row], self._filled[row] = weakref.ref(state), 0
            start, end = self._filled[row], state.length
            self.block[:, :, row, :, start:end] = state.block[:, :, :, start:end]
            self._filled[row] = end
        return placed

    def give_back(self, states: Sequence[LlamaState]) -> None:
        """What the step added, to the states; their `length` is still that before it."""
        own = {id(state): state for state in states}
        for row, owner in enumerate(self._owners[: len(states)]):
            state = own[id(owner())]  # type: ignore[misc]
            state.block[:, :, :, state.length] = self.block[:, :, row, :, state.length]
            self._filled[row] = state.length + 1
