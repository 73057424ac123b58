"""A double of `gpt4roi.chat.RegionChat` for page tests without weights: same methods, canned words, a pause between them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from gpt4roi.conversation import Turn


@dataclass
class FakeAnswer:
    text: str
    timings: dict[str, float]
    stopped: bool = False


@dataclass
class FakeChat:
    """Answers every question with the question and the regions it was given, a word at a time."""

    pause_s: float = 0.05
    regions: dict[int, tuple[float, float, float, float]] = field(default_factory=dict)
    turns: list[Turn] = field(default_factory=list)
    image: Any = None
    last_answer: FakeAnswer | None = None
    failure: Exception | None = None
    _stop: bool = False

    def set_image(self, image: Any) -> None:
        self.image = image

    def add_region(self, box: Any, space: str = "pixels", number: int | None = None) -> int:
        number = number or max(self.regions, default=0) + 1
        self.regions[number] = tuple(box)
        return number

    def move_region(self, number: int, box: Any) -> None:
        self.regions[number] = tuple(box)

    def remove_region(self, number: int) -> None:
        del self.regions[number]

    def stop(self) -> None:
        self._stop = True

    def stream(self, text: str, max_new_tokens: int = 256) -> Iterator[str]:
        self._stop, started, said = False, time.monotonic(), ""
        if self.failure is not None:
            raise self.failure
        words = (
            f"You asked about {len(self.regions)} regions: {text} That one, region 1, is a thing that I describe with several words.".split(
                " "
            )
        )
        first_s = 0.0
        for index, word in enumerate(words):
            if self._stop:
                break
            time.sleep(self.pause_s)
            first_s = first_s or time.monotonic() - started
            piece = word if index == 0 else " " + word
            said += piece
            yield piece
        self.turns += [Turn("user", text), Turn("assistant", said)]
        self.last_answer = FakeAnswer(
            said, {"first_token_s": first_s, "total_s": time.monotonic() - started, "new_tokens": len(words)}, self._stop
        )

    def stream_again(self, max_new_tokens: int = 256) -> Iterator[str]:
        question = self.turns[-2].content
        self.turns = self.turns[:-2]
        yield from self.stream(question, max_new_tokens)
