"""Question templates: every role, in every variety, names what it must."""

from __future__ import annotations

import string
from collections import Counter

import pytest

from gpt4roi.conversation import Turn, mentioned_numbers
from gpt4roi.data.dialogue import dialogue_sample, shuffled_chunks, usable_box
from gpt4roi.data.errors import DataError
from gpt4roi.data.label_questions import LABEL_ROLES, TEXT_ROLES, place_in_words, questions_about_labels
from gpt4roi.data.sample import Sample
from gpt4roi.data.templates import TEMPLATES, Question, join_words, worded
from gpt4roi.regions import Region

# Fields that every template of a role must have.
FIELDS = {
    "why": set(),
    "compare": {"first", "second"},
    "yes_no": {"regions", "word"},
    "count": {"regions", "word"},
    "about": {"regions", "text"},
    "about_detected": {"regions", "text"},
    "choose": {"text"},
}


@pytest.mark.parametrize("role", TEMPLATES)
def test_every_role_has_many_different_templates_with_its_fields(role):
    templates = TEMPLATES[role]
    assert len(templates) >= 12 and len(set(templates)) == len(templates)
    for template in templates:
        fields = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
        assert set(fields) == FIELDS.get(role, {"regions"}) and len(fields) == len(set(fields)), template


@pytest.mark.parametrize(
    ("words", "expected"),
    [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")],
)
def test_join_words(words, expected):
    assert join_words(words) == expected


def test_a_question_names_its_regions_whatever_the_words():
    for seed in range(200):
        assert mentioned_numbers(Question("list", (2, 1, 3)).text(seed)) == [2, 1, 3]
        assert sorted(mentioned_numbers(Question("compare", (4, 2)).text(seed))) == [2, 4]


def test_notes_stand_beside_their_region():
    text = Question("about_detected", (1, 2), {"text": "Well?"}, ("dog", "cat")).text(0)
    assert "<region1> (dog) and <region2> (cat)" in text and "Well?" in text


@pytest.mark.parametrize(("word", "wrong"), [("apple", " a apple"), ("dog", " an dog")])
def test_articles(word, wrong):
    assert not any(wrong in Question("yes_no", (1,), {"word": word}).text(seed) for seed in range(100))


def test_braces_in_a_text_are_only_braces():
    assert "what is {regions}?" in Question("about", (1,), {"text": "what is {regions}?"}).text(3)


def test_unknown_role():
    with pytest.raises(DataError, match="no question templates for 'sing'"):
        Question("sing").text()


def test_the_choice_is_even_and_depends_on_the_key():
    counts = Counter(Question("name", (1,)).text(seed) for seed in range(3200))
    assert len(counts) == len(TEMPLATES["name"]) and max(counts.values()) < 1.4 * min(counts.values())
    # A literal, so that another machine, Python or release must agree.
    assert Question("name", (1,)).text(0, 0, "a", 0) == "Please name the object inside <region1>."


def test_only_templated_turns_change_their_words():
    region = Region(0, (0, 0, 9, 9), "dog")
    sample = dialogue_sample(None, [region], [("fixed words", "yes"), (Question("name", (1,)), "dog")], sample_id="s")
    seen = {worded(sample, 0, epoch).conversation for epoch in range(20)}
    assert len({turns[2].content for turns in seen}) > 5
    assert {(turns[0].content, turns[1].content, turns[3].content) for turns in seen} == {("fixed words", "yes", "dog")}
    plain = Sample(None, (), (Turn("user", "a"), Turn("assistant", "b")), "p")
    assert worded(plain, 0, 1) is plain


# Questions from labels

SIZE = (300, 300)
DOG, CAT, APPLE = Region(0, (0, 0, 50, 50), "dog"), Region(0, (250, 250, 300, 300), "cat"), Region(0, (100, 100, 200, 200), "apple")


@pytest.mark.parametrize(
    ("role", "regions", "answers"),
    [
        ("name", [], []),
        ("name", [DOG, CAT], ["dog", "cat"]),
        ("name", [Region(0, (0, 0, 9, 9)), CAT], ["cat"]),
        ("list", [DOG], []),
        ("list", [DOG, CAT], ["<region1>: dog, <region2>: cat"]),
        ("count", [DOG], []),
        ("count", [DOG, DOG, DOG], ["Three."]),
        ("count", [DOG] * 13, ["13."]),
        ("locate", [DOG, APPLE, CAT], ["Top left.", "Centre.", "Bottom right."]),
        ("compare", [DOG], []),
    ],
)
def test_labels_answer(role, regions, answers):
    assert [answer for _, answer in questions_about_labels(regions, [role], SIZE, ["dog", "cat", "apple"], 0)] == answers


def test_compare_tells_the_truth():
    for seed in range(20):
        ((question, answer),) = questions_about_labels([DOG, CAT], ["compare"], SIZE, [], seed)
        first, second = question.numbers
        names = {1: "a dog", 2: "a cat"}
        assert answer == f"Not the same: <region{first}> is {names[first]} and <region{second}> is {names[second]}."
    ((_, answer),) = questions_about_labels([APPLE, APPLE], ["compare"], SIZE, [], 0)
    assert answer.startswith("The same: ") and "is an apple" in answer


def test_yes_no_is_balanced_and_true():
    answers = []
    for seed in range(200):
        ((question, answer),) = questions_about_labels([DOG], ["yes_no"], SIZE, ["dog", "cat", "apple"], seed)
        assert answer == ("Yes." if question.values["word"] == "dog" else "No, it is a dog.")
        answers.append(answer)
    assert 70 < answers.count("Yes.") < 130
    ((_, only),) = questions_about_labels([DOG], ["yes_no"], SIZE, ["dog"], 1)
    assert only == "Yes."


def test_locate_needs_the_size():
    assert questions_about_labels([DOG], ["locate"], None, [], 0) == []


def test_every_label_role_has_templates():
    assert set(LABEL_ROLES) <= set(TEMPLATES) and not set(LABEL_ROLES) & set(TEXT_ROLES)
    assert set(TEXT_ROLES) | set(TEXT_ROLES.values()) <= set(TEMPLATES)


@pytest.mark.parametrize("role", TEXT_ROLES)
def test_a_label_that_is_a_text_is_the_answer(role):
    regions = [DOG, Region(0, (1, 1, 9, 9)), Region(0, (2, 2, 9, 9), "two white cats asleep on a bed")]
    exchanges = questions_about_labels(regions, [role], SIZE, [], 0)
    assert [answer for _, answer in exchanges] == ["dog", "two white cats asleep on a bed"]
    assert [question.numbers for question, _ in exchanges] == [(1,), (3,)]
    assert [question.role for question, _ in exchanges] == [role, TEXT_ROLES[role]]


@pytest.mark.parametrize(
    ("box", "place"),
    [
        ((0, 0, 300, 300), "Centre"),
        ((0, 250, 10, 300), "Bottom left"),
        ((140, 0, 160, 10), "Top centre"),
        ((290, 140, 300, 160), "Middle right"),
        ((300, 300, 300, 300), "Bottom right"),
    ],
)
def test_places(box, place):
    assert place_in_words(box, SIZE) == place


# Boxes and order


@pytest.mark.parametrize(
    ("box", "size", "expected"),
    [
        ((1, 2, 3, 4), None, (1, 2, 3, 4)),
        ((-5, -5, 20, 20), (10, 12), (0, 0, 10, 12)),
        ((11, 0, 20, 5), (10, 12), None),
        ((3, 3, 3, 9), (10, 12), None),
        ((9, 3, 3, 9), (10, 12), None),
        ((float("nan"), 0, 5, 5), (10, 12), None),
        ((0, 0, 0.5, 5), (10, 12), None),
    ],
)
def test_usable_boxes(box, size, expected):
    assert usable_box(box, size) == expected


@pytest.mark.parametrize(("count", "limit", "sizes"), [(0, 5, []), (5, 5, [5]), (11, 5, [5, 5, 1])])
def test_chunks_keep_every_item_once(count, limit, sizes):
    chunks = shuffled_chunks(range(count), limit, "key")
    assert [len(chunk) for chunk in chunks] == sizes and sorted(item for chunk in chunks for item in chunk) == list(range(count))
