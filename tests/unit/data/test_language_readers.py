"""Flickr30k Entities in both published forms, VCR, LLaVA-Instruct with and without detections; the reference's defects one by one."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt4roi.conversation import mentioned_numbers
from gpt4roi.data.errors import DataError
from gpt4roi.data.flickr30k_entities import parse_sentence, read_flickr30k_entities
from gpt4roi.data.llava_instruct import read_llava_instruct
from gpt4roi.data.mixture import Mixture
from gpt4roi.data.sample import Sample
from gpt4roi.data.vcr import read_vcr, words

# Flickr30k Entities

SENTENCE = "[/EN#1/people Two men] , [/EN#2/clothing/other in hats] , play [/EN#0/notvisual it] on [/EN#3/scene the street] near [/EN#4/people a man 's dog] ."


@pytest.mark.parametrize(
    ("line", "text", "phrases"),
    [
        ("", "", []),
        ("Nobody is here .", "Nobody is here.", []),
        (
            SENTENCE,
            "Two men, in hats, play it on the street near a man's dog.",
            [("1", "Two men"), ("2", "in hats"), ("0", "it"), ("3", "the street"), ("4", "a man's dog")],
        ),
    ],
)
def test_sentences_are_parsed(line, text, phrases):
    assert parse_sentence(line) == (text, phrases)


@pytest.fixture
def original_flickr(tmp_path) -> Path:
    objects = "".join(
        f"<object>{''.join(f'<name>{name}</name>' for name in names)}{body}</object>"
        for names, body in [
            (["1"], "<bndbox><xmin>10</xmin><ymin>20</ymin><xmax>40</xmax><ymax>80</ymax></bndbox>"),
            (["1"], "<bndbox><xmin>50</xmin><ymin>20</ymin><xmax>70</xmax><ymax>80</ymax></bndbox>"),
            (["2", "4"], "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"),
            (["3"], "<scene>1</scene><nobndbox>0</nobndbox>"),
        ]
    )
    size = "<size><width>100</width><height>90</height><depth>3</depth></size>"
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Sentences").mkdir()
    (tmp_path / "Annotations" / "77.xml").write_text(f"<annotation><filename>77.jpg</filename>{size}{objects}</annotation>")
    (tmp_path / "Sentences" / "77.txt").write_text(f"{SENTENCE}\n[/EN#3/scene A street] is empty .\n \n")
    return tmp_path / "Annotations"


def phrase_of_each_region(sample: Sample) -> dict[tuple[float, ...], str]:
    turns = sample.conversation[2:]
    asked = [mentioned_numbers(turn.content) for turn in turns[::2]]
    return {sample.regions[numbers[0] - 1].box_xyxy: turn.content for numbers, turn in zip(asked, turns[1::2], strict=True)}


EXPECTED_PHRASES = {
    (10.0, 20.0, 40.0, 80.0): "Two men",
    (50.0, 20.0, 70.0, 80.0): "Two men",
}


def test_flickr_original(original_flickr, tmp_path):
    samples = read_flickr30k_entities(original_flickr, "pictures")
    (sample,) = samples
    assert sample.image == Path("pictures/77.jpg") and sample.image_size_wh == (100, 90)
    assert sample.conversation[1].content == "Two men, in hats, play it on the street near a man's dog."
    assert mentioned_numbers(sample.conversation[0].content) == [1, 2, 3, 4]
    # One box belongs to two entities and is a region for each.
    assert sorted(region.label for region in sample.regions) == ["Two men", "Two men", "a man's dog", "in hats"]
    assert EXPECTED_PHRASES.items() <= phrase_of_each_region(sample).items()
    assert dict(samples.left_out) == {"captions without a usable box": 1}
    (tmp_path / "train.txt").write_text("12\n")
    assert read_flickr30k_entities(original_flickr, "", split_file=tmp_path / "train.txt") == []


def test_shuffled_boxes_keep_their_phrases(original_flickr):
    """In the reference the boxes did not follow the shuffled labels (its issue 22)."""
    orders = set()
    for seed in range(12):
        (sample,) = read_flickr30k_entities(original_flickr, "", seed=seed)
        orders.add(tuple(region.box_xyxy for region in sample.regions))
        assert EXPECTED_PHRASES.items() <= phrase_of_each_region(sample).items()
        assert all(sample.conversation[3 + 2 * i].content == region.label for i, region in enumerate(sample.regions))
    assert len(orders) > 3


def test_flickr_refusals(original_flickr, tmp_path):
    (original_flickr / "77.xml").write_text("<annotation><size><width>wide</width></size></annotation>")
    with pytest.raises(DataError, match=r"77.xml: a size or a corner is not a number"):
        read_flickr30k_entities(original_flickr, "")
    (original_flickr / "77.xml").write_text("<annotation>")
    with pytest.raises(DataError, match=r"77.xml: not XML"):
        read_flickr30k_entities(original_flickr, "")
    with pytest.raises(DataError, match="no such folder of sentence files"):
        read_flickr30k_entities(original_flickr, "", sentences=tmp_path / "nowhere")


def mdetr_flickr(spans: list[list[list[int]]], caption: str = "Two men in hats play cards .") -> dict[str, Any]:
    image = {
        "file_name": "77.jpg",
        "height": 90,
        "width": 100,
        "id": 4,
        "caption": caption,
        "dataset_name": "flickr",
        "tokens_negative": [[0, len(caption)]],
        "sentence_id": 0,
        "original_img_id": 77,
    }
    annotations = [
        {"area": 400, "iscrowd": 0, "image_id": 4, "category_id": 1, "id": i, "bbox": [10 * i, 0, 20, 20], "tokens_positive": span}
        for i, span in enumerate(spans)
    ]
    return {"info": [], "licenses": [], "images": [image], "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}


def test_flickr_of_mdetr(write_json):
    path = write_json("final_flickr_mergedGT_train.json", mdetr_flickr([[[0, 7]], [[11, 15], [21, 26]]]))
    (sample,) = read_flickr30k_entities(path, "p")
    assert phrase_of_each_region(sample) == {(0.0, 0.0, 20.0, 20.0): "Two men", (10.0, 0.0, 30.0, 20.0): "hats cards"}
    assert sample.conversation[1].content == "Two men in hats play cards ."


def test_flickr_spans_must_fit(write_json):
    path = write_json("final.json", mdetr_flickr([[[20, 90]]]))
    with pytest.raises(DataError, match=r"annotation 0: tokens_positive \[\[20, 90\]\] does not fit"):
        read_flickr30k_entities(path, "")


# VCR


def vcr_record(**changes: Any) -> dict[str, Any]:
    """Two people and a car, in the fields of `train.jsonl`."""
    record = {
        "movie": "3015_CHARLIE_ST_CLOUD",
        "objects": ["person", "person", "car"],
        "interesting_scores": [0],
        "answer_likelihood": "possible",
        "img_fn": "lsmdc_3015_CHARLIE_ST_CLOUD/a.jpg",
        "metadata_fn": "lsmdc_3015_CHARLIE_ST_CLOUD/a.json",
        "answer_orig": "1 is pointing at 3 because 2 people don't move",
        "question_orig": "Why is 1 pointing at 3 ?",
        "rationale_orig": "It is 2's car.",
        "question": ["Why", "is", [0], "pointing", "at", [2], "?"],
        "answer_choices": [
            ["Because", "2", "people", "do", "n't", "move", "."],
            [[0], "likes", [1], "'", "s", "shoes", "."],
            [[0, 1], "are", "tired", "."],
            ["No", "."],
        ],
        "answer_label": 0,
        "rationale_choices": [["No", "."], ["It", "is", [1], "'s", "car", "."], ["A", "."], ["B", "."]],
        "rationale_label": 1,
        "img_id": "train-0",
        "question_number": 0,
        "annot_id": "train-0",
        "match_fold": "train-0",
        "match_index": 0,
    }
    return {**record, **changes}


@pytest.fixture
def vcr(tmp_path, write_jsonl_file, write_json):
    def write(*records: dict[str, Any], boxes: int = 3) -> Path:
        boxes_list = [[10.0 * i, 5.0, 10.0 * i + 40, 60.0, 0.99] for i in range(boxes)]
        metadata = {"boxes": boxes_list, "segms": [[] for _ in range(boxes)], "names": ["person"] * boxes, "width": 200, "height": 100}
        write_json("vcr1images/lsmdc_3015_CHARLIE_ST_CLOUD/a.json", metadata)
        return write_jsonl_file("train.jsonl", list(records))

    return write


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([], ""),
        (["What", "is", [2], "doing", "?"], "What is <region3> doing?"),
        ([[0], "and", [1, 2], "."], "<region1> and <region2> and <region3>."),
        ([[0, 1, 2], "wait", "."], "<region1>, <region2> and <region3> wait."),
        (["Are", "2", "people", "near", [0], "?"], "Are 2 people near <region1>?"),
        ([[0], "'", "s", "hat", "is", "n't", "red", ",", "it", "'s", "blue", "."], "<region1>'s hat isn't red, it's blue."),
        (["I", "don", "'", "t", "know", "(", "yet", ")", "."], "I don't know (yet)."),
    ],
)
def test_tokenised_text_becomes_prose(tokens, expected):
    assert words(tokens, 3) == expected


@pytest.mark.parametrize("token", [[3], [-1], [0, 7], [], [1.0], 2, None])
def test_tokens_that_are_no_objects_are_refused(token):
    with pytest.raises(DataError, match="do not fit the record's 3 objects"):
        words(["a", token], 3)


def test_vcr_numbers_count_from_zero_and_the_last_object_stays(vcr, tmp_path):
    """The reference named object n by `objects[n]` with n from 1: names off by one, items with the last object dropped (its defect 1)."""
    samples = read_vcr(vcr(vcr_record()), tmp_path / "vcr1images")
    (sample,) = samples
    assert [region.label for region in sample.regions] == ["person", "person", "car"]
    assert sample.regions[2].box_xyxy == (20.0, 5.0, 60.0, 60.0)
    question, answer, why, rationale = (turn.content for turn in sample.conversation)
    assert "Why is <region1> pointing at <region3>?" in question
    assert rationale == "It is <region2>'s car."
    assert "<region2>" in question, "the rationale speaks of region 2, so the question must show it"
    assert "<" not in why
    assert sample.image == tmp_path / "vcr1images/lsmdc_3015_CHARLIE_ST_CLOUD/a.jpg" and sample.image_size_wh == (200, 100)
    assert answer == "Because 2 people don't move."


def test_vcr_digits_in_words_are_not_objects(vcr, tmp_path):
    """Any digits counted as object numbers in the reference, and items with large ones were dropped (its defect 4)."""
    record = vcr_record(question=["Are", "there", "12", "people", "in", "1940", "?"], answer_choices=[["Yes", ",", "12", "."]] * 4)
    (sample,) = read_vcr(vcr(record), tmp_path / "vcr1images")
    assert sample.conversation[1].content == "Yes, 12."
    assert mentioned_numbers(sample.conversation[0].content) == [2]  # of the rationale alone


def test_vcr_introduces_all_objects_on_request(vcr, tmp_path):
    record = vcr_record(rationale_choices=[["No", "."]] * 4)
    (mentioned,) = read_vcr(vcr(record), tmp_path / "vcr1images")
    assert mentioned_numbers(mentioned.conversation[0].content) == [1, 3]
    (everything,) = read_vcr(vcr(record), tmp_path / "vcr1images", introduce="all")
    assert sorted(mentioned_numbers(everything.conversation[0].content)) == [1, 2, 3]


@pytest.mark.parametrize(
    ("task", "answer", "shown"),
    [
        ("q2a", "(A)", ["(C) <region1> and <region2> are tired.", "(D) No."]),
        ("qa2r", "(B)", ["(B) It is <region2>'s car.", "2 people don't move."]),
    ],
)
def test_vcr_multiple_choice(vcr, tmp_path, task, answer, shown):
    (sample,) = read_vcr(vcr(vcr_record()), tmp_path / "vcr1images", task=task)
    assert sample.conversation[1].content == answer and len(sample.conversation) == 2
    assert all(text in sample.conversation[0].content for text in shown)


@pytest.mark.parametrize(
    ("changes", "boxes", "message"),
    [
        ({"objects": ["person"]}, 3, "names 1 objects but .*a.json has 3 boxes"),
        ({"question": ["Who", [3]]}, 3, r"object numbers \[3\] do not fit the record's 3 objects"),
        ({"metadata_fn": "none.json"}, 3, "none.json: there is no such file"),
        ({"answer_label": 9}, 3, "a VCR record needs"),
    ],
)
def test_vcr_refusals_name_the_line(vcr, tmp_path, changes, boxes, message):
    path = vcr(vcr_record(), vcr_record(**changes), boxes=boxes)
    with pytest.raises(DataError, match=f"train.jsonl, line 2: .*{message}"):
        read_vcr(path, tmp_path / "vcr1images")


def test_vcr_test_set_without_answers_is_refused(vcr, tmp_path):
    record = {key: value for key, value in vcr_record().items() if key != "answer_label"}
    with pytest.raises(DataError, match="needs 'answer_label'"):
        read_vcr(vcr(record), tmp_path / "vcr1images")


# LLaVA-Instruct


def llava_entry(image: str | None = "000000033471.jpg", num_pairs: int = 2) -> dict[str, Any]:
    turns = []
    for pair in range(num_pairs):
        turns += [
            {"from": "human", "value": "What are the colors of the bus?\n<image>" if pair == 0 else f"Question {pair}?"},
            {"from": "gpt", "value": f"Answer {pair}."},
        ]
    return {"id": "000000033471", **({} if image is None else {"image": image}), "conversations": turns}


def test_llava_dialogues(write_json):
    path = write_json("llava_instruct_150k.json", [llava_entry(), llava_entry(None, 1), llava_entry(num_pairs=0)])
    samples = read_llava_instruct(path, "train2017")
    with_image, text_only = samples
    assert with_image.image == Path("train2017/000000033471.jpg") and text_only.image is None
    assert [turn.content for turn in with_image.conversation] == [
        "What are the colors of the bus?",
        "Answer 0.",
        "Question 1?",
        "Answer 1.",
    ]
    assert dict(samples.left_out) == {"dialogues without an answer": 1}
    assert with_image.sample_id != text_only.sample_id


@pytest.fixture
def llava(tmp_path, write_json, image):
    """Thirty dialogues about one image of 200 x 100 pixels, with three detections of which one scores too low."""
    image("train2017/000000033471.jpg", 200, 100)
    boxes = np.array([[0.5, 0.5, 0.9, 1.02, 0.6], [0.1, 0.2, 0.5, 0.6, 0.9], [0.0, 0.0, 0.3, 0.3, 0.2]], dtype=np.float32)
    detections = [{"filename": "COCO_train2017_000000033471.jpg", "pred_bboxes": boxes, "labels": np.array([1, 2, 0])}]
    (tmp_path / "detections.pkl").write_bytes(pickle.dumps(detections))
    as_lists = [{**detections[0], "pred_bboxes": boxes.tolist(), "labels": [1, 2, 0]}]
    write_json("detections.json", as_lists)
    (tmp_path / "names.txt").write_text("aardvark\nshaver_(electric)\nbus\nshaving_cream\n")
    path = write_json("llava_instruct_150k.json", [llava_entry() for _ in range(30)])

    def read(name: str = "detections.pkl", **options: Any):
        names = tmp_path / "names.txt"
        return read_llava_instruct(path, tmp_path / "train2017", detections=tmp_path / name, class_names=names, **options)

    return read


@pytest.mark.parametrize("name", ["detections.pkl", "detections.json"])
def test_llava_shows_detections_to_some(llava, name):
    samples = llava(name)
    shown = [sample for sample in samples if sample.regions]
    assert 5 < len(shown) < 25
    for sample in shown:
        assert [region.label for region in sample.regions] == ["bus", "shaver (electric)"], "best first, low score left out"
        np.testing.assert_allclose(sample.regions[1].box_xyxy, (100, 50, 180, 100), atol=1e-3)
        first = sample.conversation[0].content
        assert "<region1> (bus) and <region2> (shaver (electric))" in first and "What are the colors of the bus?" in first
    assert all(not mentioned_numbers(sample.conversation[0].content) for sample in samples if not sample.regions)


def test_dialogues_do_not_grow(llava):
    """The reference added its yes/no turns to the stored annotation at every visit: 4, 8, 12 turns (its defect 2)."""
    samples = llava(detection_share=1.0, yes_no_share=1.0)
    mixture = Mixture([samples], seed=1)
    lengths = [[len(mixture.sample(index, epoch).conversation) for index in range(30)] for epoch in range(4)]
    assert lengths == [[8] * 30] * 4
    assert llava(detection_share=1.0, yes_no_share=1.0) == samples
    added = {tuple(turn.content for turn in sample.conversation[5::2]) for sample in samples}
    assert added == {("Yes.", "No."), ("No.", "Yes.")}


def test_yes_and_no_are_true(llava):
    for sample in llava(detection_share=1.0, yes_no_share=1.0):
        for question, answer in zip(sample.conversation[4::2], sample.conversation[5::2], strict=True):
            (number,) = mentioned_numbers(question.content)
            label = sample.regions[number - 1].label
            assert (label in question.content) == (answer.content == "Yes.")


def test_no_question_is_made_where_nothing_was_detected(llava):
    """The reference drew its yes-question from an empty set if nothing was detected (its defect 2)."""
    samples = llava(min_score=0.99, detection_share=1.0, yes_no_share=1.0)
    assert all(len(sample.conversation) == 4 and not sample.regions for sample in samples)


def test_a_shifted_class_list_is_refused(llava, tmp_path):
    """A lost comma made the reference's LVIS list one name short, unseen (its defect 3)."""
    (tmp_path / "names.txt").write_text("aardvark\nshaver_(electric)shaving_cream\n")
    with pytest.raises(DataError, match="record 0: label 2 has no name: there are 2 class names"):
        llava()


def test_llava_refusals(write_json, tmp_path):
    turns = [{"from": "gpt", "value": "hello"}]
    with pytest.raises(DataError, match="record 1: an answer comes before any question"):
        read_llava_instruct(write_json("a.json", [llava_entry(), {"conversations": turns}]), "")
    with pytest.raises(DataError, match=r'record 0: a turn is \{"from"'):
        read_llava_instruct(write_json("a.json", [{"conversations": [{"from": "bard", "value": "x"}]}]), "")
    twice = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}, {"from": "gpt", "value": "c"}]
    with pytest.raises(DataError, match="record 0: an answer comes before any question"):
        read_llava_instruct(write_json("a.json", [{"conversations": twice}]), "")
    with pytest.raises(DataError, match="is a list of"):
        read_llava_instruct(write_json("a.json", {"conversations": []}), "")
    with pytest.raises(DataError, match="detections need class_names"):
        read_llava_instruct(write_json("a.json", []), "", detections=write_json("d.json", []))


def test_sample_ids_are_the_same_everywhere(write_json):
    content = json.loads(json.dumps([llava_entry(), llava_entry()]))
    first = [sample.sample_id for sample in read_llava_instruct(write_json("one/llava.json", content), "here")]
    assert first == [sample.sample_id for sample in read_llava_instruct(write_json("two/llava.json", content), "elsewhere")]
    assert len(set(first)) == 2
