"""Several continuations of one state in one forward: packed one behind the other, each sees the state and itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


def pack(lengths: Sequence[int], past: int) -> tuple[Tensor, Tensor]:
    """Where the tokens of continuations of `lengths` tokens stand after a state of `past` positions, N tokens together.

    Returns:
      positions int64[N], as if each continuation stood alone, and sees bool[N, past + N], what each token may attend to.
    """
    counts = torch.tensor(lengths)
    owner = torch.repeat_interleave(torch.arange(len(lengths)), counts)
    starts = torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    own = (owner[:, None] == owner).tril()
    return past + torch.arange(len(owner)) - starts, torch.cat([own.new_ones(len(owner), past), own], dim=1)


def chunks(branches: Sequence[list[int]], tokens_per_chunk: int) -> Iterator[list[list[int]]]:
    """Consecutive branches of at most so many tokens together; at least one branch each."""
    chunk: list[list[int]] = []
    for branch in branches:
        if chunk and sum(map(len, chunk)) + len(branch) > tokens_per_chunk:
            yield chunk
            chunk = []
        chunk.append(branch)
    if chunk:
        yield chunk
