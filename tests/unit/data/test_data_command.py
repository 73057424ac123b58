"""`gpt4roi data …` from its arguments to its output, exit codes and files."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from gpt4roi.conversation import Turn
from gpt4roi.data import cli
from gpt4roi.data.errors import DataError
from gpt4roi.data.html import draw_regions, page_html, text_html
from gpt4roi.data.jsonl import read_jsonl
from gpt4roi.data.sample import Region, Sample
from gpt4roi.data.split import parse_parts, split_by_picture


def command(*arguments: object) -> int:
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    cli.add_arguments(parser)
    return cli.run(parser.parse_args([str(argument) for argument in arguments]))


@pytest.fixture
def csv_file(tmp_path, picture) -> Path:
    rows = ["image,x0,y0,x1,y1,label"]
    for i in range(10):
        picture(f"photos/{i}.png")
        rows += [f"{i}.png,{5 + i},5,{40 + i},50,dog", f"{i}.png,50,10,90,{60 + i},cat"]
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def imported(csv_file, tmp_path) -> Path:
    output = tmp_path / "out" / "mine.jsonl"
    options = ["--annotations", csv_file, "--images", tmp_path / "photos", "--output", output]
    assert command("import", "csv", *options, "--question", "name", "--question", "locate") == 0
    return output


def test_import_writes_a_file_that_checks_clean(imported, capsys):
    assert command("check", imported) == 0
    shown = capsys.readouterr().out
    assert "no problems" in shown and "10 records" in shown and "20 regions" in shown
    samples = read_jsonl(imported)
    assert all(sample.image is not None and sample.image.is_file() for sample in samples)
    assert not Path(json.loads(imported.read_text().splitlines()[0])["image"]).is_absolute()


def test_import_is_repeatable(imported, csv_file, tmp_path):
    first = imported.read_text()
    again = ["import", "csv", "--annotations", csv_file, "--images", tmp_path / "photos", "--output", imported]
    command(*again, "--question", "name", "--question", "locate")
    assert imported.read_text() == first
    command(*again, "--question", "name", "--question", "locate", "--seed", 1)
    assert imported.read_text() != first


def test_import_goes_on_without_missing_pictures_when_told(csv_file, tmp_path, capsys):
    (tmp_path / "photos" / "3.png").unlink()
    options = ["--annotations", csv_file, "--images", tmp_path / "photos", "--output", tmp_path / "mine.jsonl"]
    with pytest.raises(DataError, match=r"3.png.*--skip-missing"):
        command("import", "csv", *options)
    assert command("import", "csv", *options, "--skip-missing", "--max-regions", 1) == 0
    shown = capsys.readouterr()
    assert "18 records, 18 regions" in shown.out and "pictures that are missing" in shown.err


def test_check_exits_with_2_and_names_the_line(imported, tmp_path, capsys):
    lines = imported.read_text().splitlines()
    lines[3] = lines[3].replace("<region1>", "<region9>")
    imported.write_text("\n".join(lines))
    (tmp_path / "photos/0.png").unlink()
    assert command("check", imported) == 2
    shown = capsys.readouterr().out
    assert f"{imported}, line 4: turn 1 names <region9> but the record has 2 regions" in shown and "0.png is missing" in shown
    assert command("check", imported, "--json") == 2
    report = json.loads(capsys.readouterr().out)
    assert report["records"] == 10 and len({problem["line"] for problem in report["problems"]}) == 2
    command("check", imported, "--max-problems", 1)
    assert "more problems" in capsys.readouterr().out


def test_split_puts_no_picture_on_two_sides(imported, tmp_path, picture):
    records = [json.loads(line) for line in imported.read_text().splitlines()]
    # The same picture twice under its name, and once as a copy under another.
    copied = picture("photos/copy.png")
    copied.write_bytes((tmp_path / "photos/3.png").read_bytes())
    records += [records[3], {**records[3], "image": "../photos/copy.png"}, {**records[4], "image": "../photos/./4.png"}]
    imported.write_text("\n".join(json.dumps(record) for record in records))
    options = ["split", imported, "--output", tmp_path / "parts", "--parts", "train=0.6,val=0.2,test=0.2"]
    assert command(*options) == 0
    sides: dict[bytes, set[str]] = {}
    total = 0
    for part in ("train", "val", "test"):
        samples = read_jsonl(tmp_path / "parts" / f"mine.{part}.jsonl")
        assert samples
        total += len(samples)
        for sample in samples:
            assert sample.image is not None
            sides.setdefault(sample.image.read_bytes(), set()).add(part)
    assert total == 13 and len(sides) == 10 and all(len(parts) == 1 for parts in sides.values())
    first = (tmp_path / "parts/mine.train.jsonl").read_text()
    command(*options)
    assert (tmp_path / "parts/mine.train.jsonl").read_text() == first
    command(*options, "--seed", 5)
    assert (tmp_path / "parts/mine.train.jsonl").read_text() != first


@pytest.mark.parametrize(
    ("keys", "parts", "counts"),
    [
        (["a", "b"], {"train": 0.99, "val": 0.01}, {"train": 1, "val": 1}),
        (list("abcdefghij"), {"train": 0.8, "val": 0.2}, {"train": 8, "val": 2}),
        (["same"] * 9 + ["b", "c"], {"train": 0.5, "val": 0.5}, None),
    ],
)
def test_shares(keys, parts, counts):
    for seed in range(20):
        sides = split_by_picture(keys, parts, seed)
        assert set(sides) == set(parts), "no part is empty"
        assert counts is None or {name: sides.count(name) for name in parts} == counts
        assert len(set(zip(keys, sides, strict=True))) == len(set(keys))


def test_wrong_shares():
    with pytest.raises(DataError, match="1 different pictures cannot be split into 2 parts"):
        split_by_picture(["a", "a"], {"train": 0.5, "val": 0.5}, 0)
    for text in ("", "train", "train=x", "train=0", "train=-1", "train=1,train=2", "a/b=1", "train=inf"):
        with pytest.raises(DataError, match="parts are names with shares"):
            parse_parts(text)
    assert parse_parts("train=3, val=1") == {"train": 0.75, "val": 0.25}


# Show

SCRIPT = "<script>alert(1)</script>"


def test_show_writes_one_page(imported, tmp_path, capsys):
    assert command("show", imported, "--output", tmp_path / "page", "--limit", 3) == 0
    page = (tmp_path / "page/index.html").read_text()
    assert capsys.readouterr().out.strip() == str(tmp_path / "page/index.html")
    assert page.count("<article>") == 3 and page.count("data:image/jpeg;base64,") == 3
    assert "http" not in page, "nothing is loaded from elsewhere"
    trained = re.findall(r"<span class=trained>(.*?)</span>", page, re.DOTALL)
    assert "dog&lt;|im_end|&gt;" in trained and not any("region" in text for text in trained)
    assert "<span class=region>region 1</span>" in page


def test_show_takes_any_reader(write_json, picture, tmp_path):
    picture("p/7.png", 120, 90)
    annotations = [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [2, 2, 34, 34]}]
    images = [{"id": 7, "file_name": "7.png", "width": 120, "height": 90}]
    path = write_json("coco.json", {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "kite"}]})
    options = ["--reader", "coco_detection", "--images", tmp_path / "p", "--output", tmp_path, "--option", "roles=[locate]"]
    assert command("show", path, *options) == 0
    assert "Top left." in (tmp_path / "index.html").read_text()
    with pytest.raises(DataError, match="an option is KEY=VALUE"):
        command("show", path, *options, "--option", "roles")


def test_what_users_wrote_is_escaped():
    turns = (Turn("user", SCRIPT), Turn("assistant", SCRIPT))
    page = page_html([Sample(None, (Region((0, 0, 1, 1), SCRIPT),), turns, SCRIPT)], SCRIPT)
    assert "<script" not in page


def test_a_missing_picture_is_said_on_the_page():
    turns = (Turn("user", "Hi"), Turn("assistant", "Hello"))
    assert "does not exist" in page_html([Sample(Path("gone.png"), (), turns, "s")], "t")


@dataclass
class Encoded:
    input_ids: list[int]
    trained: list[bool]
    region_numbers: list[int]


class LetterProcessor:
    """A token a letter; 1 is the picture, 2 a region."""

    image_token_id, region_token_id = 1, 2
    tokenizer: LetterProcessor

    def __init__(self) -> None:
        self.tokenizer = self

    def encode(self, conversation, *, has_image, known_numbers):
        ids = [1, 1, 1] + [2] + [ord(letter) for letter in "a<b"]
        return Encoded(ids, [False] * 5 + [True] * 2, [4])

    def decode(self, ids):
        return chr(ids[0])


def test_tokens_of_a_model_are_coloured_one_by_one():
    shown = text_html(Sample(Path("a.png"), (), (Turn("user", "x"),), "s"), LetterProcessor())
    assert shown.count("<span class=image>") == 1 and "<span class=region>region 4</span>" in shown
    assert '<span title="97">a</span><span class=trained title="60">&lt;</span><span class=trained title="98">b</span>' in shown
    assert "7 tokens, 3 of the picture, 2 trained" in shown


@pytest.mark.parametrize("box", [(20.0, 30.0, 60.0, 70.0), (0.0, 0.0, 100.0, 80.0), (95.0, 75.0, 100.0, 80.0)])
def test_boxes_are_drawn_where_they_are(box):
    grey = np.full((80, 100, 3), 128, dtype=np.uint8)
    drawn = draw_regions(grey, [Region(box)])
    changed = np.argwhere((drawn != grey).any(axis=2))
    assert (grey == 128).all(), "the picture given is not drawn on"
    x0, y0, x1, y1 = box
    assert changed[:, 0].max() >= min(y1, 79) and changed[:, 1].max() >= min(x1, 99)
    assert changed[:, 0].min() <= y0 + 1 and changed[:, 1].min() <= x0 + 1


def test_the_command_starts_without_torch():
    code = (
        "import argparse, sys; from gpt4roi.data import cli; cli.add_arguments(argparse.ArgumentParser()); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
