"""One job through the engine to text, for asyncio: tokens come from the engine's thread, nobody's thread waits for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from gpt4roi.engine import Engine, TextStream
from gpt4roi.engine.events import Answer
from gpt4roi.serving.errors import ApiError
from gpt4roi.serving.parse import Job

POLL_S = 0.5


class Answering:
    """An answer under way: `pieces` gives its text; afterwards `finish_reason`, `timings` and `text` are complete.

    Raises:
      EngineBusyError: from the constructor, when the queue is full.
    """

    def __init__(self, engine: Engine, job: Job, timeout_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[int | Exception | None] = asyncio.Queue()
        self._deadline = time.monotonic() + timeout_s
        self._timeout_s = timeout_s
        self._stream = TextStream(engine.processor, job.known_numbers, job.stop_strings)

        def sink(item: int | Exception | None) -> None:
            # The loop may be gone when a server is torn down in the middle of an answer; then nobody waits for the token.
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._queue.put_nowait, item)

        self._generation = engine.submit(job.prompt, job.sampling, sink)

    async def pieces(self, is_disconnected: Callable[[], Awaitable[bool]] | None = None) -> AsyncIterator[str]:
        """Pieces of text; leaving the loop early cancels the answer.

        Raises:
          ApiError: 504 when the time is over.
        """
        try:
            while True:
                try:
                    item = await asyncio.wait_for(self._queue.get(), POLL_S)
                except TimeoutError:
                    item = -1
                if time.monotonic() > self._deadline:
                    raise ApiError(504, f"the answer took longer than {self._timeout_s:g} s; ask for fewer tokens or try again later")
                if item == -1:
                    if is_disconnected is not None and await is_disconnected():
                        return
                    continue
                if isinstance(item, Exception):
                    raise item
                if item is None:
                    break
                piece = self._stream.feed(item)
                if piece:
                    yield piece
                if self._stream.stopped:
                    break
            rest = self._stream.finish()
            if rest:
                yield rest
        finally:
            self._generation.cancel()

    def cancel(self) -> None:
        """End it and free its place; without effect on one that has ended."""
        self._generation.cancel()

    @property
    def text(self) -> str:
        return self._stream.text

    @property
    def finish_reason(self) -> str:
        return "length" if self._generation.finish_reason == "length" and not self._stream.stopped else "stop"

    @property
    def timings(self) -> dict[str, float]:
        return self._generation.timings

    def usage(self) -> dict[str, object]:
        """Token counts as OpenAI names them, and what the caches spared under `gpt4roi`."""
        timings = self.timings
        prompt, new = int(timings.get("prompt_tokens", 0)), int(timings.get("new_tokens", 0))
        return {
            "prompt_tokens": prompt,
            "completion_tokens": new,
            "total_tokens": prompt + new,
            "prompt_tokens_details": {"cached_tokens": int(timings.get("reused_tokens", 0))},
            "gpt4roi": {name: round(value, 5) for name, value in timings.items()},
        }


class Known:
    """An answer that is there already, in the form of `Answering`."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.text = answer.text
        self.finish_reason = "stop"
        self.timings: dict[str, float] = {"total_s": answer.timings.total_s, "first_token_s": answer.timings.first_token_s}

    async def pieces(self, is_disconnected: Callable[[], Awaitable[bool]] | None = None) -> AsyncIterator[str]:
        """The whole as one piece."""
        yield self.text

    def cancel(self) -> None:
        """Nothing is under way."""

    def usage(self) -> dict[str, object]:
        """No tokens were used."""
        return {
            "prompt_tokens": 0,
            "completion_tokens": 0,
            "total_tokens": 0,
            "prompt_tokens_details": {"cached_tokens": 0},
            "gpt4roi": {name: round(value, 5) for name, value in self.timings.items()},
        }
