"""Boxes by mouse, finger and keyboard; numbers that stay; pictures from the clipboard and the camera."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.conftest import Server
from tests.browser.page_driver import PageDriver


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = tmp_path / "plain.png"
    Image.new("RGB", (800, 600), "#9aa").save(path)
    return path


@pytest.fixture
def tab(real_server: Server, open_tab: Callable[..., PageDriver], plain: Path) -> PageDriver:
    opened = open_tab(real_server)
    opened.open_file(plain)
    return opened


def numbers(tab: PageDriver) -> list[str]:
    return [text or "" for text in tab.page.locator("#canvas .regions .tag-text").all_text_contents()]


def test_numbers_stay_with_their_boxes(tab: PageDriver) -> None:
    tab.draw(tab.at(0.1, 0.1), tab.at(0.3, 0.3))
    tab.draw(tab.at(0.5, 0.1), tab.at(0.7, 0.3))
    tab.page.locator('.row[data-number="1"] .remove').click()
    assert numbers(tab) == ["2"]
    tab.draw(tab.at(0.1, 0.6), tab.at(0.3, 0.9))
    assert numbers(tab) == ["2", "3"]
    assert list(tab.boxes()) == [2, 3]
    colours = [row.evaluate("node => getComputedStyle(node).borderLeftColor") for row in tab.page.locator("#canvas .row").all()]
    tags = [tag.evaluate("node => getComputedStyle(node).fill") for tag in tab.page.locator("#canvas .regions .tag").all()]
    assert colours == tags and len(set(colours)) == 2
    tab.ask("What is <region3>?")
    mention = tab.page.locator("#chat .message.user .mention")
    expect(mention).to_have_text("region 3")
    assert mention.evaluate("node => getComputedStyle(node).backgroundColor") == tags[1]
    tab.wait_for_answers(1)


def test_undo_redo_resize_delete(tab: PageDriver) -> None:
    undo, redo = tab.page.locator("[data-act=undo]"), tab.page.locator("[data-act=redo]")
    tab.draw(tab.at(0.25, 0.25), tab.at(0.5, 0.5))
    drawn = tab.boxes()[1]
    tab.drag(tab.at(0.5, 0.5), tab.at(0.75, 0.75))
    resized = tab.boxes()[1]
    np.testing.assert_allclose(resized, [200, 150, 600, 450], atol=3)
    np.testing.assert_allclose(resized[:2], drawn[:2], atol=0.01)
    undo.click()
    assert tab.boxes()[1] == drawn
    redo.click()
    assert tab.boxes()[1] == resized
    tab.regions.first.focus()
    tab.page.keyboard.press("Delete")
    expect(tab.regions).to_have_count(0)
    tab.page.keyboard.press("Control+z")
    assert tab.boxes() == {1: resized}
    # Drawn and taken back before anybody asked about it: the number is free again. Asked about: it is not.
    undo.click()
    undo.click()
    expect(tab.regions).to_have_count(0)
    tab.draw(tab.at(0.1, 0.1), tab.at(0.2, 0.2))
    tab.ask("<region1>?")
    tab.wait_for_answers(1)
    undo.click()
    tab.draw(tab.at(0.1, 0.1), tab.at(0.2, 0.2))
    assert numbers(tab) == ["2"]


def test_a_box_inside_a_box_and_a_drag_beyond_the_edge(tab: PageDriver) -> None:
    """Drawing inside a box just drawn draws, selected as it is; its border moves it."""
    tab.draw(tab.at(0.1, 0.1), tab.at(0.9, 0.9))
    tab.draw(tab.at(0.4, 0.4), tab.at(0.6, 0.6))
    left, top, width, height = tab.frame_box()
    tab.draw(tab.at(0.8, 0.8), (left + width + 60, top + height + 25))
    boxes = tab.boxes()
    assert list(boxes) == [1, 2, 3]
    assert boxes[3][2:] == [800, 600]
    tab.drag(tab.at(0.4, 0.5), tab.at(0.45, 0.5))
    np.testing.assert_allclose(np.array(tab.boxes()[2]) - np.array(boxes[2]), [40, 0, 40, 0], atol=3)


def test_the_keyboard_alone(real_server: Server, open_tab: Callable[..., PageDriver]) -> None:
    tab = open_tab(real_server)
    tab.page.locator('[data-example="cat"]').focus()
    tab.page.keyboard.press("Enter")
    expect(tab.regions).to_have_count(2)
    tab.page.locator("#canvas .stage").focus()
    tab.page.keyboard.press("n")
    expect(tab.regions).to_have_count(3)
    before = tab.boxes()[3]
    tab.regions.nth(2).focus()
    tab.page.keyboard.press("ArrowRight")
    tab.page.keyboard.press("Shift+ArrowDown")
    after = tab.boxes()[3]
    assert after[0] > before[0] and after[1] == before[1] and after[3] > before[3]
    tab.regions.nth(2).focus()
    tab.page.keyboard.press("Enter")
    expect(tab.question).to_be_focused()
    tab.page.keyboard.type("is what?")
    expect(tab.question).to_have_value("region 3 is what?")
    tab.page.keyboard.press("Enter")
    tab.wait_for_answers(1)


def test_a_finger_on_a_phone(real_server: Server, open_tab: Callable[..., PageDriver], plain: Path, artifacts: Path) -> None:
    tab = open_tab(real_server, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    tab.open_file(plain)
    start, end = tab.at(0.2, 0.2), tab.at(0.6, 0.7)
    expected = tab.to_picture(start, end, (800, 600))
    session = tab.page.context.new_cdp_session(tab.page)
    for kind, points in (("touchStart", [start]), ("touchMove", [tab.at(0.4, 0.4)]), ("touchMove", [end]), ("touchEnd", [])):
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in points]})
    expect(tab.regions).to_have_count(1)
    np.testing.assert_allclose(tab.boxes()[1], expected, atol=1.0)
    # Nothing sticks out sideways at phone width.
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 390
    last_button = tab.page.locator("[data-act=delete]").bounding_box()
    assert last_button is not None and last_button["x"] + last_button["width"] <= 380
    # The keyboard has not come up over the picture.
    expect(tab.question).not_to_be_focused()
    for count in range(1, 5):
        tab.ask("What is <region1>?")
        tab.wait_for_answers(count)
    # The page has scrolled to the last answer; picture, answer and question field are all on the screen, one above the other.
    expect(tab.page.locator("#canvas .toolbar")).not_to_be_in_viewport()
    parts = [tab.frame, tab.answers.last, tab.question]
    for part in parts:
        expect(part).to_be_in_viewport(ratio=0.9)
    tops = [box["y"] for part in parts if (box := part.bounding_box())]
    assert tops == sorted(tops) and len(tops) == 3
    # A swipe over the conversation scrolls the page.
    before = tab.page.evaluate("window.scrollY")
    session.send("Input.synthesizeScrollGesture", {"x": 200, "y": 480, "yDistance": 150})
    tab.page.wait_for_function(f"window.scrollY < {before}")
    tab.shot(artifacts / "phone.png")


def test_a_picture_pasted_and_one_from_the_camera(real_server: Server, open_tab: Callable[..., PageDriver], artifacts: Path) -> None:
    tab = open_tab(real_server, permissions=["camera"])
    tab.page.evaluate(
        """async () => {
            const canvas = Object.assign(document.createElement('canvas'), {width: 120, height: 90});
            canvas.getContext('2d').fillRect(10, 10, 50, 50);
            const blob = await new Promise((resolve) => canvas.toBlob(resolve));
            const clipboard = new DataTransfer();
            clipboard.items.add(new File([blob], 'pasted.png', {type: 'image/png'}));
            document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: clipboard, bubbles: true, cancelable: true}));
        }"""
    )
    image = tab.page.locator("#canvas .frame img")
    expect(image).to_have_attribute("alt", "The picture pasted.png")
    tab.page.click("[data-act=camera]")
    tab.page.click("[data-act=shoot]")
    expect(image).to_have_attribute("alt", "The picture camera.png")
    assert tab.conversation()["width"] > 120
    tab.shot(artifacts / "camera.png")
