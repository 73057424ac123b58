"""Threads for requests with images: few, and apart from those that plain text needs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from starlette.requests import Request

from gpt4roi.serving.errors import ApiError

T = TypeVar("T")
# Two decode (`gpt4roi.images`), two fetch or render meanwhile.
NUM_THREADS = 4
POLL_S = 0.5


class ImageWorkers:
    """A pool whose queue forgets the requests of clients that left."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(NUM_THREADS, "gpt4roi-image")

    def run(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Cancelling what is returned takes it out of the queue; what has begun goes on."""
        return asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


async def while_connected(request: Request, work: asyncio.Future[T], timeout_s: float) -> T:
    """The work's result, as long as somebody waits for it.

    Raises:
      ApiError: 504 when the time is over, 400 when the client left.
    """
    deadline = time.monotonic() + timeout_s
    try:
        while not (await asyncio.wait({work}, timeout=POLL_S))[0]:
            if await request.is_disconnected():
                raise ApiError(400, "the client went away")
            if time.monotonic() > deadline:
                raise ApiError(504, f"the picture was not ready within {timeout_s:g} s; send a smaller one or try again later")
        return work.result()
    finally:
        work.cancel()
