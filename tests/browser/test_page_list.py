"""The list of regions: names, hiding, locking; the same region lights up in the picture, the list and the conversation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Locator, expect

from tests.browser.conftest import Server
from tests.browser.page_driver import PageDriver


@pytest.fixture(scope="module")
def double_server(servers: Callable[..., Server]) -> Server:
    return servers("tests.browser.double_demo", "--pause", "0")


@pytest.fixture
def tab(double_server: Server, open_tab: Callable[..., PageDriver], tmp_path: Path) -> PageDriver:
    Image.new("RGB", (800, 600), "#9aa").save(tmp_path / "plain.png")
    opened = open_tab(double_server)
    opened.open_file(tmp_path / "plain.png")
    opened.draw(opened.at(0.1, 0.1), opened.at(0.4, 0.4))
    opened.draw(opened.at(0.5, 0.5), opened.at(0.9, 0.9))
    return opened


def row(tab: PageDriver, number: int) -> Locator:
    return tab.page.locator(f'#canvas .row[data-number="{number}"]')


def tag(tab: PageDriver, number: int) -> Locator:
    return tab.page.locator(f'#canvas .region[data-number="{number}"] .tag-text')


def test_a_name_stands_on_the_box_and_in_the_download_and_can_be_undone(tab: PageDriver) -> None:
    row(tab, 2).locator(".name").click()
    tab.page.keyboard.type("dog <b>")
    tab.page.keyboard.press("Enter")
    expect(tag(tab, 2)).to_have_text("2 dog <b>")
    assert [region.get("label") for region in tab.conversation()["regions"]] == [None, "dog <b>"]
    # Asked about and moved, it keeps the name that a person gave.
    tab.ask("What is region 2?")
    tab.wait_for_answers(1)
    tab.drag(tab.at(0.5, 0.7), tab.at(0.45, 0.7))
    assert [region.get("label") for region in tab.conversation()["regions"]] == [None, "dog <b>"]
    tab.page.click("[data-act=undo]")
    tab.page.click("[data-act=undo]")
    expect(tag(tab, 2)).to_have_text("2")
    assert [region.get("label") for region in tab.conversation()["regions"]] == [None, None]
    # The first click selects; Escape leaves the name as it was.
    row(tab, 1).locator(".name").click()
    row(tab, 1).locator(".name").click()
    tab.page.keyboard.type("cat")
    tab.page.keyboard.press("Escape")
    expect(row(tab, 1).locator(".name")).to_have_text("Name it")


def test_a_hidden_region_is_not_drawn_and_a_locked_one_does_not_move(tab: PageDriver, artifacts: Path) -> None:
    before = tab.boxes()
    row(tab, 1).locator("[data-do=hide]").click()
    expect(tab.regions).to_have_count(1)
    row(tab, 2).locator("[data-do=lock]").click()
    tab.shot(artifacts / "list.png")
    tab.draw(tab.at(0.5, 0.7), tab.at(0.7, 0.8))
    row(tab, 2).locator(".remove").click()
    expect(tab.canvas_note).to_contain_text("Region 2 is locked")
    after = tab.boxes()
    assert list(after) == [1, 2, 3] and [after[1], after[2]] == [before[1], before[2]]
    row(tab, 1).locator("[data-do=hide]").click()
    expect(tab.regions).to_have_count(3)


def test_a_region_in_the_conversation_and_its_box_point_at_each_other(tab: PageDriver) -> None:
    tab.ask("What is region 1?")
    tab.wait_for_answers(1)
    mention = tab.page.locator("#chat .message.user .mention")
    box = tab.page.locator('#canvas .region[data-number="1"]')
    mention.hover()
    expect(box).to_have_class("region lit")
    tab.page.mouse.move(*tab.at(0.25, 0.25))
    expect(mention).to_have_class("mention lit")
    tab.page.mouse.move(*tab.at(0.95, 0.05))
    expect(mention).to_have_class("mention")
    mention.click()
    expect(box).to_have_attribute("aria-pressed", "true")
    row(tab, 1).locator(".remove").click()
    mention.click()
    expect(tab.canvas_note).to_have_text("Region 1 is not there any more.")


def test_added_boxes_never_lie_on_each_other(tab: PageDriver) -> None:
    for count in range(3, 15):
        tab.page.click("[data-act=add]")
        expect(tab.regions).to_have_count(count)
    boxes = [tuple(box) for box in tab.boxes().values()]
    assert len(set(boxes)) == 14


def test_the_keys_are_told(tab: PageDriver) -> None:
    tab.page.locator("#canvas .stage").focus()
    tab.page.keyboard.press("?")
    expect(tab.page.locator("#canvas .help")).to_contain_text("undo, redo")
    tab.page.keyboard.press("Escape")
    expect(tab.page.locator("#canvas .help")).to_be_hidden()


def test_the_name_of_an_answer_stands_on_the_box_and_is_no_label(real_server: Server, open_tab: Callable[..., PageDriver]) -> None:
    tab = open_tab(real_server)
    tab.open_example("cat")
    tab.ask("What is region 1?")
    tab.wait_for_answers(1)
    expect(tag(tab, 1)).to_have_text("1 cat")
    assert "label" not in tab.conversation()["regions"][0]
    tab.page.locator('#canvas .row[data-number="1"]').click()
    tab.page.click("text=How many cats are there?")
    expect(tab.wait_for_answers(2)).to_contain_text("One cat")


def test_a_drawn_box_offers_questions_and_a_click_asks(tab: PageDriver, artifacts: Path) -> None:
    offers = tab.page.locator("#suggest button")
    expect(tab.question).to_be_focused()
    expect(offers.first).to_have_text("What is this?")
    assert "Is region 2 larger than region 1?" in offers.all_inner_texts()
    tab.page.keyboard.type("half a quest")
    offers.nth(1).click()
    tab.wait_for_answers(1)
    tab.shot(artifacts / "suggestions.png")
    assert tab.conversation()["conversation"][0]["content"] == "What color is <region2>?"
    expect(tab.question).to_have_value("half a quest")
    # Nothing selected, nothing offered.
    tab.page.locator("#canvas .stage").focus()
    tab.page.keyboard.press("Escape")
    expect(offers).to_have_count(0)


def test_undo_in_an_empty_question_field_takes_the_box_back(tab: PageDriver) -> None:
    expect(tab.question).to_be_focused()
    tab.page.keyboard.press("Control+z")
    expect(tab.regions).to_have_count(1)
    tab.page.keyboard.press("Control+Shift+z")
    expect(tab.regions).to_have_count(2)
    tab.page.keyboard.type("x")
    tab.page.keyboard.press("Control+z")
    expect(tab.regions).to_have_count(2)
