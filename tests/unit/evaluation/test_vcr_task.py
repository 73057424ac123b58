"""VCR on a hand-made file: 0-based token lists, neutral names, whole image, everyone, joint accuracy, the leaderboard."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from gpt4roi.evaluation.items import EvaluationError, Item
from gpt4roi.evaluation.predictors import OraclePredictor, predict
from gpt4roi.evaluation.tasks.vcr import Vcr, kept_objects, neutral_name, render_tokens
from tests.unit.evaluation.small_data import vcr, vcr_record

OBJECTS = ["person", "dog", "person", "cup"]


def items_of(folder: Path, *records: dict[str, Any], **changes: Any) -> list[Item]:
    return Vcr(dataclasses.replace(vcr(folder, list(records)), **changes)).items()


def test_token_lists_count_from_zero(tmp_path: Path) -> None:
    q2a, _ = items_of(tmp_path, vcr_record(0, answer=0))
    # Mentioned: 0 and 2 in the question, 1 in an answer; the cup (3) is in no answer. Region 1 is the whole image.
    assert q2a.boxes_xyxy == ((0, 0, 80, 60), (5, 5, 30, 50), (30, 30, 50, 55), (50, 5, 75, 55))
    assert q2a.question.endswith("Why is <region2> and <region4> pointing?")
    assert "<region2> (person), <region3> (dog) and <region4> (person)" in q2a.question
    assert q2a.options[0] == "<region2> likes <region3>."
    assert q2a.options[q2a.answer_index or 0] == "<region2> likes <region3>."


def test_neutral_names_in_the_text_are_words_and_no_objects(tmp_path: Path) -> None:
    q2a, _ = items_of(tmp_path, vcr_record(0))
    assert q2a.options[1] == "Casey asked <region4>'s dog."
    assert render_tokens([[0, 2], "and", [1]], neutral_name(OBJECTS)) == "Casey and Riley and the dog"


def test_rationales_are_conditioned_on_the_true_answer(tmp_path: Path) -> None:
    _, qa2r = items_of(tmp_path, vcr_record(0, answer=2, rationale=3))
    assert qa2r.id == "val-0:qa2r:2" and qa2r.answer_index == 3
    # Kept now: 0, 2 (question and answer 2) and 1, 3 (rationales).
    assert "Answer: <region2> and <region4> are lost." in qa2r.question
    assert qa2r.options[0] == "There is <region5>." and len(qa2r.boxes_xyxy) == 5


@pytest.mark.parametrize(
    ("texts", "kept"),
    [
        ([["Who", "is", [1], "?"]], [1]),
        ([["Is", "everyone", "here", "?"]], [0, 2]),
        ([["Everyone", "likes", [3], "."]], [0, 2, 3]),
        ([["What", "is", "this", "?"]], [0, 2]),
        ([[[2], "and", [0]]], [0, 2]),
    ],
)
def test_object_filter(texts: list[list[Any]], kept: list[int]) -> None:
    assert kept_objects(texts, OBJECTS, "here") == kept


def test_nothing_mentioned_and_nobody_there_leaves_the_whole_image(tmp_path: Path) -> None:
    plain: dict[str, Any] = {"question": ["Why", "?"], "answer_choices": [["a"]] * 4, "rationale_choices": [["b"]] * 4}
    record = vcr_record(0, objects=["dog", "dog", "cup", "cup"], **plain)
    q2a, _ = items_of(tmp_path, record)
    assert q2a.boxes_xyxy == ((0, 0, 80, 60),)
    assert q2a.question == "<region1> is the whole picture.\nWhy?"


def test_an_object_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="val-0 refers to object 4, but the picture has 4 objects counted from 0"):
        items_of(tmp_path, vcr_record(0, question=["Is", [4], "here", "?"]))


def test_boxes_that_do_not_match_the_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"names 2 objects, but .* has 4 boxes"):
        items_of(
            tmp_path, vcr_record(0, objects=["person", "person"], question=["x"], answer_choices=[["a"]] * 4, rationale_choices=[["b"]] * 4)
        )


def test_joint_accuracy_pairs_by_id_and_not_by_position(tmp_path: Path) -> None:
    task = Vcr(vcr(tmp_path, [vcr_record(n, answer=0, rationale=0) for n in range(4)]))
    items = task.items()
    # Right: q2a of 0, 1, 2; qa2r of 1, 2, 3. Both: 1 and 2.
    right = {"val-0:q2a", "val-1:q2a", "val-2:q2a", "val-1:qa2r:0", "val-2:qa2r:0", "val-3:qa2r:0"}
    shuffled = sorted(items, key=lambda item: item.id[::-1])
    figures = task.figures(shuffled, [{"choice": 0 if item.id in right else 1} for item in shuffled])
    assert {name: figure.value for name, figure in figures.items()} == {"q2a": 75, "qa2r": 75, "q2ar": 50}
    assert figures["q2ar"].n == 4


def test_leaderboard_has_four_and_sixteen_probabilities(tmp_path: Path) -> None:
    task = Vcr(dataclasses.replace(vcr(tmp_path), leaderboard=True))
    items = task.items()
    assert len(items) == 8 * 5
    parsed = [task.parse(item, output) for item, output in zip(items, predict(OraclePredictor(), items), strict=True)]
    (path,) = task.extra_files(items, parsed, tmp_path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:6] == ["annot_id", "answer_0", "answer_1", "answer_2", "answer_3", "rationale_conditioned_on_a0_0"]
    assert len(rows) == 8 and len(rows[0]) == 21 and list(rows[0])[-1] == "rationale_conditioned_on_a3_3"
    for row in rows:
        assert sum(float(row[f"answer_{i}"]) for i in range(4)) == pytest.approx(1)
    # Rationales given a wrong answer are no part of the accuracies.
    assert task.figures(items, parsed)["qa2r"].n == 8
    # A file with holes is not written.
    assert task.extra_files(items[:-1], parsed[:-1], tmp_path) == []


def test_a_test_split_has_no_labels(tmp_path: Path) -> None:
    record = vcr_record(0)
    del record["answer_label"], record["rationale_label"]
    with pytest.raises(EvaluationError, match="test split; give --leaderboard"):
        items_of(tmp_path, record)
    items = items_of(tmp_path, record, leaderboard=True)
    assert len(items) == 5 and Vcr(dataclasses.replace(vcr(tmp_path, [record]), leaderboard=True)).figures(items, [None] * 5) == {}


def test_letters_are_listed_with_their_options(tmp_path: Path) -> None:
    q2a, _ = items_of(tmp_path, vcr_record(0), variant="letter")
    assert q2a.options == ("A", "B", "C", "D") and "(B) Casey asked <region4>'s dog." in q2a.question
    generated, _ = items_of(tmp_path, vcr_record(0), variant="generated")
    assert generated.wants == "text" and generated.references == ("B",)
