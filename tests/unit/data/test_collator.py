"""Fitting to a length, counting what is lost, and batches by a hand-written processor."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

from gpt4roi.conversation import Turn, check_mentions, mentioned_numbers
from gpt4roi.data.collator import RegionCollator, RegionDataset
from gpt4roi.data.errors import DataError
from gpt4roi.data.mixture import Mixture
from gpt4roi.data.sample import Sample
from gpt4roi.data.truncation import fit_to_length
from gpt4roi.regions import Region

BOX = (1.0, 2.0, 30.0, 40.0)


@dataclass
class Encoded:
    input_ids: list[str]


class WordProcessor:
    """A token a word, ten for an image; refuses what the real processor refuses."""

    def encode(self, conversation, *, has_image, known_numbers):
        for turn in conversation:
            if turn.role == "user":
                check_mentions(turn.content, known_numbers)
        return Encoded(["<image>"] * (10 if has_image else 0) + [word for turn in conversation for word in turn.content.split()])

    def __call__(self, images, conversations, boxes, labels):
        assert labels and len(images) == len(conversations) == len(boxes)
        for conversation, rows in zip(conversations, boxes, strict=True):
            self.encode(conversation, has_image=True, known_numbers=range(1, len(rows) + 1))
        return {"images": images, "texts": [[turn.content for turn in turns] for turns in conversations], "boxes": boxes}


def sample(num_pairs: int, answer_words: int = 4, name: str = "s", regions: int = 3, system: bool = False) -> Sample:
    turns = [Turn("system", "be brief")] if system else []
    for pair in range(num_pairs):
        turns += [Turn("user", f"what is <region{pair % regions + 1}>"), Turn("assistant", " ".join(["word"] * answer_words))]
    return Sample(Path("a.jpg"), (Region(0, BOX),) * regions, tuple(turns), name)


def count(one: Sample) -> int:
    return len(WordProcessor().encode(one.conversation, has_image=True, known_numbers=range(1, 9)).input_ids)


@pytest.mark.parametrize(
    ("num_pairs", "system", "max_length", "turns_left", "dropped"),
    [
        (0, False, 10, 0, 0),
        (3, False, 31, 6, 0),  # 10 + 3 * 7 fits exactly
        (3, False, 30, 4, 2),
        (3, False, 23, 2, 4),
        (3, False, 16, None, 6),  # not even the first answer
        (3, True, 19, 3, 4),  # the system turn stays with the first pair
        (9, False, 45, 10, 8),
    ],
)
def test_whole_turns_go_from_the_end(num_pairs, system, max_length, turns_left, dropped):
    original = sample(num_pairs, system=system)
    fitted, num_dropped = fit_to_length(original, count, max_length)
    assert num_dropped == dropped
    if turns_left is None:
        assert fitted is None
        return
    assert fitted is not None and fitted.conversation == original.conversation[:turns_left] and fitted.regions == original.regions
    assert count(fitted) <= max_length


def test_truncation_never_parts_a_placeholder_from_its_box():
    """The reference cut token sequences at 2048, through placeholders, and crashed (its section 7, defect 5)."""
    original = sample(60)
    for max_length in range(17, 120):
        fitted, _ = fit_to_length(original, count, max_length)
        assert fitted is not None and fitted.conversation[-1].role == "assistant"
        for turn in fitted.conversation:
            assert turn in original.conversation and all(number <= len(fitted.regions) for number in mentioned_numbers(turn.content))


def test_dropped_turns_and_samples_are_counted_and_their_place_is_taken():
    dataset = RegionDataset([sample(1, 100, "huge"), sample(4, name="long"), sample(1, name="fits")], WordProcessor(), max_length=20)
    assert [dataset[i].sample_id for i in range(3)] == ["long", "long", "fits"]
    assert dataset.truncation.counts() == {"samples": 4, "shortened": 2, "dropped_turns": 12, "dropped_samples": 1}
    assert "2 shortened by 12 turns, 1 left out" in str(dataset.truncation) and dataset.truncation
    scanned = dataset.scan()
    assert scanned.counts() == {"samples": 3, "shortened": 1, "dropped_turns": 6, "dropped_samples": 1}
    assert dataset.truncation.counts()["samples"] == 4, "a scan must not count as training"


def test_the_last_sample_hands_its_place_to_the_first():
    dataset = RegionDataset([sample(1, name="fits"), sample(1, 100, "huge")], WordProcessor(), max_length=20)
    assert dataset[1].sample_id == "fits"


def test_nothing_fits():
    dataset = RegionDataset([sample(1, 100)] * 3, WordProcessor(), max_length=20)
    with pytest.raises(DataError, match="no sample fits into 20 tokens"):
        dataset[0]


def test_a_text_without_a_image_has_no_image_tokens():
    dataset = RegionDataset([sample(1), Sample(None, (), sample(1, regions=1).conversation[1:], "text")], WordProcessor())
    assert [dataset.count_tokens(one) for one in dataset.samples] == [17, 4]


def test_without_a_limit_nothing_is_lost():
    dataset = RegionDataset([sample(9)], WordProcessor())
    assert len(dataset[0].conversation) == 18 and not dataset.truncation
    assert str(dataset.truncation) == "1 samples, none shortened"


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="workers by fork")
def test_counts_of_all_workers_arrive():
    samples = [sample(4, name=f"s{i}") for i in range(8)]
    dataset = RegionDataset(samples, WordProcessor(), max_length=20)
    loader = DataLoader(dataset, batch_size=2, num_workers=2, collate_fn=RegionCollator(WordProcessor()), multiprocessing_context="fork")
    assert sum(len(batch["texts"]) for batch in loader) == 8
    assert dataset.truncation.counts() == {"samples": 8, "shortened": 8, "dropped_turns": 48, "dropped_samples": 0}


def test_a_batch_has_images_conversations_and_boxes_side_by_side():
    text_only = Sample(None, (), (Turn("user", "hi"), Turn("assistant", "hello")), "chat")
    batch = RegionCollator(WordProcessor())([sample(1), text_only])
    assert batch["images"] == [Path("a.jpg"), None]
    assert batch["texts"] == [["what is <region1>", "word word word word"], ["hi", "hello"]]
    assert [list(boxes) for boxes in batch["boxes"]] == [[1, 2, 3], []]
    np.testing.assert_array_equal(batch["boxes"][0][2], BOX)


def test_the_refused_sample_is_named():
    wrong = Sample(Path("b.jpg"), (), (Turn("user", "what is <region4>"), Turn("assistant", "?")), "wrong:17")
    with pytest.raises(DataError, match=r"sample 'wrong:17' \(b.jpg\) cannot be used: .*<region4>"):
        RegionCollator(WordProcessor())([sample(1), wrong])


def test_epochs_and_lengths_reach_through():
    mixture = Mixture([[sample(1), sample(9)]])
    dataset = RegionDataset(mixture, WordProcessor(), max_length=50)
    dataset.set_epoch(3)
    assert mixture.epoch == 3
    assert dataset.lengths[0] < dataset.lengths[1] == 50
    assert RegionDataset([sample(1)], WordProcessor()).lengths == [dataset.lengths[0]]


def test_an_endless_stream_of_samples_that_do_not_fit_ends():
    class Stream(list):
        def __len__(self) -> int:
            return 10**9

        def __getitem__(self, index):
            return sample(1, 100)

    with pytest.raises(DataError, match="1000 samples in a row do not fit into 20 tokens"):
        RegionDataset(Stream(), WordProcessor(), max_length=20)[5]
