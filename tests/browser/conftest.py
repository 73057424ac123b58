"""A running page, a real Chromium, and what every browser test checks without asking: no request leaves the page's own server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.browser.page_driver import PageDriver

ROOT = Path(__file__).resolve().parents[2]
ARTIFACTS = Path(__file__).parent / "artifacts"
SYSTEM_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Generous, because the machine may be busy with other things; a page that is well takes a few seconds and a fraction of one.
START_S = 240
EXPECT_MS = 30_000
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]


@dataclass
class Server:
    """A demo that runs as a process of its own; `temp` is the temporary directory it was given, empty but for what it makes."""

    url: str
    process: subprocess.Popen[bytes]
    temp: Path
    log: Path

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)

    def files(self) -> list[Path]:
        return [path for path in self.temp.rglob("*") if path.is_file()]


def start_server(module: str, *arguments: str, port_option: tuple[str, ...] = ()) -> Server:
    """Start `python -m module` and wait until its page answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    temp = Path(tempfile.mkdtemp(prefix="browser-test-"))
    log = ARTIFACTS / f"server-{module.rsplit('.', 1)[-1]}-{port}.log"
    environment = {**os.environ, "TMPDIR": str(temp), "PYTHONPATH": str(ROOT)}
    with log.open("wb") as stream:
        command = [sys.executable, "-m", module, *port_option, str(port), *arguments]
        process = subprocess.Popen(command, cwd=ROOT, stdout=stream, stderr=stream, env=environment)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return Server(url, process, temp, log)
        except OSError:
            time.sleep(0.2)
    process.kill()
    raise RuntimeError(f"the demo did not open its page; its log:\n{log.read_text(errors='replace')}")


@pytest.fixture(scope="session", autouse=True)
def artifacts() -> Path:
    ARTIFACTS.mkdir(exist_ok=True)
    return ARTIFACTS


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium of the system, or Playwright's own; without either the tests fail, because a skipped page is an untested page."""
    path = next((found for name in SYSTEM_BROWSERS if (found := shutil.which(name))), None)
    expect.set_options(timeout=EXPECT_MS)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def servers(artifacts: Path) -> Iterator[Callable[..., Server]]:
    """Start servers that end with the session at the latest."""
    started: list[Server] = []

    def start(module: str, *arguments: str, port_option: tuple[str, ...] = ()) -> Server:
        server = start_server(module, *arguments, port_option=port_option)
        started.append(server)
        return server

    yield start
    for server in started:
        if server.process.poll() is None:
            server.stop()
        shutil.rmtree(server.temp, ignore_errors=True)


@pytest.fixture(scope="session")
def real_server(servers: Callable[..., Server]) -> Server:
    """The demo as a user starts it, with the embedded model."""
    return servers("web_demo.app", port_option=("--port",))


@pytest.fixture
def open_tab(browser: Browser) -> Iterator[Callable[..., PageDriver]]:
    """Open the page of a server in a browser context of its own. At the end: no request to elsewhere, no error on the console."""
    contexts: list[BrowserContext] = []
    outside: list[str] = []
    errors: list[str] = []

    def watch(page: Page) -> None:
        def on_request(url: str) -> None:
            if urlsplit(url).scheme not in ("data", "blob") and urlsplit(url).hostname != "127.0.0.1":
                outside.append(url)

        page.on("request", lambda request: on_request(request.url))
        page.on("websocket", lambda socket: on_request(socket.url))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))

    def open_page(server: Server, **options: object) -> PageDriver:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 860}, **options})  # type: ignore[arg-type]
        contexts.append(context)
        context.set_default_timeout(2 * EXPECT_MS)
        page = context.new_page()
        watch(page)
        page.goto(server.url)
        page.locator("#canvas .stage").wait_for()
        return PageDriver(page)

    yield open_page
    for context in contexts:
        context.close()
    assert outside == []
    assert errors == []
