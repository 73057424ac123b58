"""What counts as an answer: names, yes and no, colours, relations, refusals, option letters, boxes."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest

from gpt4roi.evaluation.class_names import NameMatcher, coco_synonyms, is_refusal, noun_phrase, spelling, strict_match, with_coco_synonyms
from gpt4roi.evaluation.items import Item
from gpt4roi.evaluation.prediction_boxes import predicted_boxes
from gpt4roi.evaluation.short_answers import colours_in, relation_matches, yes_or_no
from gpt4roi.evaluation.task import choice_of

COCO = NameMatcher(with_coco_synonyms(coco_synonyms()))


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ("", None),
        ("dog", "dog"),
        ("This is a dog.", "dog"),
        ("It looks like a red bus", "bus"),
        ("It's a slice of pizza.", "pizza"),
        ("a dog on a sofa", "dog"),
        ("A hot dog", "hot dog"),
        ("two hot dogs", "hot dog"),
        ("a teddy bear", "teddy bear"),
        ("The object in the box is a man riding a horse.", "person"),
        ("Looks like two knives", "knife"),
        ("a close-up of a bowl of soup", "bowl"),
        ("a glass of wine", "cup"),
        ("This appears to be a sofa, brown", "couch"),
        ("Yes, this is a cat.", "cat"),
        ("<region1> is a TV monitor", "tv"),
        ("Region 1 shows a cell phone.", "cell phone"),
        ("I think it is a motorbike", "motorcycle"),
        ("That is a stuffed animal", "teddy bear"),
        ("This is not a dog.", None),
        ("I cannot tell.", None),
        ("a wombat", None),
        ("dogma", None),
    ],
)
def test_names(answer: str, named: str | None) -> None:
    assert COCO.resolve(answer) == named


def test_a_class_of_the_vocabulary_is_never_a_synonym() -> None:
    matcher = NameMatcher({"person": ("face", "man"), "face": ()})
    assert matcher.resolve("a face") == "face" and matcher.resolve("the man") == "person"


def test_synonyms_cover_the_80_names_and_mean_one_class() -> None:
    table = coco_synonyms()
    assert len(table) == 80
    owners: dict[str, str] = {}
    for name, words in table.items():
        for word in words:
            assert word not in table, f"{word} is a class of its own"
            assert owners.setdefault(word, name) == name, f"{word} belongs to {owners[word]} and {name}"
            assert COCO.resolve(word) == name


@pytest.mark.parametrize(
    ("answer", "names", "same"),
    [
        ("Dog.", ["dog"], True),
        ("a dog", ["dog"], True),
        ("traffic_light", ["traffic light"], True),
        ("this is a dog", ["dog"], False),
        ("sofa", ["couch"], False),
    ],
)
def test_strict(answer: str, names: list[str], same: bool) -> None:
    assert strict_match(answer, names) is same


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        ("I cannot tell that from the picture.", True),
        ("I can't know who owns it.", True),
        ("The picture does not show that.", True),
        ("It is impossible to say.", True),
        ("I don't know.", True),
        ("No.", False),
        ("It is not a dog.", False),
        ("A can of soup.", False),
        ("The owner is Bob.", False),
    ],
)
def test_refusals(answer: str, refused: bool) -> None:
    assert is_refusal(answer) is refused


def test_noun_phrase_keeps_the_adjectives() -> None:
    assert noun_phrase("It is a large red double decker bus with people") == "large red double decker bus"


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("Yes.", "yes"),
        ("No, it is a cat.", "no"),
        ("The answer is yes", "yes"),
        ("yes and no", "yes"),
        ("maybe yes maybe no", None),
        ("a dog", None),
        ("", None),
    ],
)
def test_yes_or_no(answer: str, value: str | None) -> None:
    assert yes_or_no(answer) == value


@pytest.mark.parametrize(
    ("answer", "colours"),
    [
        ("Mostly grey and white.", ["gray", "white"]),
        ("not red but blue", ["blue"]),
        ("navy", ["blue"]),
        ("a dog", []),
        ("Red, red", ["red"]),
    ],
)
def test_colours(answer: str, colours: list[str]) -> None:
    assert colours_in(answer) == colours


@pytest.mark.parametrize(
    ("answer", "acceptable", "right"),
    [
        ("It is to the left of region 2.", ["left"], True),
        ("Left.", ["left", "to the left"], True),
        ("It is left, no, right of it", ["left"], False),
        ("It is not left of it", ["left"], False),
        ("right", ["left"], False),
        ("<region1> is above <region2>", ["above"], True),
        ("It is underneath", ["below"], False),
        ("Region 2 is larger.", ["<region2>"], True),
        ("Region 1 is larger than region 2.", ["<region2>"], False),
        ("region2", ["<region2>", "region 2"], True),
        ("No, region 1 is not above region 2.", ["no"], True),
        ("Yes, it is.", ["no"], False),
        ("", ["left"], False),
    ],
)
def test_relations(answer: str, acceptable: list[str], right: bool) -> None:
    assert relation_matches(answer, acceptable) is right


@pytest.mark.parametrize(
    ("output", "choice"),
    [
        ([-1.0, -0.5, -3.0, -2.0], 1),
        ({"log_probs": [-4.0, -3.0, -2.0, -1.0], "num_tokens": [9, 1, 1, 1]}, 3),
        (2, 2),
        (4, None),
        (True, None),
        ("B", 1),
        ("(C) because", 2),
        ("D is right", 3),
        ("The answer is (B).", 1),
        ("A dog", None),
        ("Because", None),
        ("E", None),
        ("", None),
        (None, None),
        ([-1.0, float("nan"), 0.0, 0.0], None),
        ([-1.0], None),
    ],
)
def test_choices(output: Any, choice: int | None) -> None:
    assert choice_of(output, 4) == choice


@pytest.mark.parametrize(
    ("output", "box"),
    [
        ([1, 2, 3, 4], (1, 2, 3, 4)),
        ([[1, 2, 3, 4], [5, 6, 7, 8]], (1, 2, 3, 4)),
        ("The cat is at [10, 20, 30.5, 40].", (10, 20, 30.5, 40)),
        ("<box>(10,20),(30,40)</box>", (10, 20, 30, 40)),
        ({"box": [10, 20, 30, 40], "format": "xywh"}, (10, 20, 40, 60)),
        ({"box": [0.5, 0.5, 1.0, 1.0], "space": "unit"}, (100, 50, 200, 100)),
        ({"box": [250, 0, 500, 1000], "space": "thousandths"}, (50, 0, 100, 100)),
        # 200 x 100 padded to 200 x 200: 50 pixels above and below.
        ({"box": [0.0, 0.25, 1.0, 0.75], "space": "square"}, (0, 0, 200, 100)),
        ({"text": "[0, 250, 500, 500]", "space": "square_thousandths"}, (0, 0, 100, 50)),
        ([-5, -5, 500, 500], (0, 0, 200, 100)),
        ("no box here", None),
        ([1, 2, 3], None),
        (None, None),
    ],
)
def test_boxes_of_predictions(output: Any, box: tuple[float, ...] | None) -> None:
    boxes = predicted_boxes(Item(id="1", question="", image_size_wh=(200, 100)), output)
    assert (boxes[0] if boxes else None) == (pytest.approx(box) if box else None)


LISTS = {
    "opposites": ["Hardhat", "NO-Hardhat", "Mask", "NO-Mask", "Safety Vest", "NO-Safety Vest", "Person"],
    "masks": ["with_mask", "without_mask", "mask_weared_incorrect"],
    "ripeness": ["ripe", "not ripe", "over-ripe"],
    "grades": ["A", "A+", "A-", "B", "B+", "B-", "C", "C#", "C++"],
    "verdicts": ["ok", "ng", "yes", "no", "unknown", "none", "this", "one", "the"],
    "thai": ["ม้า", "ม่า", "มา", "แมว"],
    "hindi": ["बिल", "बुल", "बल"],
    "accents": ["café", "cafe", "naïve"],
    "case": ["Helmet", "helmet", "HELMET"],
    "parts": ["dog", "hot dog", "dog house", "bus", "red bus"],
    "numbers": ["1", "10", "100", "1.5", "15"],
}


@pytest.mark.parametrize("names", LISTS.values(), ids=LISTS)
def test_an_answer_that_is_a_class_name_means_that_class_and_no_other(names: list[str]) -> None:
    """The oracle is right everywhere; every OTHER class, in NFC and NFD, is wrong; an empty answer is nothing."""
    matcher = NameMatcher(dict.fromkeys(names, ()))
    for name in names:
        for answer in (name, f" {name}\n", unicodedata.normalize("NFD", name)):
            assert matcher.resolve(answer) == name
        for other in names:
            if other != name and spelling(other) != spelling(name):
                assert not strict_match(other, [name])
    for nothing in ("", " ", ".", "?!"):
        assert matcher.resolve(nothing) is None and not any(strict_match(nothing, [name]) for name in names)


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        ("no hardhat", None),
        ("This is no hardhat.", None),
        ("No, a hardhat.", "Hardhat"),
        ("No it is a hardhat", "Hardhat"),
        ("Without a hardhat", None),
        ("A person wearing a hardhat", "Person"),
    ],
)
def test_a_negated_name_is_not_the_name(answer: str, name: str | None) -> None:
    assert NameMatcher({"Hardhat": (), "Person": ()}).resolve(answer) == name


def test_a_negated_class_in_a_sentence() -> None:
    assert NameMatcher({"Hardhat": (), "NO-Hardhat": ()}).resolve("This is a NO-Hardhat.") == "NO-Hardhat"
