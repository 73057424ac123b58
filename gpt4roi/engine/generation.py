"""An answer being written, as the one who asked sees it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gpt4roi.engine.constraint import Constraint
from gpt4roi.engine.prompt import Prompt
from gpt4roi.errors import UserError

# Takes each token, then None or an error.
Sink = Callable[[int | Exception | None], None]


# Below this nothing but the likeliest token has any probability.
MIN_TEMPERATURE = 1e-4


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen: the likeliest (temperature 0), or drawn.

    temperature: divides the logits. top_p: draw from the likeliest tokens that hold this much probability. seed: of this answer's own
    generator; None draws one. constraint: the form that this answer must have.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    constraint: Constraint | None = None

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise UserError(f"an answer needs room for at least one token; got max_new_tokens={self.max_new_tokens}")
        if self.temperature < 0:
            raise UserError(f"temperature is 0 (the likeliest token) or more; got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p is more than 0 and at most 1; got {self.top_p}")


def choose(logits: Tensor, sampling: Sampling, generator: torch.Generator | None) -> int:
    """The next token from float32[V]."""
    if sampling.temperature < MIN_TEMPERATURE:
        return int(logits.argmax())
    # The maximum goes first: divided by a small temperature, large logits would overflow.
    probabilities = torch.softmax((logits.float() - logits.max()) / sampling.temperature, dim=-1)
    if sampling.top_p < 1:
        ordered, order = probabilities.sort(descending=True)
        # The token that crosses top_p still belongs to the nucleus.
        ordered[ordered.cumsum(0) - ordered >= sampling.top_p] = 0
        probabilities = torch.zeros_like(probabilities).scatter(0, order, ordered)
    return int(torch.multinomial(probabilities, 1, generator=generator))


class Generation:
    """Iterate for the token ids of the answer; `cancel` ends it and gives its place to the next at once.

    finish_reason: `stop` (the model ended), `length` (`max_new_tokens`) or `cancelled`; None while it is being written.
    timings: seconds and counts, complete when the iteration ends.
    """

    def __init__(self, prompt: Prompt, sampling: Sampling, on_cancel: Callable[[Generation], None], sink: Sink | None = None) -> None:
        self.prompt = prompt
        self.sampling = sampling
        self.timings: dict[str, float] = {}
        self.finish_reason: str | None = None
        self.submitted_at = time.perf_counter()
        self._on_cancel = on_cancel
        self._tokens: queue.SimpleQueue[int | Exception | None] = queue.SimpleQueue()
        self._put: Sink = sink if sink is not None else self._tokens.put
        self._cancelled = threading.Event()

    @property
    def is_cancelled(self) -> bool:
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """End it; without effect on one that has ended."""
        if not self._cancelled.is_set():
            self._cancelled.set()
            self._on_cancel(self)

    def __iter__(self) -> Iterator[int]:
        while True:
            item = self._tokens.get()
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            yield item

    # The engine's side

    def push(self, token: int) -> None:
        self._put(token)

    def end(self, reason: str, error: Exception | None = None) -> None:
        if self.finish_reason is None:
            self.finish_reason = reason
            self.timings["total_s"] = time.perf_counter() - self.submitted_at
            self._put(error)
