"""The small parts of the page: colours, drawing, conversation as HTML, pictures, sessions, loading, privacy."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gpt4roi.boxes import validate_box
from gpt4roi.chat import Exchange
from gpt4roi.conversation import check_mentions
from gpt4roi.engine.events import Answer, Timings
from gpt4roi.hosts import HostRule
from gpt4roi.images import ImageError
from web_demo.chat_view import chat_html, text_html
from web_demo.drawing import draw_regions
from web_demo.examples import EXAMPLES, available_examples, open_example, thumbnail
from web_demo.images import Picture, data_url, read_picture
from web_demo.loading import LONGEST_MESSAGE, LoadStatus, ModelLoader
from web_demo.naming import said_names
from web_demo.palette import REGION_COLOURS, region_colour, region_colour_bgr
from web_demo.privacy import OwnOriginOnly, sweep_uploads
from web_demo.session import Session, Sessions


def luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb` (WCAG 2.2)."""
    channels = [value / 255 for value in bytes.fromhex(colour[1:])]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colour", REGION_COLOURS)
def test_white_numbers_are_legible_on_every_colour(colour: str) -> None:
    assert 1.05 / (luminance(colour) + 0.05) >= 4.5


def test_colours_belong_to_numbers() -> None:
    assert len(set(REGION_COLOURS)) == 8
    assert region_colour(9) == region_colour(1) != region_colour(2)
    assert region_colour_bgr(1) == (0xEB, 0x63, 0x25)


def test_drawn_edges_lie_on_the_box() -> None:
    png = draw_regions(Image.new("RGB", (120, 100), "black"), {2: (20, 30, 80, 90)})
    pixels = np.asarray(Image.open(io.BytesIO(png)))
    red = tuple(bytes.fromhex(region_colour(2)[1:]))
    assert tuple(pixels[89, 50]) == tuple(pixels[60, 79]) == red
    assert tuple(pixels[60, 50]) == tuple(pixels[95, 50]) == (0, 0, 0)
    assert (pixels == 255).all(axis=2).any()  # the number


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (5000, 20)])
def test_drawing_on_odd_sizes(size: tuple[int, int]) -> None:
    png = draw_regions(Image.new("L", size), {1: (0, 0, *size), 12: (0, 0, *size)})
    assert Image.open(io.BytesIO(png)).size == size


def test_mentions_are_coloured_and_everything_else_is_escaped() -> None:
    html = text_html('<img src=x onerror=alert(1)> & <region2> or region 12 "ok"')
    assert "<img" not in html and "&lt;img" in html and "&amp;" in html
    assert f'--region:{region_colour(2)}">region 2</span>' in html
    assert f'--region:{region_colour(12)}">region 12</span>' in html
    assert text_html("") == ""


def exchange(question: str, answer: str, timings: Timings | None = None) -> Exchange:
    return Exchange(question, question, (), Answer(answer, timings=timings or Timings()))


class Tags(HTMLParser):
    """The tags of a piece of HTML, as a browser would read them, and the text of its copy buttons."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.copied: list[str | None] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        self.copied += [value for name, value in attrs if name == "data-text"]


def test_nothing_that_was_said_becomes_markup() -> None:
    evil = """'"><script>alert(1)</script><img src=x onerror='alert(2)'>"""
    said = [exchange(evil, evil)]
    for html in (chat_html(said), chat_html([], question=evil, draft=evil, waiting=evil), chat_html([], suggestions=[evil])):
        assert Tags(html).found <= {"div", "span", "button", "i", "h2", "p", "details", "summary"}
    assert Tags(chat_html(said)).copied == [evil]


def test_only_the_last_answer_can_be_written_again() -> None:
    timings = Timings(first_token_s=0.52, total_s=2, new_tokens=7, vision_s=0.0004, reused_tokens=61, prompt_tokens=78)
    said = [exchange("a", "b", timings), exchange("c", "")]
    html = chat_html(said)
    assert html.count("regenerate") == 1 and html.count('data-act="copy"') == 2
    assert (
        "First word after 0.5 s · 2.0 s in all · 7 tokens · picture 0 ms · 61 of 78 prompt tokens reused" in html and "(no words)" in html
    )
    assert "regenerate" not in chat_html(said, question="d")


def test_a_region_that_was_meant_and_not_named_is_shown_once() -> None:
    meant = Exchange("What is this?", "What is <region2>?", (2,), Answer("A cup."))
    named = Exchange("What is <region2>?", "What is <region2>?", (2,), Answer("A cup."))
    spoken = Exchange("What is region 2?", "What is <region2>?", (2,), Answer("A cup."))
    assert [chat_html([one]).count('class="mention"') for one in (meant, named, spoken)] == [1, 1, 1]


def test_examples_are_installed_and_their_boxes_and_questions_fit() -> None:
    assert available_examples() == EXAMPLES  # scikit-image is part of the demo's and the tests' requirements
    for name, example in EXAMPLES.items():
        picture = open_example(name)
        for number, box in picture.boxes_xyxy_abs.items():
            assert validate_box(box, picture.size_wh, f"<region{number}>") == tuple(box)
        for question in example.questions:
            check_mentions(question, picture.boxes_xyxy_abs)
        assert len(thumbnail(name)) < 20_000


def test_the_name_and_not_the_place_of_a_broken_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("no picture")
    with pytest.raises(ImageError) as error:
        read_picture(tmp_path / "x.png", "x.png")
    assert "'x.png' is not a picture" in str(error.value) and str(tmp_path) not in str(error.value)
    with pytest.raises(ImageError, match=r"'gone\.png' did not arrive"):
        read_picture(tmp_path / "gone.png", "gone.png")


def test_a_photo_taken_sideways_stands_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "p.jpg", exif=exif)
    assert read_picture(tmp_path / "p.jpg", "p.jpg").size == (20, 40)


def test_the_browser_gets_a_small_picture_of_a_large_one() -> None:
    url = data_url(Image.new("RGB", (4000, 1000)))
    assert url.startswith("data:image/jpeg;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).size == (1600, 400)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_sessions_are_apart_and_closed_ones_are_forgotten_after_the_grace_period() -> None:
    clock = Clock()
    sessions = Sessions(grace_s=10, clock=clock)
    one, two = sessions.of("one"), sessions.of("two")
    assert one is not two and sessions.of("one") is one
    one.show(Picture("a.png", Image.new("RGB", (2, 2))))
    sessions.close("one")
    assert one.stop_requested and not two.stop_requested
    clock.now = 5
    assert sessions.of("one") is one  # a phone that woke up again
    sessions.close("one")
    clock.now = 20
    assert sessions.of("two") is two and len(sessions) == 1
    assert sessions.of("one").picture is None
    sessions.close("never seen")


def test_the_session_unused_for_longest_makes_room() -> None:
    sessions = Sessions(capacity=2)
    first, second = sessions.of("1"), sessions.of("2")
    sessions.of("1")
    sessions.of("3")
    assert sessions.of("1") is first and sessions.of("2") is not second and len(sessions) == 2


def test_a_session_that_is_idle_has_nothing_to_stop() -> None:
    session = Session()
    session.stop()
    assert not session.busy and session.exchanges == []


def test_loading_reports_progress_and_then_makes_chats() -> None:
    seen: list[LoadStatus] = []

    def load(progress: Any) -> Any:
        progress("fetching", 0.5)
        seen.append(loader.status)
        return lambda: "a chat"

    loader = ModelLoader(load)
    assert loader.status.state == "loading"
    with pytest.raises(RuntimeError, match="not ready"):
        loader.new_chat()
    loader.start()
    assert loader.wait(5).state == "ready" and loader.new_chat() == "a chat"
    assert seen == [LoadStatus("loading", "fetching", 0.5)]


@pytest.mark.parametrize(("error", "words"), [(ValueError("the disk is full"), "the disk is full"), (MemoryError(), "MemoryError")])
def test_loading_that_fails_says_why(error: Exception, words: str) -> None:
    def load(progress: Any) -> Any:
        raise error

    loader = ModelLoader(load)
    loader.start()
    status = loader.wait(5)
    assert status.state == "failed" and words in status.message


def test_a_very_long_failure_is_cut_for_the_page() -> None:
    def load(progress: Any) -> Any:
        raise RuntimeError("size mismatch\n" * 500)

    loader = ModelLoader(load)
    loader.start()
    message = loader.wait(5).message
    assert len(message) < LONGEST_MESSAGE + 50 and "\n" not in message and message.endswith("…")


def test_only_old_uploads_are_swept(tmp_path: Path) -> None:
    sweep_uploads(tmp_path / "none", 60)
    old, young = tmp_path / "old", tmp_path / "young"
    for folder in (old, young):
        folder.mkdir()
        (folder / "x.png").touch()
    os.utime(old, (time.time() - 100, time.time() - 100))
    sweep_uploads(tmp_path, 60)
    assert list(tmp_path.iterdir()) == [young]


def test_other_hosts_and_pages_are_refused_and_every_response_forbids_other_origins() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {}

    def ask(rule: HostRule, **headers: str) -> int:
        sent.clear()
        scope = {"type": "http", "method": "POST", "headers": [(name.encode(), value.encode()) for name, value in headers.items()]}
        # In a thread of its own: Playwright leaves a running event loop in the main one when the browser tests ran before.
        with ThreadPoolExecutor(1) as executor:
            executor.submit(asyncio.run, OwnOriginOnly(app, rule)(scope, receive, send)).result()
        return int(sent[0]["status"])

    local, shared = HostRule("127.0.0.1"), HostRule("127.0.0.1", domains=("gradio.live",))
    for headers in ({"host": "evil.example"}, {"host": "127.0.0.1:7860", "origin": "http://evil.example"}, {"host": "a.gradio.live"}):
        assert ask(local, **headers) == 403
    assert ask(shared, host="a.gradio.live", origin="https://a.gradio.live") == 200
    assert ask(shared, host="gradio.live.evil.example") == 403
    assert ask(HostRule("0.0.0.0"), host="192.0.2.7:7860") == 200
    assert ask(local, host="127.0.0.1:7860", origin="http://127.0.0.1:7860") == 200
    headers = dict(sent[0]["headers"])
    assert b"frame-ancestors 'self'" in headers[b"content-security-policy"]
    assert b"default-src 'self'" in headers[b"content-security-policy"]
    assert b"http" not in headers[b"content-security-policy"]


def test_invented_sessions_throw_nobodys_conversation_away() -> None:
    sessions = Sessions(capacity=4)
    kept = [sessions.of(name) for name in "abc"]
    for session in kept:
        session.show(Picture("street.jpg", Image.new("RGB", (20, 10))))
    for number in range(100):
        sessions.of(f"invented {number}")
    assert [sessions.of(name) for name in "abc"] == kept and len(sessions) == 4


@pytest.mark.parametrize(
    ("asked", "answer", "scores", "name"),
    [
        ("What is <region1>?", "A cat, it looks like an Egyptian cat.", {"cat": 0.99, "dog": 0.01}, "cat"),
        ("What is <region1>?", "I am not sure: maybe a missile.", {"missile": 0.17}, None),
        ("What is <region1>?", "A traffic light.", {}, "traffic light"),
        ("Is <region1> red or blue?", "Red.", {"red": 0.9}, None),
        ("What color is <region1>?", "Mostly red.", {}, None),
    ],
)
def test_the_name_in_an_answer(asked: str, answer: str, scores: dict[str, float], name: str | None) -> None:
    said = Exchange(asked, asked, (1,), Answer(answer, scores=scores))
    assert said_names([said]) == ({1: name} if name else {})
    assert said_names([replace(said, stale=True)]) == said_names([replace(said, corrected="A dog.")]) == {}
