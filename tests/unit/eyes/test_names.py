"""The table of names: how many, what words mean, what is a kind of what."""

from __future__ import annotations

from gpt4roi.eyes.names import forms, listed, names, plural, with_article


def meant(word: str) -> set[str]:
    found = names().lookup(word)
    return set() if found is None else {names()[index] for index in found.ids}


def test_a_thousand_names() -> None:
    assert len(names()) >= 1000
    assert len({entry.name for entry in names().entries if entry.of is None}) == len(names().common)


def test_synonyms_plurals_and_slips() -> None:
    assert meant("sofa") == meant("couches") == {"couch"}
    assert meant("people") == {"person"}
    assert meant("zebrra") == {"zebra"}
    assert names().lookup("flurb") is None


def test_kinds_come_from_wordnet() -> None:
    assert {"dog", "zebra", "turtle", "bird"} <= meant("animal")
    assert {"carrot", "broccoli", "cauliflower"} <= meant("vegetable")
    assert {"car", "bicycle", "airplane"} <= meant("vehicle")
    assert not meant("animal") & {"car", "chair", "banana"}


def test_a_narrower_word_does_not_prove_itself() -> None:
    boy = names().lookup("boy")
    assert boy is not None and {names()[i] for i in boy.ids} == {"person"} and not boy.is_exact


def test_words_as_people_write_them() -> None:
    assert with_article("apple") == "an apple" and with_article("scissors") == "scissors" and with_article("bus") == "a bus"
    assert plural("knife", 2) == "knives" and plural("knife", 1) == "knife" and plural("sheep", 3) == "sheep"
    assert forms("cactus") == ("cactus",) and "tomato" in forms("tomatoes")
    assert listed(["a", "b", "c"]) == "a, b and c"
