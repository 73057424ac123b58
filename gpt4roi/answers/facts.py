"""What a question can look at, and what it finds: the same for the conversation, the plan's tools and the API."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from gpt4roi.answers.phrases import Phrase, parse_phrase
from gpt4roi.answers.places import area, iou, order
from gpt4roi.boxes import Box
from gpt4roi.colors import COLORS
from gpt4roi.eyes import Sight
from gpt4roi.regions import Region

# A thing has a color of which so much of it is.
HAS_COLOR = 0.25


@dataclass(frozen=True)
class Fact:
    """An answer with its evidence.

    text: the sentence; `{0}`, `{1}` … stand for the regions in `found`, which are numbered by the conversation. found: regions that were
    found for it, unnumbered. scores: names and their probabilities. yes, number: the answer as a value, where it is one.
    """

    text: str
    found: tuple[Region, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    yes: bool | None = None
    number: int | None = None


@dataclass(frozen=True)
class Look:
    """What there is to look at.

    sight: the picture. regions: those of the conversation by number. meant: numbers of those that the question is about. colors: shares of
    `COLORS` in a region, measured in its mask. read_text: letters in a box (all of the picture for None); None where nothing can read.
    """

    sight: Sight
    regions: Mapping[int, Region]
    meant: tuple[int, ...]
    colors: Callable[[Region], np.ndarray]
    read_text: Callable[[Sequence[float] | None], str] | None = None

    @property
    def size_wh(self) -> tuple[int, int]:
        return self.sight.size_wh

    def phrase(self, text: str) -> Phrase:
        return parse_phrase(text, self.sight.names)

    def find(self, phrase: Phrase, threshold: float | None = None) -> list[Region]:
        """Regions that a phrase means, the surest first; colors are measured, and its order ("the second from the left") is taken.

        Phrases whose noun is unknown find nothing. Without a noun ("the red one") everything that the detector knows is looked at.
        """
        if phrase.meaning is not None:
            ids: Sequence[int] = phrase.meaning.ids
        elif not phrase.noun:
            ids = [index for index in self.sight.names.common if self.sight.names.entries[index].detector is not None]
        else:
            return []
        names = self.sight.names
        found = [Region(1, box, names[index], score=score, origin="found") for box, index, score in self.sight.find(ids, threshold)]
        found = [region for region in found if self.has_colors(region, phrase.colors)]
        if phrase.by is not None and found:
            ranked = [found[place] for place in order([region.box_xyxy for region in found], phrase.by, self.size_wh)]
            return ranked[phrase.n - 1 : phrase.n]
        return found

    def locate(self, phrase: Phrase) -> Region | None:
        """The one region that a phrase describes; a weaker one is taken than for `find`, as the phrase says that it is there."""
        found = self.find(phrase) or self.find(phrase, 0.12) or self.find(self.wide(phrase), 0.2)
        if not found and phrase.colors:
            # None is clearly of that color: the nearest to it is meant.
            plain = self.find(replace(phrase, colors=()))
            found = sorted(plain, key=lambda region: -self._share(self.colors(region), phrase.colors[0]))[:1] if len(plain) > 1 else []
        return found[0] if found else None

    def wide(self, phrase: Phrase) -> Phrase:
        """The phrase with wider names too: a taxi is looked for as a car, a coffee mug as any mug."""
        if phrase.meaning is None:
            return phrase
        names = self.sight.names
        ids = [names.entries[i].of if names.entries[i].of is not None else i for i in phrase.meaning.ids]
        last = names.lookup(phrase.noun.split()[-1], guess=False) if " " in phrase.noun else None
        wider = tuple(dict.fromkeys([*ids, *(last.ids if last else ())]))
        return replace(phrase, meaning=replace(phrase.meaning, ids=wider))  # type: ignore[arg-type]

    def has_colors(self, region: Region, wanted: Sequence[str]) -> bool:
        """Whether enough of a region has each of the colors."""
        if not wanted:
            return True
        shares = self.colors(region)
        return all(self._share(shares, name) >= HAS_COLOR for name in wanted)

    @staticmethod
    def _share(shares: np.ndarray, name: str) -> float:
        # A person says brown where a pixel is orange or dark, and black where it is dark gray.
        near = {"brown": ("orange",), "orange": ("brown",), "pink": ("red",), "gray": (), "white": ()}.get(name, ())
        return float(shares[COLORS.index(name)] + 0.5 * sum(shares[COLORS.index(other)] for other in near))

    def things(self, limit: int = 8) -> list[Region]:
        """What is in the picture, the largest first: what the detector is sure of, and what else is named with certainty."""
        names = self.sight.names
        ids = [index for index in names.common if names.entries[index].detector is not None]
        found = [Region(1, box, names[index], score=score, origin="found") for box, index, score in self.sight.find(ids, 0.45)]
        known = [region.box_xyxy for region in found]
        found += [
            Region(1, box, names[index], score=score, origin="found")
            for box, index, score in self.sight.other_things()
            if all(iou(box, other) < 0.5 for other in known)
        ]
        return sorted(found, key=lambda region: -area(region.box_xyxy))[:limit]

    def name_of(self, box: Box) -> str:
        return self.sight.guess(box).name
