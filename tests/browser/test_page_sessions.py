"""Loading, queueing, stopping, answering again; tabs that never see each other; nothing left behind.

A double of the chat answers where the test needs a slow load or an answer that lasts; everything else runs on the embedded model.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.conftest import Server
from tests.browser.page_driver import PageDriver


@pytest.fixture(scope="module")
def slow_server(servers: Callable[..., Server]) -> Server:
    """Answers that take about eight seconds."""
    return servers("tests.browser.double_demo", "--pause", "0.35")


def test_the_page_opens_while_the_model_loads(servers: Callable[..., Server], open_tab: Callable[..., PageDriver], artifacts: Path) -> None:
    tab = open_tab(servers("tests.browser.double_demo", "--load-seconds", "15"))
    status = tab.page.locator("#status")
    expect(status).to_contain_text("Fetching the weights")
    # Boxes are drawn and questions asked meanwhile; the question waits and says for what.
    tab.open_example("cat")
    tab.ask("What is <region1>?")
    expect(tab.page.locator("#chat .waiting")).to_contain_text("Waiting for the model: fetching the weights (")
    tab.shot(artifacts / "loading.png")
    tab.wait_for_answers(1)
    expect(status).to_have_text("Ready")


def test_stop_keeps_what_was_said_and_regenerate_replaces_it(
    slow_server: Server, open_tab: Callable[..., PageDriver], artifacts: Path
) -> None:
    tab = open_tab(slow_server, permissions=["clipboard-read", "clipboard-write"])
    tab.open_example("coffee")
    tab.ask("What is <region2>?")
    expect(tab.page.locator("#chat .message.answer .words")).to_contain_text("You asked about")
    # A second question has to wait; it stays in its box.
    tab.ask("And this?")
    expect(tab.question_note).to_contain_text("still being written")
    expect(tab.question).to_have_value("And this?")
    tab.page.click('[data-example="cat"]')
    expect(tab.canvas_note).to_contain_text("Stop it first")
    tab.page.click("#stop")
    answer = tab.wait_for_answers(1)
    stopped = answer.locator(".words").inner_text()
    assert "several words" not in stopped
    tab.page.click("[data-act=copy]")
    expect(tab.page.locator("[data-act=copy]")).to_have_text("Copied")
    assert "region 2" not in tab.page.evaluate("navigator.clipboard.readText()") or "<region2>" in tab.page.evaluate(
        "navigator.clipboard.readText()"
    )
    tab.page.click("[data-act=regenerate]")
    expect(tab.page.locator("#chat [aria-busy=true]")).to_be_visible()
    expect(tab.page.locator("#chat [aria-busy=true]")).to_have_count(0, timeout=30_000)
    expect(tab.answers).to_have_count(1)
    expect(tab.answers.first).to_contain_text("several words")
    record = tab.conversation()
    assert len(record["conversation"]) == 2


def test_a_new_picture_is_a_new_conversation_after_a_warning(
    real_server: Server, open_tab: Callable[..., PageDriver], artifacts: Path
) -> None:
    tab = open_tab(real_server)
    tab.open_example("astronaut")
    tab.open_example("coffee")  # nothing said yet, nothing to lose, no warning
    expect(tab.regions).to_have_count(2)
    tab.ask("What is <region1>?")
    tab.wait_for_answers(1)
    tab.page.click('[data-example="cat"]')
    warning = tab.page.locator("#canvas .confirm")
    expect(warning).to_contain_text("'chelsea.png' starts a new conversation")
    tab.shot(artifacts / "warning.png")
    tab.page.click("[data-act=refuse]")
    expect(warning).to_be_hidden()
    expect(tab.answers).to_have_count(1)
    assert tab.conversation()["image"] == "coffee.png"
    tab.page.click('[data-example="cat"]')
    tab.page.click("[data-act=accept]")
    expect(tab.page.locator("#canvas .frame img")).to_have_attribute("alt", "The picture chelsea.png")
    expect(tab.answers).to_have_count(0)
    assert tab.conversation()["conversation"] == []


def test_two_tabs_never_see_each_other_and_are_answered_at_the_same_time(
    slow_server: Server, open_tab: Callable[..., PageDriver], artifacts: Path
) -> None:
    one, two = open_tab(slow_server), open_tab(slow_server)
    one.open_example("astronaut")
    two.open_example("cat")
    one.ask("Who is <region1>?")
    expect(one.page.locator("#chat .message.answer .words")).to_contain_text("You asked")
    two.ask("What is <region2>?")
    expect(two.page.locator("#chat .message.answer .words")).to_contain_text("You asked")
    expect(one.page.locator("#chat [aria-busy=true]")).to_be_visible()
    one.wait_for_answers(1)
    two.wait_for_answers(1)
    first, second = one.conversation(), two.conversation()
    assert (first["image"], second["image"]) == ("astronaut.png", "chelsea.png")
    assert [turn["content"] for turn in first["conversation"] if turn["role"] == "user"] == ["Who is <region1>?"]
    assert [turn["content"] for turn in second["conversation"] if turn["role"] == "user"] == ["What is <region2>?"]
    assert len(first["regions"]) == 3 and len(second["regions"]) == 2
    assert "3 regions" in first["conversation"][1]["content"] and "2 regions" in second["conversation"][1]["content"]


def test_a_tab_closed_in_the_middle_of_its_answer_does_not_block_the_next(slow_server: Server, open_tab: Callable[..., PageDriver]) -> None:
    gone, queued, left = open_tab(slow_server), open_tab(slow_server), open_tab(slow_server)
    for tab in (gone, queued, left):
        tab.open_example("cat")
    gone.ask("What is <region1>?")
    expect(gone.page.locator("#chat .message.answer .words")).to_contain_text("You asked")
    queued.ask("What is <region1>?")
    gone.page.close()
    queued.page.close()
    left.ask("What is <region2>?")
    left.wait_for_answers(1)


def test_nothing_uploaded_stays_on_disk(servers: Callable[..., Server], open_tab: Callable[..., PageDriver], tmp_path: Path) -> None:
    server = servers("web_demo.app", port_option=("--port",))
    tab = open_tab(server)
    photo = tmp_path / "private.png"
    Image.effect_noise((640, 480), 60).save(photo)
    tab.open_file(photo)
    tab.draw(tab.at(0.2, 0.2), tab.at(0.6, 0.6))
    tab.ask("What is <region1>?")
    tab.wait_for_answers(1)
    with tab.page.expect_download():
        tab.page.click("#save-png")
    size = photo.stat().st_size
    # Not even while the tab is open: the file is deleted as it is read.
    assert [path for path in server.files() if "private" in path.name or path.stat().st_size == size] == []
    tab.page.close()
    time.sleep(0.5)
    server.stop()
    assert server.files() == []
    assert list(server.temp.glob("gpt4roi-demo-*")) == []


def test_dark_mode_follows_the_system_and_the_button(real_server: Server, open_tab: Callable[..., PageDriver], artifacts: Path) -> None:
    tab = open_tab(real_server, color_scheme="dark")

    def brightness() -> int:
        return tab.page.evaluate("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).slice(0, 3).reduce((a, b) => a + +b, 0)")

    tab.open_example("rocket")
    assert brightness() < 200
    tab.shot(artifacts / "dark.png")
    tab.page.click("[data-act=theme]")
    assert brightness() > 600
