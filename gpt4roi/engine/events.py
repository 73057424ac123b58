"""What comes out of an answer while it is made: one stream of typed events, which page, API, command line and evaluation render."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from gpt4roi.regions import Region

FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True)
class Timings:
    """Seconds and counts of one answer.

    `queue_s` until its place was free, `vision_s` for the image, `regions_s` for the boxes, `prefill_s` for the prompt, `first_token_s` and
    `total_s` since it was asked; `prompt_tokens`, of them `reused_tokens` kept from before; `new_tokens`; `image_cached`; `regions_cached`
    and `regions_encoded`; `tokens_per_s` of the writing alone.
    """

    queue_s: float = 0.0
    vision_s: float = 0.0
    regions_s: float = 0.0
    prefill_s: float = 0.0
    first_token_s: float = 0.0
    total_s: float = 0.0
    tokens_per_s: float = 0.0
    prompt_tokens: int = 0
    reused_tokens: int = 0
    new_tokens: int = 0
    image_cached: bool = False
    regions_cached: int = 0
    regions_encoded: int = 0


@dataclass(frozen=True)
class Text:
    """A piece of the answer; joined, the pieces are the whole, and none is taken back."""

    piece: str


@dataclass(frozen=True)
class Found:
    """Regions that were found while answering, with their numbers in the conversation."""

    regions: tuple[Region, ...]


@dataclass(frozen=True)
class StepStarted:
    """A step of a plan begins."""

    step: str
    action: str


@dataclass(frozen=True)
class StepDone:
    """A step of a plan has ended."""

    step: str
    seconds: float


@dataclass(frozen=True)
class Finished:
    """The last event of an answer that ended well; `cancelled` when somebody stopped it."""

    reason: FinishReason
    timings: Timings


@dataclass(frozen=True)
class Failed:
    """The last event of an answer that could not be given. A `UserError` is for the user's eyes, any other for the log."""

    error: Exception


Event = Text | Found | StepStarted | StepDone | Finished | Failed


@dataclass(frozen=True)
class Answer:
    """An answer, or the part of it that was written before it was stopped.

    text: with regions named as `<regionN>`. regions: those found for it. steps: ids of the plan steps it came from. scores: names that were
    weighed, with their probabilities.
    """

    text: str
    regions: tuple[Region, ...] = ()
    steps: tuple[str, ...] = ()
    timings: Timings = field(default_factory=Timings)
    finish_reason: FinishReason = "stop"
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def stopped(self) -> bool:
        """Whether somebody stopped it, not the model."""
        return self.finish_reason == "cancelled"
