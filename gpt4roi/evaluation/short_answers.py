"""Reading short answers that are no names: yes and no, colours, relations between regions."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gpt4roi.evaluation.class_names import normalise, without_articles

COLOURS = {
    "red": ("red", "crimson", "scarlet", "maroon", "burgundy", "reddish"),
    "orange": ("orange",),
    "yellow": ("yellow", "golden", "gold", "yellowish"),
    "green": ("green", "olive", "greenish", "lime"),
    "blue": ("blue", "navy", "turquoise", "cyan", "teal", "bluish"),
    "purple": ("purple", "violet", "lavender", "magenta"),
    "pink": ("pink", "rose"),
    "brown": ("brown", "beige", "tan", "brownish", "bronze"),
    "black": ("black",),
    "white": ("white", "cream"),
    "gray": ("gray", "grey", "silver", "greyish", "grayish"),
}
_COLOUR_OF = {word: colour for colour, words in COLOURS.items() for word in words}

# Relations that exclude each other: an answer that says both of a line has said nothing.
OPPOSITES = (
    (("left",), ("right",)),
    (("above", "over", "on top of", "higher"), ("below", "under", "beneath", "underneath", "lower")),
    (("inside", "within", "in"), ("outside",)),
    (("bigger", "larger", "largest", "biggest", "taller"), ("smaller", "smallest", "shorter")),
    (("in front of", "closer", "nearer"), ("behind", "farther", "further away")),
    (("yes",), ("no",)),
    (("same",), ("different",)),
)
_REGION = re.compile(r"<?\bregions?\s*(\d+)\b>?", re.IGNORECASE)


def yes_or_no(text: str) -> str | None:
    """`yes` or `no` as the answer's first word, or anywhere if only one of the two occurs."""
    words = normalise(text).split()
    if words and words[0] in ("yes", "no"):
        return words[0]
    if words and words[0] in ("yeah", "yep", "correct", "true"):
        return "yes"
    if words and words[0] in ("nope", "false"):
        return "no"
    found = {word for word in words if word in ("yes", "no")}
    return found.pop() if len(found) == 1 else None


def colours_in(text: str) -> list[str]:
    """Basic colours in order of mention; shades count as their basic colour. `not red` is no mention."""
    words = normalise(text).split()
    found = [_COLOUR_OF[word] for index, word in enumerate(words) if word in _COLOUR_OF and (index == 0 or words[index - 1] != "not")]
    return list(dict.fromkeys(found))


def relation_matches(answer: str, acceptable: Sequence[str]) -> bool:
    """Whether the answer says one of the acceptable relations and does not contradict it.

    An acceptable answer that is a region ("<region2>") is met when it is the first region that the answer mentions; yes or no, as
    `yes_or_no` reads the answer ("No, it is not above it" is no). Any other is met when its words occur in the answer in one run and no opposite of them does.
    """
    regions = _REGION.findall(answer)
    words = f" {_phrase(answer)} "
    for text in acceptable:
        wanted_regions = _REGION.findall(text)
        if len(wanted_regions) == 1 and _REGION.fullmatch(text.strip().rstrip(".")):
            if regions and regions[0] == wanted_regions[0]:
                return True
            continue
        phrase = _phrase(text)
        if phrase in ("yes", "no"):
            if yes_or_no(answer) == phrase:
                return True
            continue
        if phrase and (words.strip() == phrase or (f" {phrase} " in words and not _contradicted(phrase, words))):
            return True
    return False


def _phrase(text: str) -> str:
    return " ".join(word for word in without_articles(normalise(_REGION.sub(" ", text)).split()) if word not in ("the", "a", "an"))


def _contradicted(phrase: str, words: str) -> bool:
    padded = f" {phrase} "
    if " not " in words and " not " not in padded:
        return True
    for one, other in OPPOSITES:
        for side, opposite in ((one, other), (other, one)):
            if any(f" {word} " in padded for word in side) and any(f" {word} " in words and f" {word} " not in padded for word in opposite):
                return True
    return False
