from __future__ import annotations

import random
import re
from typing import Any

import pytest

from gpt4roi.colors import COLORS
from recipes.embedded.conversations import Writer, colour_words, conversation, drawn_by_hand, with_article
from recipes.embedded.phrasings import ASK

LABELS = ("dog", "cat", "apple", "rice", "person")


def colours(**shares: float) -> list[float]:
    return [shares.get(name, 0.0) for name in COLORS]


def record(count: int = 3) -> dict[str, Any]:
    boxes = [(0, 0, 20, 20), (60, 50, 100, 100), (10, 60, 30, 90)]
    names = ("dog", "cat", "dog")
    return {
        "image": "a.jpg", "size_wh": [100, 100], "source": "coco_small", "captions": ["A dog and a cat."],
        "regions": [{"box_xyxy": list(b), "label": n, "colours": colours(red=0.7, blue=0.3)} for b, n in zip(boxes[:count], names, strict=False)],
    }  # fmt: skip


@pytest.mark.parametrize(("label", "text"), [("dog", "a dog"), ("apple", "an apple"), ("rice", "rice"), ("scissors", "scissors")])
def test_articles(label: str, text: str) -> None:
    assert with_article(label) == text


@pytest.mark.parametrize(
    ("shares", "text"),
    [({"red": 1.0}, "Mostly red."), ({"red": 0.6, "blue": 0.4}, "Mostly red and some blue."), ({"red": 0.9, "blue": 0.1}, "Mostly red.")],
)
def test_colour_words(shares: dict[str, float], text: str) -> None:
    assert colour_words(colours(**shares)) == text


def test_the_same_seed_gives_the_same_conversation_and_others_differ() -> None:
    one, same, other = (conversation(record(), random.Random(seed), LABELS, 6) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_one_region_can_be_asked_about_alone() -> None:
    for seed in range(50):
        cat = record()["regions"][1]
        sample = conversation(record(), random.Random(seed), LABELS, 1, about=cat)
        assert [region["label"] for region in sample["regions"]] == ["cat"] and len(sample["conversation"]) == 2
        if sample["conversation"][1]["content"].endswith("so no."):
            assert sample["conversation"][1]["content"] == "A cat, so no."


def test_mentions_stay_within_the_regions_and_turns_alternate() -> None:
    for seed in range(200):
        sample = conversation(record(), random.Random(seed), LABELS, 6)
        assert [turn["role"] for turn in sample["conversation"]] == ["user", "assistant"] * (len(sample["conversation"]) // 2)
        for turn in sample["conversation"]:
            assert "{" not in turn["content"]
            assert all(1 <= int(n) <= len(sample["regions"]) for n in re.findall(r"<region(\d+)>", turn["content"]))


def test_yes_and_no_are_true() -> None:
    for seed in range(100):
        writer = Writer(record(1), random.Random(seed), record(1)["regions"], LABELS)
        writer.yes_no()
        question, answer = (turn["content"] for turn in writer.turns)
        assert answer == ("A dog, so yes." if "dog" in question else "A dog, so no.")


def test_every_region_is_named_once_before_one_is_named_again() -> None:
    regions = record()["regions"]
    for seed in range(50):
        writer = Writer(record(), random.Random(seed), regions, LABELS)
        for _ in regions:
            random.choice((writer.name, writer.yes_no))()
        asked = [re.findall(r"<region(\d)>", turn["content"])[0] for turn in writer.turns[::2]]
        assert len(set(asked)) == len(regions)


def test_relations_are_true_of_the_boxes() -> None:
    regions = record(2)["regions"]
    for seed in range(300):
        writer = Writer(record(2), random.Random(seed), regions, LABELS)
        writer.relation()
        question, answer = (turn["content"] for turn in writer.turns)
        # Region 1 is the small one at the top left; the question names it first or second.
        subject = re.findall(r"<region(\d)>", question)[-1 if "compared with" in question.lower() else 0]
        seen = ("further left", "higher", "smaller") if subject == "1" else ("further right", "lower", "larger")
        assert any(word in answer for word in seen), (question, answer)
        if "<region" in answer:
            first = any(word in question.lower() for word in ("left", "higher", "top", "above", "smaller", "less", "tinier"))
            assert answer.endswith("so <region1>." if first else "so <region2>."), (question, answer)
        else:
            asked_first = re.search(r"\b(left|higher|top|up|above|over|smaller|less|lesser)\b", question.lower()) is not None
            assert answer.endswith("so yes." if asked_first == (subject == "1") else "so no."), (question, answer)


def test_hand_drawn_boxes_stay_near_and_inside() -> None:
    rng = random.Random(0)
    for _ in range(200):
        box = drawn_by_hand(rng, (0, 10, 50, 100), (60, 100))
        assert 0 <= box[0] < box[2] <= 60 and 0 <= box[1] < box[3] <= 100
        assert all(
            abs(moved - edge) <= 0.08 * side + 0.1 for moved, edge, side in zip(box, (0, 10, 50, 100), (50, 90, 50, 90), strict=True)
        )


def test_geometry_asks_for_no_name_and_fills_up_with_boxes_of_no_label() -> None:
    for seed in range(100):
        sample = conversation(record(1), random.Random(seed), LABELS, 8, geometry=True)
        assert len(sample["regions"]) >= 2 and sum("label" in region for region in sample["regions"]) == 1
        assert not any("dog" in turn["content"] for turn in sample["conversation"])


def test_one_region_is_not_asked_the_same_thing_twice() -> None:
    names = set(ASK["name"]) | set(ASK["name_next"])
    for seed in range(100):
        sample = conversation(record(1), random.Random(seed), LABELS, 3)
        asked = [turn["content"].replace("<region1>", "{a}") for turn in sample["conversation"] if turn["role"] == "user"]
        assert sum(question in names for question in asked) <= 1
