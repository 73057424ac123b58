"""What a question is about: which regions people mean, whether they name them or not. Text only.

A question that names no region is about the selected region, else about the only one, else about the last one made, unless it speaks of the
whole image or is small talk.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gpt4roi.conversation import MENTION, mentioned_numbers

# `<Region 1>`, `<region1>`, `region 1`, `region1`, `box 1`; `#1` only where region 1 exists, for a hash sign has other uses.
_BRACKETED = re.compile(r"<\s*region\s*#?\s*(\d{1,6})\s*>", re.IGNORECASE)
_SPOKEN = re.compile(r"(?<![\w<])(?:the )?(?:region|box)(?:es|s)?\s*(?:no\.?|number|#)?\s*(\d{1,6})\b(?!\s*>)", re.IGNORECASE)
_HASH = re.compile(r"(?<![\w#&])#(\d{1,6})\b")

_IMAGE = r"(?:picture|photo(?:graph)?|pic|image|scene|shot|view|bild|foto|imagen|photo|image)"
_WHOLE_IMAGE = re.compile(
    rf"\b(?:in|on|of|from|about|describe|caption|show(?:s|n)?|have|has|is|does|im|auf dem|auf diesem|en la|de la|dans l['’]|sur la|sur l['’])\s*(?:the|this|that|my|our|whole|entire|full|dem|diesem|esta|cette)*\s*{_IMAGE}"
    rf"|\b(?:the|this|whole|entire) {_IMAGE}\b"
    r"|\bhow many\b|\bnumber of\b|\bcount\b|\bwie ?viele?\b|\bcu[aá]nt[oa]s?\b|\bcombien\b|多少|几(?:个|只|条)"
    r"|\b(?:is|are|was|were) there\b|\bany\b.*\b(?:around|here|there|visible)\b|\bgibt es\b|\bhay\b|\by a-t-il\b|有没有"
    r"|\b(?:find|locate|point (?:to|out)|show me|wheres|where(?:'s| is| are))\b(?!.{0,6}\b(?:it|this|that|he|she|they)\b)"
    r"|\bwhat (?:do|can) (?:we|you|i) see\b|\bwhat(?:'s| is) (?:here|there|going on|happening)\b|\bdescribe (?:what|everything|it all)"
    r"|\bbackground\b|图(?:中|里|片)|照片",
    re.IGNORECASE,
)
_SMALL_TALK = re.compile(
    r"^\W*(?:hi|hey|hello|hallo|hola|bonjour|salut|moin|good (?:morning|evening|afternoon)|thanks?|thank you|thx|danke|gracias|merci|bye|ok(?:ay)?)\b[^?]{0,30}$"
    r"|\b(?:who|what) are you\b|\bwhat (?:else )?can (?:you do|i ask)\b|\bwhat (?:kind|sort)s? of (?:things|questions)\b|\bhow are you\b|^\W*你好\W*$",
    re.IGNORECASE,
)
# Words that stand for a thing just pointed at, and can be replaced by its name; the longest first.
_POINTING = re.compile(
    r"\b(?:(?:in|inside|at|within) (?:the|this|my|that) (?:selected |marked |drawn )?(?:box|region|rectangle|area|selection)"
    r"|(?:the|this|that) (?:selected |marked |drawn )?(?:box|region|rectangle|area|selection|thing|object|one)|this|that|it|these|those|das|dies|esto|eso|ceci|ça)\b",
    re.IGNORECASE,
)
_ELLIPSIS = re.compile(
    r"^\W*(?:and|what about|how about|und|was ist mit|y|¿y|et)\b[\s,:]*(?:(?:the|this|that|now)\s*)*(?:(<region\d+>)|this|that|it|one|now|here)?\W*$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Meant:
    """A question with its regions named.

    text: what the model reads; every region that is meant is named in it as `<regionN>`. numbers: those regions, in order of mention.
    """

    text: str
    numbers: tuple[int, ...]


def spell_mentions(text: str, known: Collection[int]) -> str:
    """`<Region 1>`, `region 1`, `box 1` and `#1` as `<region1>`. `#1` and `box 1` only where region 1 is known: both have other uses."""
    text = _BRACKETED.sub(lambda match: f"<region{int(match[1])}>", text)
    if not known:
        return text

    def spoken(match: re.Match[str]) -> str:
        is_region = "region" in match[0].lower()
        return f"<region{int(match[1])}>" if is_region or int(match[1]) in known else match[0]

    return _HASH.sub(lambda match: spoken(match), _SPOKEN.sub(spoken, text))


def speaks_of_image(text: str) -> bool:
    """Whether a question is about the whole image: "in the picture", "describe the photo", "how many …", "is there …"."""
    return _WHOLE_IMAGE.search(text) is not None


def is_small_talk(text: str) -> bool:
    """Whether it is a greeting, thanks, or a question about the program itself."""
    return _SMALL_TALK.search(text) is not None


def points_back(text: str) -> bool:
    """Whether a question speaks of something that was spoken of before: "it", "he", "them"."""
    return re.search(r"\b(?:it|its|he|his|she|her|they|them|that|this|those|these)\b", text, re.IGNORECASE) is not None


def meant(text: str, known: Sequence[int], selected: int | None = None, previous: str | None = None) -> Meant:
    """Name the regions that a question is about.

    Args:
      text: the question as typed.
      known: numbers of the regions there are, in the order in which they were made.
      selected: the region that is selected on the page, if any.
      previous: the question before, as it was sent; "and this one?" repeats it about another region.
    """
    text = spell_mentions(text.strip(), known)
    default = selected if selected in known else (known[-1] if known else None)
    ellipsis = _ELLIPSIS.match(text)
    if ellipsis and previous and mentioned_numbers(previous) and (ellipsis[1] or default is not None):
        text = MENTION.sub(ellipsis[1] or f"<region{default}>", previous)
    if not mentioned_numbers(text) and default is not None and not speaks_of_image(text) and not is_small_talk(text):
        text = _named(text, f"<region{default}>")
    return Meant(text, tuple(dict.fromkeys(mentioned_numbers(text))))


def _named(text: str, mention: str) -> str:
    """The question with the region in the place of "this", "it", "the box"; before it where nothing points."""
    pointing = _POINTING.search(text)
    if pointing is None:
        return f"{mention}: {text}"
    inside = re.match(r"(?:in|inside|at|within)\b", pointing[0], re.IGNORECASE)
    return text[: pointing.start()] + (f"{inside[0]} {mention}" if inside else mention) + text[pointing.end() :]


_COLOR_NAMES = "black|white|gr[ae]y|red|orange|yellow|green|blue|purple|pink|brown"
_ASKS_COLOR = re.compile(r"\bcolou?rs?\b|\bfarben?\b|\bcouleurs?\b|颜色", re.IGNORECASE)
_IS_COLOR = re.compile(
    rf"^\W*(?:<region\d+>\W+)?(?:is|are)\b.*?\b(?:{_COLOR_NAMES})(?:\s*(?:,|or)\s*(?:{_COLOR_NAMES}))*\W*$", re.IGNORECASE
)


def color_question(text: str) -> tuple[str, ...] | None:
    """Which colours a question about a region offers: () for "what color is …", ("red",) for "is it red?"; None for other questions."""
    offered = _IS_COLOR.match(text)
    if offered is not None:
        found = re.findall(rf"\b(?:{_COLOR_NAMES})\b", text[text.lower().find(offered[0].lower()) :].lower())
        return tuple(dict.fromkeys("gray" if name == "grey" else name for name in found))
    return () if _ASKS_COLOR.search(text) else None
