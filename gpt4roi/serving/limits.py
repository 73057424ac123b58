"""Limits that hold before a request is looked at: size and time of its body, and the key."""

from __future__ import annotations

import asyncio
import hmac

from starlette.requests import ClientDisconnect, Request

from gpt4roi.serving.errors import ApiError
from gpt4roi.serving.settings import ServerSettings


async def read_body(request: Request, settings: ServerSettings) -> bytes:
    """The whole body, refused as soon as it is too large or too slow."""
    too_large = ApiError(413, f"the request is larger than {settings.max_body_bytes / 1e6:g} MB; send a smaller picture")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > settings.max_body_bytes:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(settings.body_timeout_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > settings.max_body_bytes:
                    raise too_large
    except TimeoutError as error:
        raise ApiError(408, f"the request's body did not arrive within {settings.body_timeout_s:g} s") from error
    except ClientDisconnect as error:
        raise ApiError(400, "the client went away while sending") from error
    return bytes(body)


def check_key(request: Request, settings: ServerSettings) -> None:
    """Raises ApiError 401 where a key is set and another came."""
    if settings.api_key is None:
        return
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    # Compared in constant time: how long a refusal takes must not tell how much of a guess was right.
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode("utf-8", "replace"), settings.api_key.encode("utf-8")):
        raise ApiError(401, "this server needs its API key: Authorization: Bearer …")
