"""The one record that every reader yields, every trainer sees and every user writes as JSONL."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpt4roi.conversation import Turn


@dataclass(frozen=True)
class Region:
    """A box on the original image, `x0, y0, x1, y1` in its pixels, with an optional label."""

    box_xyxy: tuple[float, float, float, float]
    label: str | None = None


@dataclass(frozen=True)
class Sample:
    """An image, its numbered regions (region number = position + 1) and a conversation about them.

    `image` is None for plain text chat. `image_size_wh` is the original size where the reader knows it without decoding.
    `sample_id` is stable: the same record has the same id on every rank, run and machine.
    """

    image: Path | None
    regions: tuple[Region, ...] = ()
    conversation: tuple[Turn, ...] = ()
    sample_id: str = ""
    image_size_wh: tuple[int, int] | None = None
    extra: dict[str, Any] = field(default_factory=dict, compare=False)
