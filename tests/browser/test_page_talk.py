"""The whole path with the embedded model: upload, draw by mouse, ask, see the stream, move a box, ask again, download."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.conftest import Server
from tests.browser.page_driver import PageDriver
from web_demo.palette import region_colour

MAGENTA = (255, 0, 255)


def picture_with_patch(path: Path, size_wh: tuple[int, int], patch_xyxy: tuple[int, int, int, int]) -> Path:
    """A grey gradient with one magenta rectangle, as PNG."""
    width, height = size_wh
    pixels = np.linspace(60, 200, width * height).reshape(height, width, 1).repeat(3, axis=2).astype(np.uint8)
    x0, y0, x1, y1 = patch_xyxy
    pixels[y0:y1, x0:x1] = MAGENTA
    Image.fromarray(pixels).save(path)
    return path


def magenta_on_screen(tab: PageDriver) -> tuple[float, float, float, float]:
    """Where the patch really is on the screen, in CSS pixels, from the pixels of a screenshot and not from our own arithmetic."""
    shot = np.asarray(Image.open(io.BytesIO(tab.page.screenshot(scale="css"))).convert("RGB")).astype(int)
    rows, columns = np.nonzero((shot[..., 0] > 200) & (shot[..., 1] < 60) & (shot[..., 2] > 200))
    return float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)


def watch_stream(tab: PageDriver) -> None:
    """From now on the page notes every state of an unfinished answer: a short one may come and go between two looks of ours."""
    tab.page.evaluate(
        """() => {
            window.unfinished = [];
            const look = () => {
                const words = document.querySelector('#chat .answer[aria-busy=true] .words:not(.waiting)');
                if (words && words.innerText.trim()) window.unfinished.push(words.innerText.trim());
            };
            new MutationObserver(look).observe(document.querySelector('#chat'), {subtree: true, childList: true, characterData: true});
        }"""
    )


def first_words(tab: PageDriver) -> str:
    """Wait for the first words of the answer, then stop it if it is still being written: a whole one may take minutes here."""
    tab.page.wait_for_function("window.unfinished.length > 0", timeout=120_000)
    tab.page.evaluate("document.querySelector('#stop')?.click()")
    return tab.page.evaluate("window.unfinished[0]")


# A 12 megapixel photo shrunk to the stage, a tall one whose height is the limit, and the first on a screen with two pixels per point.
CASES = {
    "shrunk": ((4000, 3000), (800, 900, 2400, 2100), 1.0),
    "tall": ((500, 2500), (100, 750, 400, 1500), 1.0),
    "high-dpi": ((4000, 3000), (800, 900, 2400, 2100), 2.0),
}


@pytest.mark.parametrize("case", CASES)
def test_boxes_drawn_by_mouse_arrive_in_pixels_of_the_picture(
    case: str, real_server: Server, open_tab: Callable[..., PageDriver], tmp_path: Path, artifacts: Path
) -> None:
    size_wh, patch, dpi = CASES[case]
    tab = open_tab(real_server, device_scale_factor=dpi)
    tab.open_file(picture_with_patch(tmp_path / f"{case}.png", size_wh, patch))
    left, top, right, bottom = magenta_on_screen(tab)
    tab.draw((left, top), (right, bottom))
    second = tab.at(0.55, 0.75), tab.at(0.9, 0.95)
    expected_second = tab.to_picture(*second, size_wh)
    tab.page.keyboard.press("Escape")
    tab.draw(*second)
    tab.shot(artifacts / f"boxes-{case}.png")
    received = tab.boxes()
    assert list(received) == [1, 2]
    # Box 1, against the picture itself: its corners were pressed on whole screen pixels, so each edge is known to one screen pixel,
    # and one screen pixel is `scale` pixels of the picture.
    scale = size_wh[0] / tab.frame_box()[2]
    np.testing.assert_allclose(received[1], patch, atol=scale + 1)
    # Box 2, against the points that the mouse was at: the page keeps fractions of a pixel, so nothing but the browser's layout unit
    # (1/64 of a screen pixel) and two decimals are lost: scale / 64 + 0.01, which is below one pixel of the picture at scale < 63.
    assert scale < 63
    np.testing.assert_allclose(received[2], expected_second, atol=1.0)


def test_a_conversation_with_the_embedded_model(
    real_server: Server, open_tab: Callable[..., PageDriver], tmp_path: Path, artifacts: Path
) -> None:
    tab = open_tab(real_server)
    expect(tab.page.locator("#status .loading")).to_have_count(0, timeout=120_000)
    expect(tab.page.locator("#status")).to_have_text("Ready")
    size_wh = (1200, 800)
    tab.open_file(picture_with_patch(tmp_path / "street.png", size_wh, (150, 200, 450, 600)))
    tab.draw(tab.at(0.1, 0.2), tab.at(0.4, 0.8))
    tab.draw(tab.at(0.6, 0.3), tab.at(0.9, 0.7))
    before = tab.boxes()

    tab.page.locator('#canvas .row[data-number="2"] .insert').click()
    expect(tab.question).to_have_value("region 2 ")
    watch_stream(tab)
    tab.question.fill("What is <region1>?")
    tab.question.press("Enter")
    # The answer streams: some of it is on the page before it is complete.
    first = first_words(tab)
    tab.shot(artifacts / "streaming.png")
    answer = tab.wait_for_answers(1)
    assert answer.locator(".words").inner_text().startswith(first[:5])
    answer.locator(".timings summary").click()
    expect(answer.locator(".timings")).to_contain_text("in all")

    # A new box between turns, and an old one moved by its number.
    tab.draw(tab.at(0.45, 0.05), tab.at(0.55, 0.15))
    tag = tab.page.locator('#canvas .region[data-number="2"] .tag').bounding_box()
    start = (tag["x"] + tag["width"] / 2, tag["y"] + tag["height"] / 2)
    end = (start[0] - 40, start[1] + 30)
    tab.drag(start, end)
    _, _, width, height = tab.frame_box()
    shift = np.array([-40 * size_wh[0] / width, 30 * size_wh[1] / height] * 2)
    after = tab.boxes()
    np.testing.assert_allclose(np.array(after[2]) - np.array(before[2]), shift, atol=1.0)
    np.testing.assert_allclose(after[1], before[1], atol=0.01)

    watch_stream(tab)
    tab.ask("And is <region2> larger than <region3>?")
    first_words(tab)
    tab.wait_for_answers(2)
    tab.shot(artifacts / "conversation.png")

    record = tab.conversation()
    assert record["image"] == "street.png" and [record["width"], record["height"]] == list(size_wh)
    assert [turn["role"] for turn in record["conversation"]] == ["user", "assistant"] * 2
    assert record["conversation"][2]["content"] == "And is <region2> larger than <region3>?"
    assert [region["number"] for region in record["regions"]] == [1, 2, 3]

    with tab.page.expect_download() as download:
        tab.page.click("#save-png")
    assert download.value.suggested_filename == "street-regions.png"
    with Image.open(download.value.path()) as drawn:
        assert drawn.size == size_wh
        x0, _, _, y1 = record["regions"][0]["box_xyxy"]
        assert drawn.convert("RGB").getpixel((round(x0), round(y1) - 30)) == tuple(bytes.fromhex(region_colour(1)[1:]))
    download.value.save_as(artifacts / "street-regions.png")
