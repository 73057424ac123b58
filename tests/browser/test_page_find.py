"""The find field: candidates by words, a slider that filters them, taken or rejected one by one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import expect

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
    return opened


def find(tab: PageDriver, what: str) -> None:
    tab.page.fill(".find input", what)
    tab.page.press(".find input", "Enter")


def test_the_slider_filters_and_what_is_taken_becomes_a_region(tab: PageDriver, artifacts: Path) -> None:
    tab.draw(tab.at(0.1, 0.6), tab.at(0.4, 0.9))
    find(tab, "cup")
    hits = tab.page.locator("#canvas .candidate")
    expect(hits).to_have_count(1)
    expect(tab.page.locator(".hits .count")).to_have_text("1 found, 2 below the least score")
    slider = tab.page.locator(".hits input")
    slider.fill("0.15")
    expect(hits).to_have_count(2)
    slider.fill("0.05")
    expect(hits).to_have_count(3)
    tab.shot(artifacts / "find.png")
    # Nothing is a region before somebody takes it.
    assert list(tab.boxes()) == [1]
    hits.nth(0).locator(".yes").click()
    expect(tab.page.locator('#canvas .region.found[data-number="2"] .tag-text')).to_have_text("2 cup 0.90")
    expect(hits).to_have_count(2)
    assert list(tab.boxes()) == [1, 2]
    # A drag over a candidate draws all the same.
    tab.draw(tab.at(0.45, 0.4), tab.at(0.6, 0.9))
    slider.fill("0.05")
    tab.page.click("[data-act=take-all]")
    expect(tab.regions).to_have_count(5)
    record = tab.conversation()
    assert [(one["number"], one.get("score"), one.get("origin")) for one in record["regions"]] == [
        (1, None, None),
        (2, 0.9, "found"),
        (3, None, None),
        (4, 0.2, "found"),
        (5, 0.1, "found"),
    ]


def test_what_is_rejected_does_not_come_back(tab: PageDriver) -> None:
    find(tab, "cup")
    hits = tab.page.locator("#canvas .candidate")
    hits.first.locator(".no").focus()
    tab.page.keyboard.press("Enter")
    expect(hits).to_have_count(0)
    find(tab, "cup")
    expect(tab.page.locator(".hits .sentence")).to_contain_text("I see no cup that I am sure of; 2 weaker guesses appear")
    expect(hits).to_have_count(0)
    expect(tab.regions).to_have_count(0)


def test_nothing_found_and_mistakes_are_sentences(tab: PageDriver, double_server: Server, open_tab: Callable[..., PageDriver]) -> None:
    sentence = tab.page.locator(".hits .sentence")
    find(tab, "unicorn")
    expect(sentence).to_have_text("I see no unicorn here.")
    find(tab, "  ")
    expect(sentence).to_contain_text("There is nothing to look for")
    empty = open_tab(double_server)
    find(empty, "cup")
    expect(empty.page.locator(".hits .sentence")).to_contain_text("There is no picture yet")


def test_finding_with_the_embedded_model(real_server: Server, open_tab: Callable[..., PageDriver]) -> None:
    tab = open_tab(real_server)
    expect(tab.page.locator("#status")).to_have_text("Ready", timeout=120_000)
    tab.open_example("cat")
    find(tab, "cat")
    expect(tab.page.locator("#canvas .candidate text")).to_contain_text("cat 0.9", timeout=60_000)
    tab.page.click("[data-act=take-all]")
    expect(tab.page.locator('#canvas .region.found[data-number="3"]')).to_be_visible()
    find(tab, "wombattery")
    expect(tab.page.locator(".hits .sentence")).to_contain_text("I do not know what 'wombattery' looks like")
