"""What steps give, and the record of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gpt4roi.regions import Region


@dataclass(frozen=True)
class Value:
    """What a step gives; what it does not give is None or empty.

    images: uint8[h, w, 3 or 4], the last one becomes the current image where the action edits. yes: where it answers yes or no.
    """

    regions: tuple[Region, ...] | None = None
    number: int | None = None
    text: str | None = None
    table: tuple[Mapping[str, Any], ...] | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    images: tuple[np.ndarray, ...] = ()
    yes: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """The part of a step's record that says what it gave."""
        output: dict[str, Any] = {}
        if self.regions is not None:
            output["regions"] = [region.number for region in self.regions]
        for name in ("number", "text", "yes"):
            if getattr(self, name) is not None:
                output[name] = getattr(self, name)
        if self.table is not None:
            output["table"] = [dict(row) for row in self.table]
        if self.scores:
            output["scores"] = {name: round(float(score), 4) for name, score in self.scores.items()}
        return output


@dataclass(frozen=True)
class StepRecord:
    """One step that ran, was skipped, or failed. `key` names its result by all it depends on; `error` is one sentence."""

    id: str
    action: str
    arguments: Mapping[str, Any]
    value: Value
    seconds: float
    key: str
    tool: str
    cached: bool = False
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "action": self.action,
            "arguments": dict(self.arguments),
            "output": self.value.to_json(),
            "seconds": round(self.seconds, 4),
            "cached": self.cached,
            "tool": self.tool,
            "key": self.key,
            "error": self.error,
        }
