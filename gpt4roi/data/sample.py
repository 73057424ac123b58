"""The one record that every reader yields, every trainer sees and every user writes as JSONL."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gpt4roi.conversation import Turn
from gpt4roi.regions import Region


@dataclass(frozen=True)
class Sample:
    """An image, its numbered regions and a conversation about them.

    `regions`: readers of data sets that know no numbers give every region the number 0; the sample then numbers them by position, from 1.
    `image` is None for plain text chat. `image_size_wh` is the original size where the reader knows it without decoding.
    `sample_id` is stable: the same record has the same id on every rank, run and machine.
    """

    image: Path | None
    regions: tuple[Region, ...] = ()
    conversation: tuple[Turn, ...] = ()
    sample_id: str = ""
    image_size_wh: tuple[int, int] | None = None
    extra: dict[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        numbers = [region.number for region in self.regions]
        if any(numbers) and len({*numbers, 0}) <= len(numbers):
            raise ValueError(f"a sample's regions have different numbers, or all 0; got {numbers}")
        if numbers and not any(numbers):
            object.__setattr__(self, "regions", tuple(replace(region, number=n) for n, region in enumerate(self.regions, 1)))

    @property
    def region_numbers(self) -> list[int]:
        return [region.number for region in self.regions]
