"""Everything that is wrong with a file of our format, each problem with its line; and what is in it, as numbers and histograms."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from gpt4roi.boxes import BoxError, area, validate_box
from gpt4roi.conversation import mentioned_numbers
from gpt4roi.data.images import image_problem, upright_size_wh
from gpt4roi.data.jsonl import lines, record_problems, to_sample
from gpt4roi.data.sample import Sample

BAR_WIDTH = 40
AREA_BINS = (0.001, 0.01, 0.05, 0.2, 0.5, 1.0)


@dataclass
class CheckReport:
    """`problems` stop a record from being used; `notes` do not. Both are (line number, sentence)."""

    path: Path
    num_records: int = 0
    problems: list[tuple[int, str]] = field(default_factory=list)
    notes: list[tuple[int, str]] = field(default_factory=list)
    histograms: dict[str, dict[str, int]] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            "file": str(self.path),
            "records": self.num_records,
            "problems": [{"line": line, "problem": text} for line, text in self.problems],
            "notes": [{"line": line, "note": text} for line, text in self.notes],
            "totals": self.totals,
            "histograms": self.histograms,
        }


def check_file(path: Path, images: Path | None = None) -> CheckReport:
    """Look at every line and every picture of a file in our format.

    Args:
      images: the folder that the records' `image` is relative to; the file's own if not given.
    Raises:
      DataError: the file cannot be read at all.
    """
    folder = path.parent if images is None else images
    report = CheckReport(path)
    pictures: dict[Path, tuple[int, int] | str] = {}
    seen: dict[str, int] = {}
    usable: list[tuple[Sample, tuple[int, int] | None]] = []
    for line_number, text in lines(path):
        report.num_records += 1
        try:
            record = json.loads(text)
        except json.JSONDecodeError as error:
            hint = "; the file looks like one JSON list, but the format is one object a line" if text.lstrip()[:1] in "[]" else ""
            report.problems.append((line_number, f"not JSON: {error.msg} at column {error.colno}{hint}"))
            continue
        problems = record_problems(record)
        report.problems += [(line_number, problem) for problem in problems]
        image = folder / record["image"] if isinstance(record, dict) and isinstance(record.get("image"), str) and record["image"] else None
        size = _picture_size(image, pictures, line_number, report)
        if problems:
            continue
        first = seen.setdefault(json.dumps(record, sort_keys=True), line_number)
        if first != line_number:
            report.notes.append((line_number, f"the same record as line {first}"))
        sample = to_sample(record, folder, str(line_number))
        _check_boxes(sample, size, line_number, report)
        _note_unmentioned(sample, line_number, report)
        usable.append((sample, size))
    if not report.num_records:
        report.problems.append((1, "the file has no records"))
    report.totals, report.histograms = _summary(usable)
    report.totals["pictures"] = len(pictures)
    return report


def _picture_size(
    image: Path | None, pictures: dict[Path, tuple[int, int] | str], line_number: int, report: CheckReport
) -> tuple[int, int] | None:
    """Upright size, or None after noting what is wrong; every picture is opened once."""
    if image is None:
        return None
    if image not in pictures:
        problem = image_problem(image)
        if problem is None:
            with Image.open(image) as opened:
                pictures[image] = upright_size_wh(opened)
        else:
            kind, text = problem
            pictures[image] = f"the picture {image} is {kind}" + (f": {text}" if text else "")
    found = pictures[image]
    if isinstance(found, str):
        report.problems.append((line_number, found))
        return None
    return found


def _check_boxes(sample: Sample, size: tuple[int, int] | None, line_number: int, report: CheckReport) -> None:
    if size is None:
        return
    if sample.image_size_wh is not None and sample.image_size_wh != size:
        noted = f"{sample.image_size_wh[0]} x {sample.image_size_wh[1]}"
        report.problems.append((line_number, f"the record says {noted} pixels but the picture has {size[0]} x {size[1]}"))
    for number, region in enumerate(sample.regions, start=1):
        try:
            validate_box(region.box_xyxy, size, f"<region{number}>")
        except BoxError as error:
            report.problems.append((line_number, str(error)))


def _note_unmentioned(sample: Sample, line_number: int, report: CheckReport) -> None:
    """A region that no question names has no features in the prompt, so nothing can be learnt about it."""
    named = {number for turn in sample.conversation if turn.role == "user" for number in mentioned_numbers(turn.content)}
    missing = [number for number in range(1, len(sample.regions) + 1) if number not in named]
    if missing:
        shown = ", ".join(f"<region{number}>" for number in missing[:5]) + (" …" if len(missing) > 5 else "")
        report.notes.append((line_number, f"no question names {shown}"))


def _summary(usable: Sequence[tuple[Sample, tuple[int, int] | None]]) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    regions: Counter[int] = Counter()
    turns: Counter[int] = Counter()
    areas: Counter[int] = Counter()
    labels: Counter[str] = Counter()
    answer_words: Counter[int] = Counter()
    for sample, size in usable:
        regions[len(sample.regions)] += 1
        turns[sum(turn.role == "assistant" for turn in sample.conversation)] += 1
        labels.update(region.label for region in sample.regions if region.label)
        answer_words.update(_power_of_two(len(turn.content.split())) for turn in sample.conversation if turn.role == "assistant")
        if size is not None:
            for share in area([region.box_xyxy for region in sample.regions]) / (size[0] * size[1]):
                areas[next((i for i, top in enumerate(AREA_BINS) if share <= top), len(AREA_BINS) - 1)] += 1
    totals = {
        "usable records": len(usable),
        "regions": sum(count * times for count, times in regions.items()),
        "answers": sum(count * times for count, times in turns.items()),
        "labels": len(labels),
    }
    histograms = {
        "regions a record": {str(count): regions[count] for count in sorted(regions)},
        "answers a record": {str(count): turns[count] for count in sorted(turns)},
        "words an answer": {("0" if not top else f"up to {top}"): answer_words[top] for top in sorted(answer_words)},
        "box area": {f"up to {top:.1%} of the picture": areas[i] for i, top in enumerate(AREA_BINS) if areas[i]},
        "labels": dict(labels.most_common(20)),
    }
    return totals, histograms


def _power_of_two(count: int) -> int:
    return 0 if count == 0 else 2 ** math.ceil(math.log2(count))


def draw_histogram(title: str, counts: dict[str, int]) -> str:
    """Bars of text, the longest BAR_WIDTH wide."""
    if not counts:
        return f"{title}: none"
    width, peak = max(map(len, counts)), max(counts.values())
    rows = [f"  {name:>{width}}  {'█' * max(1, round(BAR_WIDTH * count / peak)):<{BAR_WIDTH}} {count}" for name, count in counts.items()]
    return "\n".join([f"{title}:", *rows])


def summary_text(report: CheckReport) -> str:
    totals = ", ".join(f"{count} {name}" for name, count in report.totals.items())
    drawings = [draw_histogram(title, counts) for title, counts in report.histograms.items()]
    return "\n\n".join([f"{report.path}: {report.num_records} records, {totals}", *drawings])
