"""What keeps the user's data here: uploads that vanish, and a page that can speak to nobody but its own server."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gpt4roi.hosts import HostRule

# Gradio's front end compiles templates and styles in the browser, hence 'unsafe-inline' and 'unsafe-eval'; what matters is that every
# host but our own is refused, so that a font, a script or a beacon from elsewhere fails here and not only in our tests.
CONTENT_SECURITY_POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' data: blob:; form-action 'self'; base-uri 'self'; object-src 'none'; frame-ancestors 'self'"


class OwnOriginOnly:
    """ASGI middleware: the browser is told to refuse requests to any other origin, and what comes under another host or from another page is refused.

    Args:
      rule: whose requests are ours.
    """

    def __init__(self, app: ASGIApp, rule: HostRule) -> None:
        self.app = app
        self._rule = rule

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._rule.takes_host(host) or not self._rule.takes_origin(headers.get("origin"), host):
            await PlainTextResponse("this page answers only under the address that it was started with", 403)(scope, receive, send)
            return

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
                headers["Referrer-Policy"] = "no-referrer"
            await send(message)

        await self.app(scope, receive, send_with_policy)


def sweep_uploads(upload_dir: Path, older_than_s: float) -> None:
    """Delete uploads that no handler has read (and thereby deleted): the tab was closed in between."""
    if not upload_dir.is_dir():
        return
    for entry in upload_dir.iterdir():
        try:
            if time.time() - entry.stat().st_mtime < older_than_s:
                continue
        except FileNotFoundError:
            continue
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
