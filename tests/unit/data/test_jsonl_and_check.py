"""Our own format: what is read, every problem with its line, the summary."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpt4roi.conversation import Turn
from gpt4roi.data.check import check_file, draw_histogram, summary_text
from gpt4roi.data.errors import DataError
from gpt4roi.data.jsonl import read_jsonl, record_problems, to_record, write_jsonl
from gpt4roi.data.sample import Region


def good(image: str | None = "a.png", **changes: object) -> dict:
    record = {
        "image": image,
        "regions": [{"box_xyxy": [10, 20, 30.5, 40], "label": "dog", "colour": "brown"}],
        "conversation": [{"role": "user", "content": "What is <region1>?"}, {"role": "assistant", "content": "A dog on a sofa."}],
    }
    return {**record, **changes}


def test_a_record_becomes_a_sample(write_jsonl_file, tmp_path):
    path = write_jsonl_file(
        "mine.jsonl", [good(source="phone", id="x7", width=100, height=80), "", good(None, regions=[], conversation=CHAT)]
    )
    first, second = read_jsonl(path)
    assert first.image == tmp_path / "a.png" and first.image_size_wh == (100, 80) and first.sample_id == "mine:x7"
    assert first.regions == (Region((10.0, 20.0, 30.5, 40.0), "dog"),)
    assert first.conversation == (Turn("user", "What is <region1>?"), Turn("assistant", "A dog on a sofa."))
    assert first.extra == {"source": "phone"}
    assert second.image is None and second.sample_id == "mine:3"
    assert read_jsonl(path, "elsewhere")[0].image == Path("elsewhere/a.png")


CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]

PROBLEMS = [
    ([], "a line is one JSON object; got list"),
    (good(image=7), '"image" is the path of a picture; got 7'),
    (good(image=""), '"image" is the path of a picture'),
    (good(None), 'there are regions but no "image"'),
    (good(regions={"box_xyxy": []}, conversation=CHAT), '"regions" is a list'),
    (good(regions=[{"bbox": [1, 2, 3, 4]}]), '<region1>: a region needs "box_xyxy": [x0, y0, x1, y1] in pixels; got "bbox"'),
    (good(regions=[[1, 2, 3, 4]]), '<region1>: a region needs "box_xyxy"'),
    (good(regions=[{"box_xyxy": [1, 2, 3]}]), '"box_xyxy" is four numbers x0, y0, x1, y1; got [1, 2, 3]'),
    (good(regions=[{"box_xyxy": [1, 2, "3", 4]}]), '"box_xyxy" is four numbers'),
    (good(regions=[{"box_xyxy": [1, 2, True, 4]}]), '"box_xyxy" is four numbers'),
    (good(regions=[{"box_xyxy": [1, 2, float("inf"), 4]}]), '"box_xyxy" is four numbers'),
    (
        good(regions=[{"box_xyxy": [50, 60, 30, 40]}]),
        "is empty: x1 must be larger than x0 and y1 larger than y0 (is it x, y, width, height?)",
    ),
    (good(conversation=[]), '"conversation" is a list of'),
    (good(conversation="What?"), '"conversation" is a list of'),
    (good(conversation=[{"role": "human", "content": "a"}]), "turn 1: a turn is"),
    (
        good(conversation=[{"role": "user", "content": "<region2> or <region1>?"}, *CHAT[2:]]),
        "turn 1 names <region2> but the record has 1 regions",
    ),
    (good(conversation=[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "<region0>"}]), "turn 2 names <region0>"),
    (good(conversation=[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": " "}]), "turn 2 is empty"),
    (good(conversation=CHAT[1:2]), "there is no answer to learn from"),
    (good(conversation=[CHAT[2], CHAT[1]]), "there is no answer to learn from"),
]


@pytest.mark.parametrize(("record", "message"), PROBLEMS)
def test_what_is_wrong_is_said(record, message, write_jsonl_file):
    problems = record_problems(record)
    assert len(problems) == 1 and message in problems[0]
    path = write_jsonl_file("bad.jsonl", [good(), record])
    with pytest.raises(DataError) as raised:
        read_jsonl(path)
    assert str(raised.value).startswith(f"{path}, line 2: ") and message in str(raised.value)


def test_a_good_record_has_no_problems():
    assert record_problems(good()) == [] and record_problems({"conversation": CHAT}) == []


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match=r"none.jsonl: there is no such file"):
        read_jsonl(tmp_path / "none.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b'{"image": "caf\xe9"}\n')
    with pytest.raises(DataError, match="cannot be read"):
        read_jsonl(tmp_path / "latin.jsonl")
    (tmp_path / "broken.jsonl").write_text('{"image": "a.png",\n')
    with pytest.raises(DataError, match=r"line 1: not JSON: .* at column"):
        read_jsonl(tmp_path / "broken.jsonl")


def test_a_byte_order_mark_is_no_problem(tmp_path):
    (tmp_path / "bom.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(good()).encode())
    assert len(read_jsonl(tmp_path / "bom.jsonl")) == 1


def test_there_and_back(write_jsonl_file, tmp_path):
    path = write_jsonl_file("mine.jsonl", [good(width=100, height=80), good(None, regions=[], conversation=CHAT)])
    samples = read_jsonl(path)
    assert write_jsonl(tmp_path / "sub" / "mine.jsonl", (to_record(sample, tmp_path / "sub") for sample in samples)) == 2
    again = read_jsonl(tmp_path / "sub" / "mine.jsonl")
    assert [sample.conversation for sample in again] == [sample.conversation for sample in samples]
    assert [sample.regions for sample in again] == [sample.regions for sample in samples]
    assert again[0].image is not None and again[0].image.resolve() == samples[0].image


def test_a_failed_write_leaves_nothing_behind(tmp_path):
    def records():
        yield good()
        raise DataError("stop")

    with pytest.raises(DataError):
        write_jsonl(tmp_path / "out.jsonl", records())
    assert not (tmp_path / "out.jsonl").exists()


# Check


def test_every_problem_is_listed_with_its_line(write_jsonl_file, picture, tmp_path):
    picture("a.png", 100, 80)
    (tmp_path / "text.jpg").write_text("not a picture")
    cut = picture("cut.png", 60, 60)
    cut.write_bytes(cut.read_bytes()[:2000])
    path = write_jsonl_file(
        "mine.jsonl",
        [
            good(),
            "{oops",
            good("gone.png"),
            good("text.jpg"),
            good(regions=[{"box_xyxy": [90, 70, 140, 79]}, {"box_xyxy": [5, 5, 4, 9]}]),
            good(regions=[{"box_xyxy": [90, 70, 140, 79]}]),
            good(regions=[{"box_xyxy": [0, 0, 100.9, 80.9]}]),  # rounding
            good(width=200, height=80),
            good("cut.png"),
            good(),
            good(regions=[{"box_xyxy": [1, 1, 9, 9]}, {"box_xyxy": [2, 2, 9, 9]}]),
            good("gone.png", conversation=[]),
        ],
    )
    report = check_file(path)
    found: dict[int, list[str]] = {}
    for line, text in report.problems:
        found.setdefault(line, []).append(text)
    assert sorted(found) == [2, 3, 4, 5, 6, 8, 9, 12]
    assert "not JSON" in found[2][0]
    assert found[3] == [f"the picture {tmp_path / 'gone.png'} is missing"]
    assert "is broken: not a picture in a known format" in found[4][0]
    assert len(found[5]) == 1 and "<region2>: the box" in found[5][0]
    assert "<region1> (90, 70, 140, 79) leaves the picture, which is 100 x 80 pixels" in found[6][0]
    assert "says 200 x 80 pixels but the picture has 100 x 80" in found[8][0]
    assert "is broken" in found[9][0]
    assert len(found[12]) == 2, "all problems of a line, not the first"
    assert report.notes == [(10, "the same record as line 1"), (11, "no question names <region2>")]
    assert report.num_records == 12


def test_summary(write_jsonl_file, picture):
    picture("a.png", 100, 100)
    regions = [{"box_xyxy": [0, 0, 10, 10], "label": "dog"}, {"box_xyxy": [0, 0, 100, 100], "label": "cat"}]
    report = check_file(write_jsonl_file("mine.jsonl", [good(), good(regions=regions), good(None, regions=[], conversation=CHAT)]))
    assert report.problems == []
    assert report.totals == {"usable records": 3, "regions": 3, "answers": 3, "labels": 2, "pictures": 1}
    assert report.histograms["regions a record"] == {"0": 1, "1": 1, "2": 1}
    assert report.histograms["labels"] == {"dog": 2, "cat": 1}
    assert report.histograms["words an answer"] == {"up to 1": 1, "up to 8": 2}
    assert report.histograms["box area"] == {
        "up to 1.0% of the picture": 1,
        "up to 5.0% of the picture": 1,
        "up to 100.0% of the picture": 1,
    }
    text = summary_text(report)
    assert "3 records" in text and "█" in text
    json.dumps(report.to_dict())


def test_histograms_are_drawn_to_scale():
    assert draw_histogram("x", {}) == "x: none"
    rows = draw_histogram("x", {"one": 1, "twelve": 40}).splitlines()
    assert [row.count("█") for row in rows] == [0, 1, 40] and rows[1].endswith(" 1")


def test_an_empty_file_is_a_problem(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    assert check_file(tmp_path / "empty.jsonl").problems == [(1, "the file has no records")]


def test_a_json_list_is_explained(tmp_path):
    (tmp_path / "list.jsonl").write_text("[\n" + json.dumps(good()) + "\n]\n")
    assert "one object a line" in check_file(tmp_path / "list.jsonl").problems[0][1]
