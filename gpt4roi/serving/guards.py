"""Who may ask, and how many at once: checked before any route. Plain ASGI, so that a client's leaving reaches a streaming answer."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from gpt4roi.serving.errors import ApiError
from gpt4roi.serving.settings import ServerSettings

HEALTH = "/healthz"


class Guard:
    """Refuses requests for other hosts, of foreign web pages, and beyond the number that may be under way.

    A web page can send its visitor's browser to any address, under a name of its own that it points there (DNS rebinding): `Host` then
    holds that name. Allowed are the names of this machine and the bound address; names without a dot (containers, a local network) where
    more than loopback is bound; and the hosts of allowed origins.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self.app = app
        self._limit = settings.max_requests
        self._under_way = 0
        self._origins = {origin.rstrip("/").lower() for origin in settings.allowed_origins}
        self._names = {"localhost", settings.host.lower().strip("[]"), *(_host_of(urlsplit(origin).netloc) for origin in self._origins)}
        self._is_local = is_loopback(settings.host)
        if not self._is_local:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        error = self._refusal(Headers(scope=scope))
        if error is None and self._under_way >= self._limit and scope["path"] != HEALTH:
            error = ApiError(503, f"{self._under_way} requests are under way already; try again in a moment")
        if error is not None:
            await error.response()(scope, receive, send)
            return
        self._under_way += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._under_way -= 1

    def _refusal(self, headers: Headers) -> ApiError | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if host and not self._is_ours(_host_of(host)):
            return ApiError(403, f"this server does not answer for the host '{host[:80]}'; allow it with --allow-origin http://{host[:80]}")
        if origin is None or "*" in self._origins or origin.lower() in self._origins or urlsplit_netloc(origin) == host.lower():
            return None
        return ApiError(403, f"web pages of '{origin[:80]}' may not ask this server; allow them with --allow-origin {origin[:80]}")

    def _is_ours(self, name: str) -> bool:
        if name in self._names:
            return True
        if self._is_local:
            return is_loopback(name)
        return "." not in name or _is_address(name)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def urlsplit_netloc(origin: str) -> str:
    """Host and port of an origin; empty where it is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _host_of(netloc: str) -> str:
    """The name in `name:port` or `[address]:port`."""
    if netloc.startswith("["):
        return netloc[1:].partition("]")[0].lower()
    return netloc.partition(":")[0].lower()
