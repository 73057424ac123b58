"""A double of `gpt4roi.chat.RegionChat` for page tests without weights: the real regions and exchanges, canned words, a pause between them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from gpt4roi.answers import FindError
from gpt4roi.chat import Exchange
from gpt4roi.engine.events import Answer, Timings
from gpt4roi.meaning import meant
from gpt4roi.regions import Region, RegionSet


@dataclass
class FakeChat:
    """Answers every question with the question and the regions it was given, a word at a time."""

    pause_s: float = 0.05
    regions: RegionSet = field(default_factory=RegionSet)
    exchanges: list[Exchange] = field(default_factory=list)
    image: Any = None
    name: str | None = None
    failure: Exception | None = None
    selected: int | None = None
    rejected: list[Region] = field(default_factory=list)
    _stop: bool = False

    def set_image(self, image: Any, name: str | None = None) -> None:
        self.image, self.name, self.regions = image, name, RegionSet(image.size)

    def add_region(self, box: Any, space: str = "pixels", number: int | None = None) -> int:
        return self.regions.add(box, space=space, number=number).number

    def label_region(self, number: int, label: str | None) -> None:
        self.regions.label(number, label)

    def move_region(self, number: int, box: Any) -> None:
        self.regions.move(number, box)
        self.exchanges = [replace(one, stale=one.stale or number in one.regions) for one in self.exchanges]

    def remove_region(self, number: int) -> None:
        self.regions.remove(number)

    def candidates(self, what: str, *, threshold: float | None = None) -> list[Region]:
        """One sure cup and two weak ones, unless they were rejected; of other things nothing."""
        if not what.strip():
            raise FindError("there is nothing to look for; name something, for example: dog, red car")
        width, height = self.image.size
        scores = (0.9, 0.2, 0.1) if what == "cup" else ()
        places = [(width * (0.1 + 0.3 * i), height * 0.2, width * (0.3 + 0.3 * i), height * 0.5) for i in range(len(scores))]
        found = [Region(1, place, "cup", score=score, origin="found") for place, score in zip(places, scores, strict=True)]
        least = 0.3 if threshold is None else threshold
        return [one for one in found if (one.score or 0) >= least and one not in self.rejected]

    def reject(self, candidate: Region) -> None:
        self.rejected.append(candidate)

    def add_found(self, regions: list[Region]) -> list[Region]:
        return self.regions.add_found(regions)

    def select(self, number: int | None) -> None:
        self.selected = number

    def stop(self) -> None:
        self._stop = True

    def stream(self, text: str, max_new_tokens: int = 256) -> Iterator[str]:
        self._stop, started, said = False, time.monotonic(), ""
        if self.failure is not None:
            raise self.failure
        what = meant(text, list(self.regions), self.selected)
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
        timings = Timings(first_token_s=first_s, total_s=time.monotonic() - started, new_tokens=len(words))
        answer = Answer(said, timings=timings, finish_reason="cancelled" if self._stop else "stop")
        self.exchanges = [*self.exchanges, Exchange(text, what.text, what.numbers, answer)]

    def stream_again(self, max_new_tokens: int = 256) -> Iterator[str]:
        question, self.exchanges = self.exchanges[-1].question, self.exchanges[:-1]
        yield from self.stream(question, max_new_tokens)

    def to_record(self) -> dict[str, Any]:
        turns = [turn.to_dict() for one in self.exchanges if not one.stale for turn in one.turns()]
        return {"image": self.name, "regions": self.regions.to_records(), "conversation": turns}
