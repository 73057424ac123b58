"""Flickr30k Entities: a caption whose phrases are tied to boxes.

First turn: the caption, given the regions; then one turn a region: its phrase. Two published forms: MDETR's
`final_flickr_mergedGT_train.json` (https://github.com/ashkamath/mdetr) and the original `Sentences/*.txt` with `Annotations/*.xml`
(https://github.com/BryanPlummer/flickr30k_entities).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from gpt4roi.data.coco_file import CocoFile
from gpt4roi.data.dialogue import SampleList, dialogue_sample, shuffled_chunks, usable_box
from gpt4roi.data.errors import DataError
from gpt4roi.data.templates import Question
from gpt4roi.regions import Region

# `[/EN#137644/people A group of friends]`: entity number, one or more types, words. Entity 0 is "not visual".
ENTITY = re.compile(r"\[/EN#(\d+)(?:/[^\s\]]+)*\s+([^\]]+)\]")
SPACE_BEFORE = re.compile(r"\s+([.,;:!?)]|'s\b)")


@dataclass(frozen=True)
class Caption:
    """One caption: `key` is unique in its file; `regions` carry their phrases as labels."""

    key: str
    image: str
    size_wh: tuple[int, int] | None
    text: str
    regions: list[Region]


def read_flickr30k_entities(
    annotations: Path | str,
    images: Path | str,
    *,
    sentences: Path | str | None = None,
    split_file: Path | str | None = None,
    seed: int = 0,
    max_regions: int = 15,
) -> SampleList:
    """One sample a caption.

    Args:
      annotations: MDETR's json, or the original `Annotations` folder.
      images: folder of the images.
      sentences: the original `Sentences` folder; the one beside `Annotations` if not given.
      split_file: the original `train.txt` (image numbers, one a line); all images if not given. Only for the original form.
      seed: of the order of the boxes.
      max_regions: captions with more boxes become several samples.
    """
    path, folder = Path(annotations), Path(images)
    samples = SampleList()
    if path.is_dir():
        captions = _original_captions(path, Path(sentences) if sentences else path.parent / "Sentences", split_file, samples.left_out)
    else:
        captions = _mdetr_captions(path, samples.left_out)
    for caption in captions:
        if not caption.regions:
            samples.left_out["captions without a usable box"] += 1
        # Regions travel with their phrases: the reference once shuffled one without the other.
        for part, chunk in enumerate(shuffled_chunks(caption.regions, max_regions, seed, caption.key)):
            numbers = tuple(range(1, len(chunk) + 1))
            exchanges = [(Question("describe_image", numbers), caption.text)]
            exchanges += [(Question("phrase", (number,)), str(chunk[number - 1].label)) for number in numbers]
            sample_id = f"flickr30k:{caption.key}:{part}"
            image = folder / caption.image
            samples.append(dialogue_sample(image, chunk, exchanges, sample_id=sample_id, image_size_wh=caption.size_wh, seed=seed))
    return samples


def _mdetr_captions(path: Path, left_out: Counter[str]) -> Iterator[Caption]:
    file = CocoFile(path, needs={"images": ("caption",), "annotations": ("tokens_positive",)})
    for entry_id, image in file.images.items():
        text, regions = image["caption"], []
        for box, annotation in file.boxes(image, left_out):
            spans = annotation["tokens_positive"]
            if not spans or not all(0 <= start < end <= len(text) for start, end in spans):
                raise DataError(f"tokens_positive {spans} does not fit the caption '{text}'", path, f"annotation {annotation.get('id')}")
            # A phrase in several pieces ("a man … in blue") is all of them.
            regions.append(Region(0, box, " ".join(text[start:end].strip() for start, end in spans)))
        yield Caption(f"{path.stem}:{entry_id}", image["file_name"], file.size_wh(image), text.strip(), regions)


def _original_captions(annotations: Path, sentences: Path, split_file: Path | str | None, left_out: Counter[str]) -> Iterator[Caption]:
    if not sentences.is_dir():
        raise DataError("there is no such folder of sentence files", sentences)
    wanted = None if split_file is None else set(Path(split_file).read_text(encoding="utf-8").split())
    for path in sorted(sentences.glob("*.txt")):
        if wanted is not None and path.stem not in wanted:
            continue
        image, size, boxes = read_entity_boxes(annotations / f"{path.stem}.xml", left_out)
        for line_number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            text, phrases = parse_sentence(line)
            if not text:
                continue
            regions = [Region(0, box, phrase) for entity, phrase in phrases for box in boxes.get(entity, [])]
            yield Caption(f"{path.stem}:{line_number}", image, size, text, regions)


def parse_sentence(line: str) -> tuple[str, list[tuple[str, str]]]:
    """(caption in plain words, [(entity number, phrase)] in order of mention)."""
    phrases = [(match.group(1), _tidy(match.group(2))) for match in ENTITY.finditer(line)]
    return _tidy(ENTITY.sub(lambda match: match.group(2), line)), phrases


def _tidy(text: str) -> str:
    return SPACE_BEFORE.sub(r"\1", " ".join(text.split()))


def read_entity_boxes(
    path: Path, left_out: Counter[str]
) -> tuple[str, tuple[int, int], dict[str, list[tuple[float, float, float, float]]]]:
    """One file of `Annotations`: image name, its size, and the boxes of each entity in pixels; scenes have none.

    The files' corners are used as they stand, as in the authors' own code.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except FileNotFoundError as error:
        raise DataError("there is no such file", path) from error
    except ElementTree.ParseError as error:
        raise DataError(f"not XML: {error}", path) from error
    try:
        size = int(root.findtext("size/width", "")), int(root.findtext("size/height", ""))
        boxes: dict[str, list[tuple[float, float, float, float]]] = {}
        for element in root.iter("object"):
            for corners in element.iter("bndbox"):
                values = [float(corners.findtext(key, "")) for key in ("xmin", "ymin", "xmax", "ymax")]
                box = usable_box(values, size)
                if box is None:
                    left_out["boxes without area inside the picture"] += 1
                    continue
                # One box may belong to several entities ("a man", "a singer").
                for name in element.iter("name"):
                    boxes.setdefault(str(name.text).strip(), []).append(box)
    except ValueError as error:
        raise DataError(f"a size or a corner is not a number ({error})", path) from error
    return root.findtext("filename") or f"{path.stem}.jpg", size, boxes
