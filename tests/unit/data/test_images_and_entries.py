"""The look at every image, and data sets as entries of a config."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from PIL import Image

from gpt4roi.data import READERS, load_entry, load_mixture
from gpt4roi.data.dialogue import SampleList
from gpt4roi.data.errors import DataError
from gpt4roi.data.images import check_images
from gpt4roi.data.readers import entry_options
from gpt4roi.data.sample import Sample


def sample(image: Path | None, size: tuple[int, int] | None = None) -> Sample:
    return Sample(image, sample_id=str(image), image_size_wh=size)


def test_no_images():
    report = check_images([])
    assert not report and str(report) == "0 pictures, all readable"
    report.raise_if_any()


def test_all_problems_are_told_at_once(tmp_path, image):
    whole = image("whole.jpg", 64, 48)
    cut = image("cut.jpg", 64, 48)
    cut.write_bytes(cut.read_bytes()[:-600])
    text = tmp_path / "text.png"
    text.write_text("hello")
    gone = [tmp_path / f"gone{i}.jpg" for i in range(5)]
    samples = [sample(whole), sample(None), sample(cut), sample(text), sample(whole, (48, 64)), *map(sample, gone), sample(gone[0])]
    report = check_images(samples)
    assert report and report.num_images == 8 and report.num_samples == 10
    assert report.counts() == {"missing": 5, "broken": 2, "other size": 1}
    shown = str(report)
    assert "8 pictures, 8 unusable in 10 samples" in shown and "64 x 48 pixels, annotated as 48 x 64" in shown
    assert "5 missing" in shown and "gone2.jpg" in shown and "gone3.jpg" not in shown, "three examples"
    with pytest.raises(DataError, match=r"5 missing.*--skip-broken"):
        report.raise_if_any()
    kept = report.without_broken(SampleList(samples))
    assert [one.image for one in kept] == [None]
    assert kept.left_out == {"samples with a missing or broken picture": 10}


def test_sizes_are_those_that_people_see(tmp_path):
    path = tmp_path / "sideways.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 40)).save(path, exif=exif)
    assert not check_images([sample(path, (40, 60))])
    assert check_images([sample(path, (60, 40))])


@pytest.fixture
def entry(write_jsonl_file, image) -> dict:
    turns = [{"role": "user", "content": "What is <region1>?"}, {"role": "assistant", "content": "A dog."}]
    regions = [{"box_xyxy": [1, 1, 9, 9]}]
    for name in ("a.png", "b.png", "c.png"):
        image(name)
    records = [{"image": name, "regions": regions, "conversation": turns} for name in ("a.png", "b.png", "c.png", "gone.png")]
    return {"reader": "jsonl", "annotations": str(write_jsonl_file("mine.jsonl", records))}


def test_every_data_set_of_the_contract_has_a_reader():
    assert {"coco_detection", "refcoco", "visual_genome", "flickr30k_entities", "vcr", "llava_instruct", "jsonl"} == set(READERS)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "needs a reader, one of"),
        ({"reader": "coco_detections"}, r"unknown reader 'coco_detections' \(did you mean coco_detection\?\)"),
        ({"reader": "jsonl", "annotation": "x"}, r"jsonl has no option 'annotation' \(did you mean annotations\?\)"),
        ({"reader": "coco_detection", "annotations": "x"}, "coco_detection needs images"),
    ],
)
def test_wrong_entries_are_explained(entry, message):
    with pytest.raises(DataError, match=message):
        load_entry(entry)


def test_relative_paths_and_limits(entry, tmp_path):
    relative = {**entry, "annotations": "mine.jsonl", "limit": 2}
    samples = load_entry(relative, tmp_path)
    assert len(samples) == 2 and samples.left_out == {"samples over the limit": 2}
    assert samples == load_entry(relative, tmp_path) and samples != load_entry(relative, tmp_path, seed=2)


def test_broken_images_stop_or_are_skipped(entry):
    with pytest.raises(DataError, match=r"1 missing, for example .*gone.png"):
        load_mixture([entry])
    loaded = load_mixture([entry], skip_broken=True)
    assert len(loaded.mixture) == 3 and loaded.num_samples == (3,)
    assert "jsonl: 3 samples, 3 places an epoch (left out: 1 samples with a missing or broken picture)" in str(loaded)
    assert len(load_mixture([entry], look_at_images=False).mixture) == 4


def test_weights_are_for_all_or_none(entry):
    weighted = load_mixture([{**entry, "weight": 3}, {**entry, "weight": 1}], length=8, skip_broken=True)
    assert weighted.mixture.counts == [6, 2]
    with pytest.raises(DataError, match="every data set a weight, or none"):
        load_mixture([{**entry, "weight": 3}, entry], skip_broken=True)
    with pytest.raises(DataError, match="there is no data set"):
        load_mixture([])


CONFIGS = sorted((Path(__file__).parents[3] / "configs" / "data").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_name_readers_and_options_that_exist(path):
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    entries = content["data"] + content.get("eval_data", [])
    assert entries and set(content) <= {"data", "eval_data"}
    for entry in entries:
        _, options = entry_options(entry, Path("root"))
        assert options["annotations"] == Path("root") / entry["annotations"]


def test_there_are_shipped_configs():
    assert {"stage1", "stage2", "own"} <= {path.stem for path in CONFIGS}
