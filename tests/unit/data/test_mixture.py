"""The mixture: proportions, and that every item is a function of (seed, epoch, index)."""

from __future__ import annotations

import pickle
from collections import Counter

import pytest

from gpt4roi.data.dialogue import dialogue_sample
from gpt4roi.data.errors import DataError
from gpt4roi.data.mixture import Mixture
from gpt4roi.data.sample import Sample
from gpt4roi.data.templates import Question
from gpt4roi.regions import Region


def part(name: str, count: int) -> list[Sample]:
    region = Region(0, (0.0, 0.0, 5.0, 5.0), name)
    return [dialogue_sample(None, [region], [(Question("name", (1,)), name)], sample_id=f"{name}{i}") for i in range(count)]


def content(mixture: Mixture, epoch: int) -> list[tuple[str, str]]:
    samples = [mixture.sample(index, epoch) for index in range(len(mixture))]
    return [(sample.sample_id, sample.conversation[0].content) for sample in samples]


@pytest.mark.parametrize(
    ("parts", "weights", "length", "message"),
    [
        ([], None, None, "no data sets"),
        ([part("a", 2), []], None, None, "data set 2 of the mixture has no samples"),
        ([part("a", 2)], [1.0, 2.0], None, "needs 1 positive weights"),
        ([part("a", 2)], [0.0], None, "positive weights"),
        ([part("a", 2)], [float("nan")], None, "positive weights"),
        ([part("a", 2)], None, 5, "only together with weights"),
        ([part("a", 2), part("b", 2)], [1.0, 1.0], 1, "cannot have length 1"),
    ],
)
def test_what_cannot_be_mixed_is_refused(parts, weights, length, message):
    with pytest.raises(DataError, match=message):
        Mixture(parts, weights, length=length)


def test_without_weights_every_sample_comes_once():
    mixture = Mixture([part("a", 3), part("b", 2)])
    assert [sample.sample_id for sample in mixture[0:5]] == ["a0", "a1", "a2", "b0", "b1"]
    assert mixture[-1].sample_id == "b1"
    with pytest.raises(IndexError):
        mixture[5]


@pytest.mark.parametrize(
    ("weights", "length", "counts"),
    [([1, 1], None, [6, 6]), ([3, 1], 8, [6, 2]), ([1, 1, 1], 10, None), ([1, 1000], 12, [1, 11]), ([1e-9, 1e-9], 4, [2, 2])],
)
def test_weights_give_shares(weights, length, counts):
    mixture = Mixture([part(name, 12 // len(weights)) for name in "abc"[: len(weights)]], weights, length=length)
    assert sum(mixture.counts) == len(mixture) == (length or 12)
    assert counts is None or mixture.counts == counts


def test_a_part_with_a_small_share_is_seen_whole_over_the_epochs_and_evenly():
    mixture = Mixture([part("a", 10), part("b", 4)], [1, 2], length=15)  # 5 places for 10 samples, 10 places for 4
    seen = Counter(sample_id for epoch in range(4) for sample_id, _ in content(mixture, epoch))
    assert all(seen[f"a{i}"] == 2 for i in range(10)) and all(seen[f"b{i}"] == 10 for i in range(4))


def test_items_depend_on_seed_epoch_and_index_alone():
    def build(seed: int) -> Mixture:
        return Mixture([part("a", 20), part("b", 7)], [1, 1], seed=seed)

    one, other = build(3), build(3)
    expected = content(one, 5)
    # Another process, workers by pickle, reading backwards, and jumping to an epoch as a resumed run does.
    assert content(pickle.loads(pickle.dumps(other)), 5) == expected
    assert [(s.sample_id, s.conversation[0].content) for s in (build(3).sample(i, 5) for i in reversed(range(27)))][::-1] == expected
    other.set_epoch(5)
    assert [(s.sample_id, s.conversation[0].content) for s in other] == expected
    assert content(one, 6) != expected
    assert content(build(4), 5) != expected
    orders = [[sample_id for sample_id, _ in content(build(seed), 0)] for seed in range(3)]
    assert orders[0] != orders[1] != orders[2], "the seed decides the order, not only the words"


def test_words_change_with_the_epoch_while_regions_and_answers_stay():
    mixture = Mixture([part("dog", 1)])
    samples = [mixture.sample(0, epoch) for epoch in range(12)]
    assert len({sample.conversation[0].content for sample in samples}) > 4
    assert {(sample.conversation[1].content, sample.regions) for sample in samples} == {("dog", (Region(1, (0.0, 0.0, 5.0, 5.0), "dog"),))}
    assert all("<region1>" in sample.conversation[0].content for sample in samples)


def test_lengths_follow_the_text():
    long = dialogue_sample(None, (), [("x" * 400, "y" * 400)], sample_id="long")
    short = dialogue_sample(None, (), [("x" * 40, "y" * 40)], sample_id="short")
    assert Mixture([[long], [short]]).lengths == [200, 20]
    weighted = Mixture([[long], [short]], [1, 3], length=8)
    assert weighted.lengths == [200, 200, 20, 20, 20, 20, 20, 20]
