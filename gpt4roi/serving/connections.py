"""Connections that send nothing, or half a head: closed in time, so that they keep nobody out."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from gpt4roi.errors import UserError
from gpt4roi.serving.settings import ServerSettings

# Idle connections beyond the requests under way; the one that has waited longest makes room for the next.
SPARE_CONNECTIONS = 128


def server_config(app: Any, settings: ServerSettings, drain_s: int | None = None, **options: Any) -> uvicorn.Config:
    """uvicorn's configuration with a deadline for the head of every request."""

    class Protocol(TimedProtocol):
        header_timeout_s = settings.header_timeout_s
        max_connections = settings.max_requests + SPARE_CONNECTIONS

    # Access lines are written by the application, without query strings and without texts.
    return uvicorn.Config(app, http=Protocol, ws="none", access_log=False, timeout_graceful_shutdown=drain_s, **options)


class TimedProtocol(H11Protocol):
    """HTTP/1.1 that closes a connection whose next request's head is not there in time."""

    header_timeout_s: float
    max_connections: int
    _timer: asyncio.TimerHandle | None = None
    _waiting_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_head()
        if len(self.connections) > self.max_connections:
            waiting = [one for one in self.connections if isinstance(one, TimedProtocol) and one._waiting_since is not None]
            min(waiting, key=lambda one: one._waiting_since or 0.0).transport.abort()

    def handle_events(self) -> None:
        super().handle_events()
        if self._is_answering():
            self._head_is_there()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing() and not self._is_answering():
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_there()
        super().connection_lost(exc)

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait_for_head(self) -> None:
        self._head_is_there()
        self._waiting_since = time.monotonic()
        self._timer = self.loop.call_later(self.header_timeout_s, self.transport.close)

    def _head_is_there(self) -> None:
        self._waiting_since = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def bind(host: str, port: int) -> socket.socket:
    """A bound socket, before the model is loaded; it refuses clients until the server listens.

    Raises:
      UserError: the port is taken or none, or the host is no address of this machine.
    """
    if not 0 <= port <= 65535:
        raise UserError(f"--port is 0 to 65535 (0 takes a free one); got {port}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise UserError(f"--host '{host}' is no address of this machine; use 127.0.0.1, or 0.0.0.0 for all") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"port {port} of {host} is taken; choose another with --port, or 0 for a free one") from error
        if error.errno == errno.EACCES:
            raise UserError(f"port {port} is reserved for the administrator; choose one from 1024 on with --port") from error
        raise UserError(f"--host '{host}' is no address of this machine ({error.strerror}); use 127.0.0.1, or 0.0.0.0 for all") from error
    return bound
