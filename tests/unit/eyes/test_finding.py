"""The shipped eyes on the repository's own photographs, through the conversation: names, presence, counts, places, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpt4roi.answers import FindError
from gpt4roi.chat import RegionChat
from gpt4roi.data.check import check_file

SAMPLES = Path(__file__).parents[3] / "docs" / "samples"


@pytest.fixture(scope="module")
def loaded() -> RegionChat:
    return RegionChat.from_pretrained()


@pytest.fixture
def cat(loaded: RegionChat) -> RegionChat:
    chat = loaded.new_session()
    chat.set_image(SAMPLES / "cat.jpg")
    return chat


def test_the_cat_is_found_named_and_counted(cat: RegionChat) -> None:
    found = cat.find("cat")
    assert [region.label for region in found] == ["cat"]
    assert found[0].origin == "found" and found[0].score is not None and found[0].score > 0.5
    assert cat.find("cats")[0].number == found[0].number
    answer = cat.ask("how many cats are there?")
    assert answer.text == "One cat: <region1>." and [region.number for region in answer.regions] == [1]
    assert cat.ask("is there a cat?").text == "Yes, I see a cat: <region1>."


def test_what_is_absent_is_said_to_be(cat: RegionChat) -> None:
    assert cat.find("zebra") == []
    answer = cat.ask("is there a dog?")
    assert answer.text == "No, I see no dog here." and answer.regions == ()


def test_a_box_is_named_and_kinds_are_known(cat: RegionChat) -> None:
    cat.add_region((20, 10, 400, 290))
    answer = cat.ask("what is this?")
    assert "cat" in answer.text.lower() and max(answer.scores, key=lambda name: answer.scores[name]) == "cat"
    assert cat.ask("is it an animal?").text.startswith("Yes")
    assert cat.ask("is it a car?").text.startswith("No")
    assert cat.ask("Welches Tier ist das?").text.lower().startswith("a cat")
    assert "cannot tell" in cat.ask("what is its name?").text


def test_what_was_found_can_be_spoken_of(cat: RegionChat) -> None:
    cat.ask("where is the cat?")
    assert cat.ask("what color is it?").text.startswith("Mostly")


def test_a_rejected_region_does_not_come_back(cat: RegionChat) -> None:
    number = cat.find("cat")[0].number
    cat.remove_region(number)
    assert cat.find("cat") == []


def test_bad_requests_are_one_sentence_and_lose_nothing(cat: RegionChat) -> None:
    cat.find("cat")
    for what, words in (
        ("", "nothing to look for"),
        ("cat, Cat", "stands twice"),
        ("flurb", "do not know"),
        (",".join("abcdefgh" * 20), "at most 80"),
    ):
        with pytest.raises(FindError, match=words):
            cat.find(what)
    with pytest.raises(FindError, match="0 to 1"):
        cat.find("cat", threshold=float("nan"))
    assert list(cat.regions) == [1]


def test_thin_and_tiny_images(loaded: RegionChat) -> None:
    for size in ((1, 1), (3, 400), (400, 3)):
        chat = loaded.new_session()
        chat.set_image(Image.fromarray(np.full((size[1], size[0], 3), 90, np.uint8)))
        assert isinstance(chat.find("dog"), list)


def test_a_conversation_about_found_regions_is_training_data(cat: RegionChat, tmp_path: Path) -> None:
    cat.ask("where is the cat?")
    cat.ask("what is <region1>?")
    cat.save(tmp_path / "talk.jsonl")
    assert check_file(tmp_path / "talk.jsonl").problems == []
