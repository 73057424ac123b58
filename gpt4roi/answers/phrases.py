"""Noun phrases: "the second red plane from the left" as a noun, its colors and its place in an order. English, lower case, text only."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gpt4roi.colors import COLORS
from gpt4roi.eyes.names import Meaning, Names

NUMBERS = {
    word: n
    for n, word in enumerate(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"])
}
ORDINALS = {
    word: n for n, word in enumerate(["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"], 1)
} | {f"{n}{'st' if n == 1 else 'nd' if n == 2 else 'rd' if n == 3 else 'th'}": n for n in range(1, 11)}
# Words of order, and the `by` of the action `select` that they mean.
SUPERLATIVES = {
    "leftmost": "leftmost", "left": "leftmost", "rightmost": "rightmost", "right": "rightmost", "topmost": "topmost", "top": "topmost",
    "upper": "topmost", "highest": "topmost", "higher": "topmost", "bottommost": "bottommost", "bottom": "bottommost",
    "lower": "bottommost", "lowest": "bottommost", "largest": "largest", "biggest": "largest", "larger": "largest", "bigger": "largest",
    "big": "largest", "large": "largest", "huge": "largest", "smallest": "smallest", "smaller": "smallest", "tiniest": "smallest",
    "small": "smallest", "little": "smallest", "tiny": "smallest", "tallest": "tallest", "taller": "tallest", "tall": "tallest",
    "widest": "widest", "wider": "widest", "middle": "middle", "central": "middle", "front": "bottommost", "nearest": "bottommost",
    "closest": "bottommost", "back": "topmost", "farthest": "topmost", "furthest": "topmost",
}  # fmt: skip
_SIDES = {"left": "leftmost", "right": "rightmost", "top": "topmost", "bottom": "bottommost", "middle": "middle", "center": "middle", "centre": "middle"}  # fmt: skip
_PLACE = re.compile(
    r"\b(?:(?:from|on|at|to|in|of) (?:the )?(?:far |very |upper |lower )?(left|right|top|bottom|middle|cent(?:er|re)|front|back)(?:[- ]?hand)?(?: side| edge| corner| half)?|(first|second|third|fourth|fifth|2nd|3rd|1st) from (?:the )?(left|right|top|bottom))\b"
)
_CUT = re.compile(
    r"\b(?:on|in|at|of|with|by|from|near|next to|beside|behind|under|below|above|over|inside|around|along|against|between|that|which|who|whose|standing|sitting|lying|playing|wearing|holding|riding|walking|running|flying|parked|hanging|stands?|sits?|lies|here|there|please|pls|right now|anywhere|visible|together|altogether|in total|now|today|exactly|out)\b"
)
_LEAD = re.compile(r"^(?:(?:the|a|an|any|some|all|every|each|no|my|your|his|her|their|our|its|this|that|these|those|of|me|us|other|both|one|ones|single|more|many|different|kind of|sort of|type of|bit of|piece of|pieces of|slice of|slices of|pair of|pairs of|ball of|balls of|group of|groups of|crowd of|bunch of|number of|copy of|two|three|four|five)\s+)+")  # fmt: skip
_COLOR = {name: name for name in COLORS} | {"grey": "gray", "violet": "purple", "golden": "yellow", "dark": "black", "navy": "blue"}


@dataclass(frozen=True)
class Phrase:
    """A noun phrase.

    text: as it was said. noun: its noun and what that means; None where no known name has to do with it. colors: those it names.
    by, n: the order it asks for ("second from the left": leftmost, 2); by is None for all. words: adjectives that nothing here can judge.
    """

    text: str
    noun: str
    meaning: Meaning | None
    colors: tuple[str, ...] = ()
    by: str | None = None
    n: int = 1
    words: tuple[str, ...] = ()


def parse_phrase(text: str, names: Names) -> Phrase:
    """Read a noun phrase; what follows a preposition or a participle ("lying on the bed") says where and is left out."""
    said = " ".join(re.sub(r"[^\w\s'<>#-]", " ", text.lower()).split())
    by, n, rest = _order_behind(said)
    rest = _LEAD.sub("", rest + " ").strip() or rest
    cut = _CUT.search(rest)
    head = (rest[: cut.start()] if cut and cut.start() > 0 else rest).strip()
    head = _LEAD.sub("", head + " ").strip()
    words = head.split()
    # A known phrase is taken whole: "hot dog" is no hot dog, "orange" may be a fruit.
    colors: list[str] = []
    adjectives: list[str] = []
    while len(words) > 1 and not _is_name(" ".join(words), names):
        word = words[0]
        if word in _COLOR:
            colors.append(_COLOR[word])
        elif word in ORDINALS:
            n = ORDINALS[word]
            by = by or "leftmost"
        elif word in SUPERLATIVES:
            by = by or SUPERLATIVES[word]
        elif word not in NUMBERS and word not in ("and", "most", "very", "light", "bright", "the"):
            adjectives.append(word)
        words = words[1:]
    noun = " ".join(words)
    if noun in ("one", "ones", "thing", "things", "object", "objects", "stuff", "item", "items", "everything", "something"):
        return Phrase(text.strip(), "", None, tuple(colors), by, n, tuple(adjectives))
    meaning = names.lookup(noun) if noun else None
    return Phrase(text.strip(), noun, meaning, tuple(dict.fromkeys(colors)), by, n, tuple(adjectives))


def _order_behind(said: str) -> tuple[str | None, int, str]:
    """`from the left`, `on the right`: the order, the place in it, and the phrase without it."""
    place = _PLACE.search(said)
    if place is None:
        return None, 1, said
    side = place[1] or place[3]
    by = _SIDES.get(side, SUPERLATIVES.get(side))
    return by, ORDINALS.get(place[2] or "", 1), (said[: place.start()] + " " + said[place.end() :]).strip()


def _is_name(text: str, names: Names) -> bool:
    found = names.lookup(text, guess=False)
    return found is not None and " " in text and " " in found.word
