"""Splitting a file of our format so that no picture is on two sides."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpt4roi.data.errors import DataError
from gpt4roi.data.jsonl import records, write_jsonl
from gpt4roi.data.seeding import stable_hash


def parse_parts(text: str) -> dict[str, float]:
    """`train=0.8,val=0.2` as shares that sum to 1; any positive numbers will do."""
    parts: dict[str, float] = {}
    for piece in text.split(","):
        name, equals, number = piece.partition("=")
        try:
            share = float(number)
        except ValueError:
            share = 0.0
        if not equals or not name.strip().isidentifier() or not 0 < share < float("inf") or name.strip() in parts:
            raise DataError(f"parts are names with shares, like train=0.8,val=0.2; got '{text}'")
        parts[name.strip()] = share
    total = sum(parts.values())
    return {name: share / total for name, share in parts.items()}


def split_by_picture(keys: Sequence[str], parts: Mapping[str, float], seed: int) -> list[str]:
    """The part of every record.

    Args:
      keys: one a record; records with the same key stay together.
      parts: name → share; every part gets a picture if there are enough.
      seed: of the order in which pictures are dealt.
    """
    sizes: dict[str, int] = {}
    for key in keys:
        sizes[key] = sizes.get(key, 0) + 1
    if len(sizes) < len(parts):
        raise DataError(f"{len(sizes)} different pictures cannot be split into {len(parts)} parts")
    counts = dict.fromkeys(parts, 0)
    side: dict[str, str] = {}
    for dealt, key in enumerate(sorted(sizes, key=lambda key: (stable_hash("split", seed, key), key))):
        # To the part that is furthest behind its share; at the end, parts that still have nothing come first.
        must = [name for name in parts if counts[name] == 0] if len(sizes) - dealt <= sum(c == 0 for c in counts.values()) else list(parts)
        side[key] = max(must, key=lambda name: parts[name] * len(keys) - counts[name])
        counts[side[key]] += sizes[key]
    return [side[key] for key in keys]


def split_file(path: Path, output: Path, parts: Mapping[str, float], *, images: Path | None = None, seed: int = 0) -> dict[str, Path]:
    """Write `output/STEM.PART.jsonl` for every part; returns part → file.

    The same picture under two names counts as one: it is known by its bytes where it can be read, else by its path. Text-only records are
    known by themselves. `image` is rewritten so that it is right from the new file's folder, unless `images` is given.

    Raises:
      DataError: unreadable file, or too few pictures.
    """
    folder = path.parent if images is None else images
    loaded = list(records(path))
    fingerprints: dict[str, str] = {}
    keys = [_picture_key(record, line_number, folder, fingerprints) for line_number, record in loaded]
    sides = split_by_picture(keys, parts, seed)
    written = {}
    for name in parts:
        target = output / f"{path.stem}.{name}.jsonl"
        mine = [record for (_, record), side in zip(loaded, sides, strict=True) if side == name]
        write_jsonl(target, mine if images is not None else [_moved(record, folder, output) for record in mine])
        written[name] = target
    return written


def _picture_key(record: Any, line_number: int, folder: Path, fingerprints: dict[str, str]) -> str:
    image = record.get("image") if isinstance(record, dict) else None
    if not isinstance(image, str):
        return f"line {line_number}"
    path = os.path.normpath(folder / image)
    if path not in fingerprints:
        file = Path(path)
        fingerprints[path] = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else path
    return fingerprints[path]


def _moved(record: dict[str, Any], source: Path, target: Path) -> dict[str, Any]:
    if not isinstance(record.get("image"), str):
        return record
    return {**record, "image": Path(os.path.relpath(source / record["image"], target)).as_posix()}
