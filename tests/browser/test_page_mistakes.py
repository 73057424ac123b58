"""Each mistake is said beside where it was made, and wipes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.conftest import Server
from tests.browser.page_driver import PageDriver


@pytest.fixture
def tab(real_server: Server, open_tab: Callable[..., PageDriver]) -> PageDriver:
    return open_tab(real_server)


def test_a_question_without_a_picture(tab: PageDriver, artifacts: Path) -> None:
    tab.ask("What is <region1>?")
    expect(tab.question_note).to_contain_text("no picture yet")
    expect(tab.question).to_have_value("What is <region1>?")
    tab.shot(artifacts / "mistake-no-picture.png")


def test_a_download_without_a_picture(tab: PageDriver) -> None:
    for button in ("#save-json", "#save-png"):
        tab.page.click(button)
        expect(tab.tools_note).to_contain_text("open one first")


def test_mistakes_in_a_question_keep_boxes_text_and_conversation(tab: PageDriver, artifacts: Path) -> None:
    tab.open_example("astronaut")
    tab.ask("What is <region1>?")
    tab.wait_for_answers(1)
    tab.ask("   ")
    expect(tab.question_note).to_contain_text("question is empty")
    tab.ask("What is <region7>?")
    expect(tab.question_note).to_contain_text("<region7>")
    expect(tab.question_note).to_contain_text("drawn so far: <region1>, <region2>, <region3>")
    expect(tab.question).to_have_value("What is <region7>?")
    expect(tab.regions).to_have_count(3)
    expect(tab.answers).to_have_count(1)
    tab.shot(artifacts / "mistake-unknown-region.png")
    # The message goes when the mistake does.
    tab.ask("What is <region3>?")
    expect(tab.question_note).to_have_text("")
    tab.wait_for_answers(2)


def test_files_that_are_no_pictures_keep_the_one_on_show(tab: PageDriver, tmp_path: Path, artifacts: Path) -> None:
    tab.open_example("coffee")
    text = tmp_path / "notes.png"
    text.write_text("these are words")
    tab.choose_file(text)
    expect(tab.canvas_note).to_contain_text("'notes.png' is not a picture")
    whole = tmp_path / "whole.png"
    Image.effect_noise((400, 300), 80).save(whole)
    cut = tmp_path / "cut.png"
    cut.write_bytes(whole.read_bytes()[:9000])
    tab.choose_file(cut)
    expect(tab.canvas_note).to_contain_text("'cut.png' is broken")
    huge = tmp_path / "huge.png"
    Image.new("1", (9000, 8000)).save(huge)
    tab.choose_file(huge)
    expect(tab.canvas_note).to_contain_text("72.0 million pixels")
    expect(tab.regions).to_have_count(2)
    expect(tab.page.locator("#canvas .frame img")).to_have_attribute("alt", "The picture coffee.png")
    tab.shot(artifacts / "mistake-broken-picture.png")
    tab.open_file(whole)
    expect(tab.canvas_note).to_have_text("")


def test_a_click_and_a_sliver_are_no_boxes(tab: PageDriver, tmp_path: Path) -> None:
    plain = tmp_path / "plain.png"
    Image.new("RGB", (300, 200), "grey").save(plain)
    tab.open_file(plain)
    tab.page.mouse.click(*tab.at(0.5, 0.5))
    expect(tab.canvas_note).to_contain_text("Drag to draw a box")
    tab.drag(tab.at(0.2, 0.5), (tab.at(0.8, 0.5)[0], tab.at(0.8, 0.5)[1] + 2))
    expect(tab.canvas_note).to_contain_text("too thin")
    expect(tab.regions).to_have_count(0)


def test_the_failure_of_a_model_is_a_sentence_on_the_page(
    servers: Callable[..., Server], open_tab: Callable[..., PageDriver], artifacts: Path
) -> None:
    tab = open_tab(servers("tests.browser.double_demo", "--fail"))
    expect(tab.page.locator("#status")).to_contain_text("The model could not be loaded: the disk is full")
    tab.open_example("cat")
    tab.ask("What is <region1>?")
    expect(tab.question_note).to_contain_text("could not be loaded")
    expect(tab.question).to_have_value("What is <region1>?")
    tab.shot(artifacts / "mistake-model-failed.png")
