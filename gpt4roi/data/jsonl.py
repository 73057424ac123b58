"""Our own format: one JSON object a line (image, regions, conversation); what users write and what every importer produces."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from gpt4roi.conversation import ROLES, Turn, mentioned_numbers
from gpt4roi.data.dialogue import SampleList
from gpt4roi.data.errors import DataError
from gpt4roi.data.sample import Sample
from gpt4roi.errors import UserError
from gpt4roi.regions import read_record

KNOWN_KEYS = ("image", "regions", "conversation", "id", "width", "height")


def records(path: Path) -> Iterator[tuple[int, Any]]:
    """(line number from 1, value) of every line that is not empty.

    Raises:
      DataError: the file is missing, or a line is not JSON.
    """
    for line_number, text in lines(path):
        try:
            yield line_number, json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(f"not JSON: {error.msg} at column {error.colno}", path, f"line {line_number}") from error


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number from 1, text) of every line that is not empty."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            for line_number, text in enumerate(file, start=1):
                if text.strip():
                    yield line_number, text
    except FileNotFoundError as error:
        raise DataError("there is no such file", path) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read ({error})", path) from error


def record_problems(record: Any) -> list[str]:
    """Everything about one record that stops it from being used, as sentences; images are not opened."""
    if not isinstance(record, dict):
        return [f"a line is one JSON object; got {type(record).__name__}"]
    problems: list[str] = []
    if record.get("image") is not None and (not isinstance(record["image"], str) or not record["image"]):
        problems.append(f'"image" is the path of a picture; got {record["image"]!r}')
    regions = record.get("regions", [])
    if not isinstance(regions, list):
        problems.append(f'"regions" is a list of {{"box_xyxy": [x0, y0, x1, y1]}}; got {type(regions).__name__}')
        regions = []
    numbers: list[int] = []
    for position, region in enumerate(regions):
        try:
            numbers.append(read_record(region, position).number)
        except UserError as error:
            problems.append(str(error))
            numbers.append(position + 1)
    problems += [f"<region{number}> is given twice; use another number" for number, times in Counter(numbers).items() if times > 1]
    if regions and record.get("image") is None:
        problems.append('there are regions but no "image"')
    return problems + _conversation_problems(record.get("conversation"), numbers)


def _conversation_problems(conversation: Any, numbers: Sequence[int]) -> list[str]:
    if not isinstance(conversation, list) or not conversation:
        return ['"conversation" is a list of {"role", "content"} turns with at least one question and one answer']
    problems = []
    roles = []
    for index, turn in enumerate(conversation, start=1):
        if not isinstance(turn, dict) or not isinstance(turn.get("content"), str) or turn.get("role") not in ROLES:
            problems.append(f'turn {index}: a turn is {{"role": one of {", ".join(ROLES)}, "content": text}}; got {turn!r}')
            continue
        roles.append(turn["role"])
        for number in dict.fromkeys(mentioned_numbers(turn["content"])):
            if number not in numbers:
                has = ", ".join(f"<region{one}>" for one in numbers) or "no regions"
                problems.append(f"turn {index} names <region{number}> but the record has {has}")
        if not turn["content"].strip():
            problems.append(f"turn {index} is empty")
    if len(roles) == len(conversation) and ("user" not in roles or "assistant" not in roles[roles.index("user") :]):
        problems.append("there is no answer to learn from: a user turn must be followed by an assistant turn")
    return problems


def to_sample(record: dict[str, Any], images: Path, sample_id: str) -> Sample:
    """A record without problems as a Sample; unknown fields are kept in `extra`."""
    image = images / record["image"] if record.get("image") is not None else None
    regions = tuple(read_record(region, position) for position, region in enumerate(record.get("regions", [])))
    turns = tuple(Turn(turn["role"], turn["content"]) for turn in record["conversation"])
    size = (record["width"], record["height"]) if isinstance(record.get("width"), int) and isinstance(record.get("height"), int) else None
    extra = {key: value for key, value in record.items() if key not in KNOWN_KEYS}
    return Sample(image, regions, turns, sample_id, size, extra)


def record_id(record: dict[str, Any], path: Path, line_number: int) -> str:
    return f"{path.stem}:{record['id']}" if isinstance(record.get("id"), str | int) else f"{path.stem}:{line_number}"


def read_jsonl(annotations: Path | str, images: Path | str | None = None) -> SampleList:
    """Samples of a file in our own format.

    Args:
      annotations: the `.jsonl` file.
      images: the folder that the records' `image` is relative to; the file's own folder if not given.
    Raises:
      DataError: with the first problem and its line; `gpt4roi data check FILE` shows all of them.
    """
    path = Path(annotations)
    folder = path.parent if images is None else Path(images)
    samples = SampleList()
    for line_number, record in records(path):
        problems = record_problems(record)
        if problems:
            raise DataError(problems[0], path, f"line {line_number}")
        samples.append(to_sample(record, folder, record_id(record, path, line_number)))
    return samples


def to_record(sample: Sample, images: Path | None = None) -> dict[str, Any]:
    """A Sample as a record of our format; its `image` relative to the folder `images`, if given."""
    record: dict[str, Any] = {"id": sample.sample_id} if sample.sample_id else {}
    if sample.image is not None:
        record["image"] = (sample.image if images is None else Path(os.path.relpath(sample.image, images))).as_posix()
    if sample.image_size_wh is not None:
        record["width"], record["height"] = sample.image_size_wh
    record["regions"] = [region.to_record() for region in sample.regions]
    record["conversation"] = [turn.to_dict() for turn in sample.conversation]
    return record


def write_jsonl(path: Path, values: Iterable[dict[str, Any]]) -> int:
    """Write records, one a line; returns how many. The file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    count = 0
    with open(partial, "w", encoding="utf-8") as file:
        for value in values:
            file.write(json.dumps(value, ensure_ascii=False) + "\n")
            count += 1
    partial.replace(path)
    return count
