"""Visual Commonsense Reasoning: question, answer and rationale about numbered objects.

Files (https://visualcommonsense.com): `train.jsonl`, and one metadata json an image with `boxes` [x0, y0, x1, y1, score] in pixels.
Only the tokenised fields are read: there a list of numbers is objects, counted from 0, and everything else is words, so "2 people"
stays two people. Object i is <region i+1>.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from gpt4roi.data.dialogue import SampleList, dialogue_sample, usable_box
from gpt4roi.data.errors import DataError
from gpt4roi.data.jsonl import records
from gpt4roi.data.templates import Question, join_words, mention
from gpt4roi.data.text_files import load_json
from gpt4roi.regions import Region

TASKS = ("explain", "q2a", "qa2r")
LETTERS = "ABCD"

Token = str | list[int]

# Tokenised English back to prose: " ?" → "?", " n't" → "n't", "don ' t" → "don't".
JOINED = (
    (re.compile(r"\s+([.,;:!?%)\]}])"), r"\1"),
    (re.compile(r"([(\[{$#])\s+"), r"\1"),
    (re.compile(r"\s+(n't|n 't|'(?:s|m|d|re|ve|ll))\b", re.IGNORECASE), r"\1"),
    (re.compile(r"\s*'\s+(s|m|d|t|re|ve|ll)\b", re.IGNORECASE), r"'\1"),
)


def words(tokens: Sequence[Token], num_objects: int) -> str:
    """A tokenised field as prose with `<regionN>` for objects.

    Args:
      tokens: words, and lists of object numbers counted from 0.
      num_objects: how many objects the record has.
    Raises:
      DataError: a number that is no object, or a token of another kind.
    """
    parts = []
    for token in tokens:
        if isinstance(token, str):
            parts.append(token)
            continue
        if not isinstance(token, list) or not token or not all(isinstance(n, int) and 0 <= n < num_objects for n in token):
            raise DataError(f"the object numbers {token!r} do not fit the record's {num_objects} objects (they count from 0)")
        parts.append(join_words([mention(number + 1) for number in token]))
    text = " ".join(parts)
    for pattern, replacement in JOINED:
        text = pattern.sub(replacement, text)
    return text.strip()


def read_vcr(
    annotations: Path | str,
    images: Path | str,
    *,
    metadata: Path | str | None = None,
    task: str = "explain",
    introduce: str = "mentioned",
    seed: int = 0,
) -> SampleList:
    """One sample an annotation.

    Args:
      annotations: `train.jsonl` or `val.jsonl`.
      images: the `vcr1images` folder.
      metadata: folder of the metadata files, where it is not `images`.
      task: `explain` (question, answer, "why?", rationale), or one of the multiple choices `q2a` and `qa2r`, answered by a letter.
      introduce: which objects the question shows first: those `mentioned` anywhere in the sample, or `all`.
      seed: of the templates' first choice.
    """
    if task not in TASKS:
        raise DataError(f"unknown VCR task '{task}'; use one of {', '.join(TASKS)}")
    if introduce not in ("mentioned", "all"):
        raise DataError(f"introduce is 'mentioned' or 'all'; got '{introduce}'")
    path, folder = Path(annotations), Path(images)
    metadata_folder = Path(metadata) if metadata else folder
    # Consecutive records share an image: each metadata file is read about once, not once a record.
    load = lru_cache(maxsize=64)(_load_metadata)
    samples = SampleList()
    for line_number, record in records(path):
        where = f"line {line_number}"
        try:
            metadata_file = metadata_folder / record["metadata_fn"]
            boxes, size = load(metadata_file)
            regions = _regions(record["objects"], boxes, size, metadata_file)
            exchanges = _exchanges(record, task, introduce, len(regions))
            sample_id = f"vcr:{task}:{record.get('annot_id') or f'{path.stem}-{line_number}'}"
            image = folder / record["img_fn"]
        except (KeyError, TypeError, IndexError) as error:
            raise DataError(f"a VCR record needs {error}", path, where) from error
        except DataError as error:
            raise DataError(str(error), path, where) from error
        samples.append(dialogue_sample(image, regions, exchanges, sample_id=sample_id, image_size_wh=size, seed=seed))
    return samples


def _load_metadata(path: Path) -> tuple[list[list[float]], tuple[int, int] | None]:
    content: Any = load_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("boxes"), list):
        raise DataError('a VCR metadata file has "boxes"', path)
    size = (int(content["width"]), int(content["height"])) if content.get("width") and content.get("height") else None
    return content["boxes"], size


def _regions(objects: Sequence[str], boxes: Sequence[Sequence[float]], size: tuple[int, int] | None, path: Path) -> list[Region]:
    """All objects, in their order: leaving one out would rename those after it."""
    if len(objects) != len(boxes):
        raise DataError(f"the record names {len(objects)} objects but {path} has {len(boxes)} boxes")
    regions = []
    for number, (name, box) in enumerate(zip(objects, boxes, strict=True), start=1):
        usable = usable_box(box[:4], size, min_side=0.01)
        if usable is None:
            raise DataError(f"the box {list(box[:4])} of object {number} ({name}) in {path} is empty")
        regions.append(Region(0, usable, name))
    return regions


def _exchanges(record: dict[str, Any], task: str, introduce: str, num_objects: int) -> list[tuple[Question | str, str]]:
    question = words(record["question"], num_objects)
    answers = [words(choice, num_objects) for choice in record["answer_choices"]]
    rationales = [words(choice, num_objects) for choice in record["rationale_choices"]] if task != "q2a" else []
    answer = answers[record["answer_label"]]
    if task == "explain":
        rationale = rationales[record["rationale_label"]]
        text, used = question, [question, answer, rationale]
    else:
        text = question if task == "q2a" else f"{question} The answer is: {answer} Why is that right?"
        choices = answers if task == "q2a" else rationales
        if len(choices) != len(LETTERS):
            raise DataError(f"a multiple choice has {len(LETTERS)} choices; got {len(choices)}")
        text = text + "".join(f"\n({letter}) {choice}" for letter, choice in zip(LETTERS, choices, strict=True))
        used = [text]
    numbers = range(1, num_objects + 1) if introduce == "all" else _in_order(used)
    opening = _opening(text, tuple(numbers), task)
    if task == "explain":
        return [(opening, answer), (Question("why"), rationale)]
    label = record["answer_label"] if task == "q2a" else record["rationale_label"]
    return [(opening, f"({LETTERS[label]})")]


def _opening(text: str, numbers: tuple[int, ...], task: str) -> Question | str:
    """The question; objects it does not name itself are shown first, so that an answer may speak of them."""
    shown = tuple(number for number in numbers if mention(number) not in text)
    if task == "explain":
        return Question("about", shown, {"text": text}) if shown else text
    introduced = f"{join_words([mention(number) for number in shown])}: look at these too. {text}" if shown else text
    return Question("choose", (), {"text": introduced})


def _in_order(texts: Sequence[str]) -> list[int]:
    return list(dict.fromkeys(int(number) for text in texts for number in re.findall(r"<region(\d+)>", text)))
