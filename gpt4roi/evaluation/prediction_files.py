"""predictions.jsonl: one record per item, appended as answers come, merged by id."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gpt4roi.evaluation.items import EvaluationError

MERGED = "predictions.jsonl"
SHARD_NAME = re.compile(r"predictions-\d{5}-of-\d{5}\.jsonl")


def shard_file(output_dir: Path, shard: tuple[int, int]) -> Path:
    """The file that one shard (index from 0, number of shards) appends to."""
    index, count = shard
    return output_dir / (MERGED if count == 1 else f"predictions-{index:05d}-of-{count:05d}.jsonl")


def all_files(output_dir: Path) -> list[Path]:
    """Every predictions file of a run: shards of any count, and the merged one."""
    return sorted(path for path in output_dir.glob("predictions*.jsonl") if path.name == MERGED or SHARD_NAME.fullmatch(path.name))


def read_records(path: Path, cut_line: str = "refuse") -> list[dict[str, Any]]:
    """Records `{"id", "output", …}` of one file; a COCO results list is read as one record per image.

    Args:
      cut_line: a last line that is not whole: `refuse` it, `ignore` it (another shard may be writing it this moment), or
        `repair` the file (ours, cut off by a kill).
    Raises:
      EvaluationError: naming the line.
    """
    if not path.exists():
        raise EvaluationError(f"there is no predictions file {path}")
    text = path.read_text(encoding="utf-8")
    if text.lstrip().startswith("["):
        return _from_json_list(json.loads(text), path)
    lines = text.splitlines(keepends=True)
    records = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            if cut_line != "refuse" and number == len(lines):
                if cut_line == "repair":
                    _write_atomically(path, lines[:-1])
                break
            raise EvaluationError(f"{path}, line {number} is not JSON: {error.msg}") from error
        if cut_line == "repair" and number == len(lines) and not line.endswith("\n"):
            # Complete, but the next record would be glued to it.
            _write_atomically(path, [*lines[:-1], line + "\n"])
        if not isinstance(record, dict) or "id" not in record or "output" not in record:
            raise EvaluationError(f'{path}, line {number} must be an object with "id" and "output"')
        records.append({**record, "id": str(record["id"])})
    return records


def _from_json_list(entries: list[Any], path: Path) -> list[dict[str, Any]]:
    """COCO's results format: a list of {"image_id", "category_id", "bbox" or "segmentation", "score"}."""
    if all(isinstance(entry, dict) and "id" in entry and "output" in entry for entry in entries):
        return [{**entry, "id": str(entry["id"])} for entry in entries]
    grouped: dict[str, list[Any]] = {}
    for entry in entries:
        if not isinstance(entry, dict) or "image_id" not in entry:
            raise EvaluationError(f'{path} is neither a list of {{"id", "output"}} nor of COCO results with "image_id"')
        grouped.setdefault(str(entry["image_id"]), []).append(entry)
    return [{"id": image_id, "output": detections} for image_id, detections in grouped.items()]


def merge(record_lists: Iterable[list[dict[str, Any]]]) -> tuple[dict[str, Any], int]:
    """Raw outputs by id, and how many repeated ids were dropped (the first is kept: padding repeats items)."""
    outputs: dict[str, Any] = {}
    dropped = 0
    for records in record_lists:
        for record in records:
            if record["id"] in outputs:
                dropped += 1
            else:
                outputs[record["id"]] = record["output"]
    return outputs, dropped


def write_records(path: Path, records: Iterable[dict[str, Any]]) -> None:
    _write_atomically(path, [json.dumps(record, ensure_ascii=False) + "\n" for record in records])


def write_json(path: Path, value: Any) -> None:
    _write_atomically(path, [json.dumps(value, ensure_ascii=False, indent=2) + "\n"])


def _write_atomically(path: Path, lines: list[str]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text("".join(lines), encoding="utf-8")
    os.replace(partial, path)
