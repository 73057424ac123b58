"""Images from http(s) addresses of hosts that were allowed by name. Nothing else is ever fetched."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from contextlib import suppress
from urllib.parse import urlsplit

from gpt4roi.serving.errors import ApiError
from gpt4roi.serving.settings import ServerSettings

DEFAULT_PORTS = {"http": 80, "https": 443}


def fetch(url: str, settings: ServerSettings) -> bytes:
    """An image from an allowed host, in all within `fetch_timeout_s`. Redirects are refused: they would lead past the list of hosts.

    A host that was allowed as `name` is asked on the scheme's own port alone, as `name:port` on that one.

    Raises:
      ApiError: not allowed, too slow, too large, or not answered with 200.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ApiError(400, "the picture's URL cannot be read; send a data URL", "image_url") from error
    default = DEFAULT_PORTS.get(parts.scheme)
    wanted = {host} if port in (None, default) else set()
    if default is None or not (wanted | {f"{host}:{port or default}"}) & set(settings.allowed_hosts):
        raise ApiError(400, "pictures are taken as data URLs (data:image/jpeg;base64,…); this server fetches none from there", "image_url")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(host, port, timeout=settings.fetch_timeout_s)
    begin = time.monotonic()
    # A timeout of the socket holds for one read; a host that drips would take for ever.
    opened: list[socket.socket] = []
    timer = threading.Timer(settings.fetch_timeout_s, _cut, [connection, opened])
    timer.start()
    try:
        connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        # The connection forgets its socket where the host closes after the answer; the answer goes on reading from it.
        opened.append(connection.sock)
        response = connection.getresponse()
        if response.status != 200:
            raise ApiError(400, f"'{host}' answered {response.status} for the picture; redirects are not followed", "image_url")
        data = response.read(settings.max_body_bytes + 1)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ApiError(400, f"the picture could not be fetched from '{host}'", "image_url") from error
    finally:
        timer.cancel()
        connection.close()
    if time.monotonic() - begin >= settings.fetch_timeout_s:
        raise ApiError(400, f"the picture did not arrive from '{host}' within {settings.fetch_timeout_s:g} s", "image_url")
    if len(data) > settings.max_body_bytes:
        raise ApiError(413, f"the picture is larger than {settings.max_body_bytes / 1e6:g} MB", "image_url")
    return data


def _cut(connection: http.client.HTTPConnection, opened: list[socket.socket]) -> None:
    for one in opened or [connection.sock]:
        if one is not None:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
