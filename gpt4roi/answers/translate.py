"""Questions in German, Spanish, French and Chinese, and misspelt ones, as English ones that the patterns of `questions` read.

Word by word, the longest phrases first: enough for a question about a picture, no translation of sentences. Nouns keep their place.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import cache

from spellchecker import SpellChecker

from gpt4roi.answers.words import LANGUAGES, table
from gpt4roi.colors import COLORS
from gpt4roi.eyes.names import Names

# What English questions are made of; a word near one of these and in no dictionary is a slip of the finger.
_PLAIN = frozenset(
    [
        "what",
        "what's",
        "which",
        "where",
        "where's",
        "who",
        "how",
        "many",
        "much",
        "number",
        "of",
        "is",
        "are",
        "was",
        "were",
        "there",
        "here",
        "this",
        "that",
        "these",
        "those",
        "the",
        "a",
        "an",
        "any",
        "some",
        "it",
        "he",
        "she",
        "they",
        "them",
        "do",
        "does",
        "did",
        "can",
        "could",
        "you",
        "i",
        "we",
        "me",
        "my",
        "see",
        "find",
        "show",
        "tell",
        "count",
        "name",
        "describe",
        "picture",
        "photo",
        "image",
        "animal",
        "animals",
        "color",
        "colour",
        "colors",
        "left",
        "right",
        "top",
        "bottom",
        "above",
        "below",
        "under",
        "over",
        "between",
        "next",
        "to",
        "on",
        "in",
        "at",
        "and",
        "or",
        "not",
        "no",
        "yes",
        "with",
        "without",
        "for",
        "from",
        "big",
        "bigger",
        "biggest",
        "small",
        "smaller",
        "smallest",
        "large",
        "larger",
        "largest",
        "visible",
        "have",
        "has",
        "had",
        "thing",
        "things",
        "object",
        "objects",
        "kind",
        "type",
        "box",
        "region",
        "please",
        "about",
        "red",
        "green",
        "blue",
        "yellow",
        "black",
        "white",
        "brown",
        "gray",
        "grey",
        "orange",
        "purple",
        "pink",
        "people",
        "person",
        "man",
        "woman",
        "child",
        "look",
        "like",
        "looks",
        "called",
        "read",
        "text",
        "say",
        "says",
        "written",
        "behind",
        "front",
        "near",
        "beside",
        "inside",
        "holding",
        "wearing",
        "sitting",
        "standing",
        "describe",
        "caption",
        "if",
        "be",
        "been",
        "will",
        "would",
        "should",
        "might",
        "may",
        "into",
        "out",
        "up",
        "down",
        "all",
        "every",
        "each",
        "one",
        "two",
    ]
)


@dataclass(frozen=True)
class Translated:
    """A question in English, and the language that it was in (`en`, `de`, `es`, `fr`, `zh`)."""

    text: str
    language: str


def to_english(text: str, names: Names) -> Translated:
    """A question as the patterns read it. English ones keep their words; slips of the finger are put right."""
    language = language_of(text)
    if language == "en":
        return Translated(_corrected(text, names), "en")
    return Translated(_by_words(text, language), language)


def is_english(word: str) -> bool:
    """Whether English has the word."""
    return bool(_english().known([word]))


def language_of(text: str) -> str:
    """The language with the most known words; English where none leads."""
    if re.search(r"[\u4e00-\u9fff]", text):
        return "zh"
    words = re.findall(r"[\w'’-]+", text.lower())
    english = sum(word in _PLAIN for word in words)
    counts = {
        language: sum(word in _single(language) for word in words) + 2 * sum(_has(phrase, text) for phrase in _phrases(language))
        for language in LANGUAGES[:-1]
    }
    best = max(counts, key=lambda language: counts[language])
    marked = re.search(r"[¿¡ñáéíóúüöäßçèêàùœ]", text.lower()) is not None
    return best if counts[best] > english or (marked and counts[best] >= english and counts[best]) else "en"


def _has(phrase: str, text: str) -> bool:
    return " " in phrase and re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", text.lower()) is not None


@cache
def _english() -> SpellChecker:
    """The words that English has."""
    return SpellChecker(language="en")


@cache
def _single(language: str) -> frozenset[str]:
    return frozenset(word for kind in ("function", "noun") for word in table(kind)[language] if " " not in word)


@cache
def _phrases(language: str) -> tuple[str, ...]:
    """Words and phrases of a language, the longest first."""
    return tuple(sorted({**table("function")[language], **table("noun")[language]}, key=lambda word: -len(word)))


def _by_words(text: str, language: str) -> str:
    known = {**table("noun")[language], **table("function")[language]}
    lowered = text.lower().replace("’", "'").replace("¿", "").replace("¡", "")
    kept: list[str] = []

    def mark(english: str) -> str:
        kept.append(english)
        return f" \x00{len(kept) - 1}\x00 "

    lowered = re.sub(r"<region(\d+)>", lambda match: mark(match[0]), lowered)
    for phrase in _phrases(language):
        edges = (r"(?<!\w)", r"(?!\w)") if language != "zh" and not phrase.endswith("'") else ("", "")
        lowered = re.sub(rf"{edges[0]}{re.escape(phrase)}{edges[1]}", lambda match, english=known[phrase]: mark(english), lowered)  # type: ignore[misc]
    english = " ".join(re.sub(r"\x00(\d+)\x00", lambda match: kept[int(match[1])], lowered).split())
    # Languages that put the question's word behind its noun: "horses how many", "dog where is".
    for opener in ("how many", "where is", "what color is", "what is"):
        found = re.match(rf"^(.*?\w.*?)\s*\b{opener}\b\W*$", english)
        if found and language == "zh":
            subject = re.sub(r"\b(?:the|in|picture|is there|this)\b|[^\w\s<>]", " ", found[1]).strip()
            return f"{opener} {' '.join(subject.split()) or 'this'}?"
        if language == "zh" and opener == "how many":
            continue
        behind = re.match(rf"^{opener}\b(.*)$", english)
        if behind and language == "zh" and opener != "what is":
            return f"{opener} {behind[1]}?"
    english = re.sub(r"\bis there\s+how many\b|\bhow many\s+is there\b", "how many", english)
    english = re.sub(r"\b(how many .*?)\s+is there\b", r"\1", english)
    middle = re.search(r"\bhow many\b(.*)$", english)
    if language == "zh" and middle and middle[1].strip(" ?"):
        return f"how many{middle[1]}"
    if re.match(r"\W*(?:paint|make)\b", english):
        return english  # There the color behind the noun says what it shall become.
    english = re.sub(rf"\b(\w+) ({'|'.join(COLORS)})\b", lambda m: m[0] if m[1] in COLORS or m[1] in _PLAIN else f"{m[2]} {m[1]}", english)
    return re.sub(r"\bthe (?=the\b)", "", english)


def _corrected(text: str, names: Names) -> str:
    """English with slips put right: each unknown word is replaced by a very near known one."""

    def word(match: re.Match[str]) -> str:
        said = match[0]
        lowered = said.lower()
        if len(lowered) < 3 or lowered in _PLAIN or not said.islower() or names.lookup(lowered, guess=False) or _english().known([lowered]):
            return said
        if re.fullmatch(r"w[ho]?a?o?ts?|wht'?s?", lowered):
            return "what's" if lowered.endswith("s") else "what"
        swapped = [near for near in _PLAIN if len(near) == len(lowered) and sorted(near) == sorted(lowered)]
        near = swapped or difflib.get_close_matches(lowered, _PLAIN, 1, 0.83)
        return near[0] if near else said

    return re.sub(r"(?<![<\w'])[A-Za-z']+(?![\w>])", word, text)
