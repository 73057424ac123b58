"""Who may ask, and how many at once: checked before any route. Plain ASGI, so that a client's leaving reaches a streaming answer."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from gpt4roi.hosts import HostRule
from gpt4roi.serving.errors import ApiError
from gpt4roi.serving.settings import ServerSettings

HEALTH = "/healthz"


class Guard:
    """Refuses requests for other hosts, of foreign web pages (`gpt4roi.hosts`), and beyond the number that may be under way."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self.app = app
        self._limit = settings.max_requests
        self._under_way = 0
        self._rule = HostRule(settings.host, settings.allowed_origins)

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
        if not self._rule.takes_host(host):
            return ApiError(403, f"this server does not answer for the host '{host[:80]}'; allow it with --allow-origin http://{host[:80]}")
        if not self._rule.takes_origin(origin, host):
            shown = str(origin)[:80]
            return ApiError(403, f"web pages of '{shown}' may not ask this server; allow them with --allow-origin {shown}")
        return None
