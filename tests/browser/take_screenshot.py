"""Take the README's screenshot of the page with the embedded model: three questions about an example picture.

python -m tests.browser.take_screenshot [--output web_demo/screenshot.png]
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import expect, sync_playwright

from tests.browser.conftest import ARGUMENTS, ARTIFACTS, SYSTEM_BROWSERS, start_server
from tests.browser.page_driver import PageDriver

QUESTIONS = ("What animal is <region1>?", "Is <region1> a dog?", "Is <region2> larger than <region1>?")
MAX_BYTES = 400_000


def main() -> None:
    parser = argparse.ArgumentParser(description="Take the README's screenshot of the page.")
    parser.add_argument("--output", type=Path, default=Path("web_demo/screenshot.png"))
    parser.add_argument("--example", default="cat")
    args = parser.parse_args()
    ARTIFACTS.mkdir(exist_ok=True)
    server = start_server("web_demo.app", port_option=("--port",))
    try:
        with sync_playwright() as playwright:
            path = next((found for name in SYSTEM_BROWSERS if (found := shutil.which(name))), None)
            browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
            page = browser.new_page(viewport={"width": 1280, "height": 790})
            page.goto(server.url)
            tab = PageDriver(page)
            expect(page.locator("#status")).to_have_text("Ready", timeout=600_000)
            tab.open_example(args.example)
            for count, question in enumerate(QUESTIONS, 1):
                tab.ask(question)
                expect(page.locator("#chat [data-act=copy]")).to_have_count(count, timeout=300_000)
            page.mouse.move(5, 5)
            tab.shot(args.output)
            browser.close()
    finally:
        server.stop()
        shutil.rmtree(server.temp, ignore_errors=True)
    compress(args.output)


def compress(path: Path) -> None:
    """Photos in a PNG are large: ever fewer colours, until the file fits the README."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    for colours in (256, 128, 64):
        if path.stat().st_size > MAX_BYTES:
            picture.quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
