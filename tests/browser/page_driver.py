"""The page as a user handles it: mouse, keyboard, files. Only the downloaded conversation tells which boxes Python received."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect

Point = tuple[float, float]
ANSWER_MS = 60_000


class PageDriver:
    """One open tab."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.question: Locator = page.locator("#question textarea")
        self.frame: Locator = page.locator("#canvas .frame")
        self.regions: Locator = page.locator("#canvas .regions .region")
        self.answers: Locator = page.locator("#chat .message.answer")
        self.canvas_note: Locator = page.locator("#canvas > div .note, #canvas .note").first
        self.question_note: Locator = page.locator("#question-note .note")
        self.tools_note: Locator = page.locator("#tools-note .note")

    def open_file(self, path: Path) -> None:
        """Open a file by the button's file chooser, and wait until it is on show."""
        self.choose_file(path)
        expect(self.page.locator(f'#canvas .frame img[alt="The picture {path.name}"]')).to_be_visible()

    def choose_file(self, path: Path) -> None:
        with self.page.expect_file_chooser() as chooser:
            self.page.click('[data-act="open"]')
        chooser.value.set_files(path)

    def open_example(self, name: str) -> None:
        self.page.click(f'[data-example="{name}"]')
        expect(self.regions.first).to_be_visible()

    def drag(self, start: Point, end: Point) -> None:
        """With the mouse, from one point of the screen to another."""
        mouse = self.page.mouse
        mouse.move(*start)
        mouse.down()
        mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        mouse.move(*end)
        mouse.up()

    def draw(self, start: Point, end: Point) -> None:
        count = self.regions.count()
        self.drag(start, end)
        expect(self.regions).to_have_count(count + 1)

    def frame_box(self) -> tuple[float, float, float, float]:
        """Left, top, width, height of the picture on the screen."""
        box = self.frame.bounding_box()
        assert box is not None
        return box["x"], box["y"], box["width"], box["height"]

    def at(self, x: float, y: float) -> Point:
        """The whole screen pixel nearest to a place in the picture, given as fractions of it."""
        left, top, width, height = self.frame_box()
        return round(left + x * width), round(top + y * height)

    def to_picture(self, start: Point, end: Point, size_wh: tuple[int, int]) -> list[float]:
        """The box between two screen points in pixels of the picture, from where the browser says that the picture is."""
        left, top, width, height = self.frame_box()
        scale_x, scale_y = size_wh[0] / width, size_wh[1] / height
        return [(start[0] - left) * scale_x, (start[1] - top) * scale_y, (end[0] - left) * scale_x, (end[1] - top) * scale_y]

    def ask(self, text: str) -> None:
        self.question.fill(text)
        self.question.press("Enter")

    def wait_for_answers(self, count: int) -> Locator:
        """Wait until so many answers are complete; returns the last."""
        expect(self.page.locator("#chat [data-act=copy]")).to_have_count(count, timeout=ANSWER_MS)
        expect(self.page.locator("#send")).to_be_visible()
        return self.answers.nth(count - 1)

    def conversation(self) -> dict[str, Any]:
        """The downloaded conversation: what Python has, after its journey through the browser's own download."""
        with self.page.expect_download() as download:
            self.page.click("#save-json")
        return json.loads(Path(download.value.path()).read_text(encoding="utf-8"))

    def boxes(self) -> dict[int, Sequence[float]]:
        return {region["number"]: region["box_xyxy"] for region in self.conversation()["regions"]}

    def shot(self, path: Path) -> None:
        self.page.screenshot(path=path)
