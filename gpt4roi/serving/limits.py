"""Limits that hold before a request is looked at: the key, the type, and the size and time of bodies, one by one and together."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect, Request

from gpt4roi.serving.errors import ApiError
from gpt4roi.serving.settings import ServerSettings


class Bodies:
    """Bytes of all bodies that are in memory; for the event loop's thread alone."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self.held_bytes = 0

    @contextlib.asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """The whole body, counted until the block ends.

        Raises:
          ApiError: too large, too slow, or too many bytes of others are being read.
        """
        limit = self._settings.max_body_bytes
        too_large = ApiError(413, f"the request is larger than {limit / 1e6:g} MB; send a smaller picture")
        declared = request.headers.get("content-length", "")
        if len(declared) < 20 and declared.isdecimal() and int(declared) > limit:
            await self._discard(request)
            raise too_large
        body = bytearray()
        try:
            try:
                async with asyncio.timeout(self._settings.body_timeout_s):
                    async for chunk in request.stream():
                        if len(body) + len(chunk) > limit:
                            await self._discard(request)
                            raise too_large
                        if self.held_bytes + len(chunk) > self._settings.max_bodies_bytes:
                            raise ApiError(503, "the server is busy reading other pictures; try again in a moment")
                        body += chunk
                        self.held_bytes += len(chunk)
            except TimeoutError as error:
                raise ApiError(408, f"the request's body did not arrive within {self._settings.body_timeout_s:g} s") from error
            except ClientDisconnect as error:
                raise ApiError(400, "the client went away while sending") from error
            yield bytes(body)
        finally:
            self.held_bytes -= len(body)

    async def _discard(self, request: Request) -> None:
        """Read on for a while: a connection that is closed with unread bytes is reset, and the client never sees why."""
        left = 2 * self._settings.max_body_bytes
        with contextlib.suppress(TimeoutError, ClientDisconnect):
            async with asyncio.timeout(self._settings.body_timeout_s):
                async for chunk in request.stream():
                    left -= len(chunk)
                    if left < 0:
                        return


def check_key(request: Request, settings: ServerSettings) -> None:
    """Raises ApiError 401 where a key is set and another came."""
    if settings.api_key is None:
        return
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    # Compared in constant time: how long a refusal takes must not tell how much of a guess was right.
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode("utf-8", "replace"), settings.api_key.encode("utf-8")):
        raise ApiError(401, "this server needs its API key: Authorization: Bearer …")


def check_is_json(request: Request) -> None:
    """Raises ApiError 415: any other type may come from a web page that asked nobody."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, f"send the header Content-Type: application/json; got '{kind[:60] or 'none'}'")
