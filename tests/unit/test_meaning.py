"""What people mean: regions that are named in other spellings, or not at all."""

from __future__ import annotations

import pytest

from gpt4roi.meaning import color_question, is_small_talk, meant, speaks_of_image, spell_mentions


@pytest.mark.parametrize(
    ("typed", "spelt"),
    [
        ("What is <Region1>?", "What is <region1>?"),
        ("What is <region 1>?", "What is <region1>?"),
        ("What is region 1?", "What is <region1>?"),
        ("what is in box 1", "what is in <region1>"),
        ("what is the Box #1", "what is <region1>"),
        ("#1 or #2?", "<region1> or <region2>?"),
        ("is region 7 red", "is <region7> red"),
        ("box 9 of cereal, #9", "box 9 of cereal, #9"),
        ("issue#1 &#1;", "issue#1 &#1;"),
        ("<region2>", "<region2>"),
    ],
)
def test_spellings_of_a_mention(typed: str, spelt: str) -> None:
    assert spell_mentions(typed, {1, 2}) == spelt


def test_without_regions_only_brackets_are_mentions() -> None:
    assert spell_mentions("region 1 of France, box 2, #3, <region 4>", set()) == "region 1 of France, box 2, #3, <region4>"


@pytest.mark.parametrize(
    "question",
    ["What is in the picture?", "describe the photo", "How many cups are there?", "is there a dog", "what do we see here?", "Where is the cat?", "wie viele Hunde?",
     "¿cuántas cebras hay?", "tell me the number of jets", "what is shown in this photo", "find the remote", "any lions around?", "does the photo have a laptop in it?"],
)  # fmt: skip
def test_questions_about_the_whole_image(question: str) -> None:
    assert speaks_of_image(question) and meant(question, [1, 2]).numbers == ()


@pytest.mark.parametrize(
    "question",
    ["What is this?", "what creature is that", "where is it?", "Is it a cat?", "What color?", "what is in the box?", "is he standing?", "describe it", "Was ist das?", "which tool do we have here?"],
)  # fmt: skip
def test_questions_about_a_region_that_is_not_named(question: str) -> None:
    assert meant(question, [1]).numbers == (1,)
    assert meant(question, [1, 2]).numbers == (2,), "the last one made"
    assert meant(question, [1, 2], selected=1).numbers == (1,)
    assert meant(question, []).numbers == ()


@pytest.mark.parametrize("text", ["hi there", "Thanks!", "hello", "what kind of things can I ask you?", "who are you?"])
def test_small_talk_is_about_no_region(text: str) -> None:
    assert is_small_talk(text) and meant(text, [1]).numbers == ()


def test_the_region_takes_the_place_of_the_word_that_points() -> None:
    assert meant("What is this?", [3]).text == "What is <region3>?"
    assert meant("what is in the selected box?", [3]).text == "what is in <region3>?"
    assert meant("What colour?", [3]).text == "<region3>: What colour?"


def test_named_regions_are_kept_as_they_are() -> None:
    assert meant("Is <region2> left of region 1?", [1, 2, 3], selected=3).text == "Is <region2> left of <region1>?"


def test_and_this_one_repeats_the_question_about_another_region() -> None:
    before = "What color is <region1>?"
    assert meant("and <region2>?", [1, 2], previous=before).text == "What color is <region2>?"
    assert meant("And this one?", [1, 2], selected=2, previous=before).text == "What color is <region2>?"
    assert meant("What about box 2?", [1, 2], previous=before).text == "What color is <region2>?"
    assert meant("and now?", [], previous=before).text == "and now?"


def test_a_selected_region_that_is_gone_is_not_meant() -> None:
    assert meant("What is this?", [2], selected=1).numbers == (2,)


@pytest.mark.parametrize(
    ("question", "offered"),
    [
        ("What color is <region1>?", ()),
        ("<region1>: colour?", ()),
        ("Welche Farbe hat <region1>?", ()),
        ("Is <region1> red?", ("red",)),
        ("<region1>: is the dog in front black or white?", ("black", "white")),
        ("are they grey", ("gray",)),
        ("Is <region1> a black cat?", None),
        ("What is <region1>?", None),
        ("Is the red car left of <region1>?", None),
    ],
)
def test_questions_about_colour(question: str, offered: tuple[str, ...] | None) -> None:
    assert color_question(question) == offered
