"""Colours are measured: the embedded model's own tower and mask head on drawn things, without its language model."""

from __future__ import annotations

import time

import numpy as np
import pytest
from PIL import Image

from gpt4roi.chat import RegionChat
from gpt4roi.engine import Engine
from gpt4roi.models.loading import load_model

NAMED = {"red": (200, 20, 20), "blue": (30, 60, 200), "yellow": (240, 230, 30), "black": (0, 0, 0)}
PLACES = {"red": (20, 20, 200, 220), "blue": (230, 20, 410, 220), "yellow": (20, 250, 200, 460), "black": (230, 250, 410, 460)}


@pytest.fixture(scope="module")
def chat() -> RegionChat:
    model, processor = load_model()
    return RegionChat(model, processor, Engine(model, processor))


@pytest.fixture
def flat(chat: RegionChat) -> RegionChat:
    pixels = np.full((480, 640, 3), 255, dtype=np.uint8)
    for name, (x0, y0, x1, y1) in PLACES.items():
        pixels[y0:y1, x0:x1] = NAMED[name]
    chat.set_image(Image.fromarray(pixels))
    return chat


def test_a_moved_box_has_the_colour_of_its_new_place(flat: RegionChat) -> None:
    """All twelve ordered pairs: 4 of 12 were right when the model answered with its old answer before it."""
    flat.add_region(PLACES["black"])
    for before in PLACES:
        for after in PLACES:
            if before == after:
                continue
            flat.move_region(1, PLACES[before])
            assert before in flat.ask("What color is <region1>?").text.lower()
            flat.move_region(1, PLACES[after])
            answer = flat.ask("What color is <region1>?").text
            assert answer == f"Mostly {after}."


def test_colour_questions_in_other_forms(flat: RegionChat) -> None:
    flat.add_region(PLACES["red"])
    flat.add_region(PLACES["blue"])
    assert flat.ask("is <region1> red?").text == "Yes, it is mostly red."
    assert flat.ask("is <region1> green?").text == "No, it is mostly red."
    assert flat.ask("is it yellow or blue").text == "Blue."
    assert flat.ask("is it yellow or green").text == "Mostly blue, so neither."
    assert flat.ask("what colours are <region1> and <region2>").text == "<region1> is mostly red, <region2> is mostly blue."
    assert [one.answer.finish_reason for one in flat.exchanges] == ["stop"] * 5


def test_the_time_of_a_measured_answer_holds_the_measuring(flat: RegionChat) -> None:
    flat.add_region(PLACES["red"])
    start = time.perf_counter()
    timings = flat.ask("What color is <region1>?").timings
    assert timings.first_token_s > (time.perf_counter() - start) / 2


def test_other_questions_are_the_language_models(flat: RegionChat, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a model that was trained further: it may have learned other names than the shipped eyes know."""
    monkeypatch.setattr(flat.model, "is_embedded_default", False)
    flat.add_region(PLACES["red"])
    assert flat.ask("What is <region1>?", 4).timings.new_tokens > 0
