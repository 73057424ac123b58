"""From what a model wrote to the class it named: the one matching rule of `embedded_suite`, `regions` and `coco_classification`.

Strict: the whole answer, up to case, `_`, hyphens between words, quotes, the full stop and a leading article, equals the class name.
This goes before every rule for sentences, for a class may be called "NO-Hardhat", "A+", "not ripe" or "unknown".

With synonyms, in this order:
 1. normalise: lower case, `_` and punctuation to spaces, region mentions removed; marks of all scripts and the signs of C++, C#, A- are kept.
 2. an answer that says it cannot know, or that negates ("this is not a dog"), names nothing.
 3. drop the frame in front ("this is", "it looks like", "I see", "region 1 shows", …) and leading articles.
 4. cut behind the noun phrase: at the first preposition, relative pronoun, conjunction or participle of FOLLOWERS
    ("a dog on a sofa" → "dog"); "a slice of pizza" → "pizza" for measure words, "a bowl of soup" → "bowl" otherwise.
 5. the class is the longest known name (class or synonym, singular or plural) that ends the phrase: "red bus" → bus, and
    "hot dog" is never a dog because the longer name wins.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from gpt4roi.errors import UserError

ARTICLES = ("a", "an", "the", "some", "one", "two", "several", "many", "this", "that", "my", "his", "her", "their", "its")
FRAMES = re.compile(
    r"^(?:(?:so|here)\s+)?"
    r"(?:(?:i (?:think|believe|guess|can see|see)(?: that)?|in the (?:box|region|picture|image|photo)|the answer is)\s+)*"
    r"(?:(?:(?:this|that|it|these|those|there|they|he|she|here|region(?: ?\d+)?|"
    r"the (?:object|thing|item|region|box|picture|image|photo|area|category|class|name|animal|main object)"
    r"(?: (?:in|inside|of|for) (?:the )?(?:box|region|picture|image|photo|object)(?: \d+)?)?(?: ?\d+)?)\s+)?"
    r"(?:is|are|s|was|looks|look|appears|seems|shows|show|contains|depicts|has|must|could|may|might|would|probably)\s+"
    r"(?:(?:be|to be|like|probably|likely|clearly|just|called|showing|labeled as|labelled as|as|most likely|of)\s+)*)?"
)
FOLLOWERS = frozenset(
    (
        "in",
        "on",
        "at",
        "with",
        "without",
        "by",
        "near",
        "next",
        "beside",
        "behind",
        "under",
        "below",
        "above",
        "over",
        "against",
        "from",
        "for",
        "to",
        "into",
        "onto",
        "inside",
        "outside",
        "around",
        "along",
        "across",
        "between",
        "among",
        "during",
        "and",
        "or",
        "but",
        "while",
        "because",
        "as",
        "that",
        "which",
        "who",
        "whose",
        "where",
        "when",
        "standing",
        "sitting",
        "lying",
        "riding",
        "holding",
        "wearing",
        "eating",
        "playing",
        "walking",
        "parked",
        "hanging",
        "facing",
        "looking",
        "running",
        "flying",
        "seen",
        "located",
        "placed",
        "made",
        "is",
        "are",
        "was",
        "has",
        "it",
        "there",
        "i",
        "you",
    )
)
MEASURES = frozenset(
    (
        "pair",
        "piece",
        "slice",
        "group",
        "bunch",
        "kind",
        "type",
        "sort",
        "picture",
        "photo",
        "image",
        "part",
        "couple",
        "number",
        "lot",
        "herd",
        "flock",
        "set",
        "up",
        "closeup",
        "view",
    )
)
NEGATIONS = re.compile(r"\b(?:not|isn t|isnt|aren t|no longer|never)\b")
REFUSAL = re.compile(
    r"\b(?:can ?not|can t|cant|could ?n[o ]?t|unable|not (?:able|possible|visible|sure|certain|clear|shown|enough|in the (?:picture|image))"
    r"|do(?:es)? ?n[o ]?t (?:know|show|say|tell)|do(?:es)? not (?:know|show|say|tell)|don t know|doesn t (?:show|say|tell)|impossible|unknown"
    r"|no way to (?:know|tell|say)|hard to (?:say|tell|know)|nobody can|no one can|nothing (?:here )?(?:says|tells|shows))\b"
)


class SynonymFileError(UserError):
    """The synonym table is damaged."""


@cache
def coco_synonyms() -> dict[str, tuple[str, ...]]:
    """The 80 COCO names, each with the words that are counted as the same thing; see coco_synonyms.json."""
    path = Path(__file__).with_name("coco_synonyms.json")
    table = json.loads(path.read_text(encoding="utf-8"))
    if len(table) != 80:
        raise SynonymFileError(f"{path} must hold the 80 COCO names; it holds {len(table)}")
    return {name: tuple(words) for name, words in table.items()}


def normalise(text: str) -> str:
    """Lower case, words only, single spaces: `"This is a T_V!"` → `this is a t v`.

    Letters keep their marks (in Thai and Hindi these are vowels), composed as NFC does. `+`, `#` and a minus behind a short word are part of
    it: C++ is not C#, and A- is not A.
    """
    text = unicodedata.normalize("NFC", re.sub(r"<region\s*\d+>", " ", text.lower()))
    text = re.sub(r"\b(\w{1,2})-(?=\s|$)", "\\1\u2212", text)
    return " ".join("".join(c if unicodedata.category(c)[0] in "LMN" or c in "+#\u2212" else " " for c in text).split())


def without_articles(words: Sequence[str]) -> list[str]:
    """The words behind leading articles; a word alone stays, for a class may be called "A"."""
    words = list(words)
    while len(words) > 1 and words[0] in ARTICLES:
        words = words[1:]
    return words


def spelling(text: str) -> str:
    """A name or a whole answer without what makes no difference: case, `_`, hyphens between words, quotes and a full stop around it."""
    text = " ".join(re.sub(r"[_\s]+", " ", unicodedata.normalize("NFC", text)).casefold().split())
    text = text.strip("\"'`“”‘’«»* ").rstrip(".!?,;: ")
    return re.sub(r"(?<=\w)-(?=\w)", " ", text)


def strict_match(answer: str, names: Iterable[str]) -> bool:
    """The whole answer is one of the names, up to `spelling` and a leading article. An empty answer is none."""
    given = without_articles(spelling(answer).split())
    return bool(given) and any(given == without_articles(spelling(name).split()) for name in names)


def is_refusal(answer: str) -> bool:
    """The answer says that it cannot know."""
    return REFUSAL.search(normalise(answer)) is not None


def noun_phrase(answer: str) -> str | None:
    """Steps 1 to 4 of the rule: the words that name the thing, or None for refusals, negations and empty answers."""
    answer = re.sub(r"^\s*(?:yes|no|well|sure|okay)\b(?:\s*[,.:!]+|\s+(?=(?:it|this|that|there|they)\b))", "", answer, flags=re.IGNORECASE)
    sentence = re.split(r"[.!?;,\n]", answer.strip(), maxsplit=1)[0]
    text = normalise(sentence) or normalise(answer)
    if not text or is_refusal(answer) or NEGATIONS.search(text):
        return None
    words = without_articles(FRAMES.sub("", text + " ", count=1).split())
    kept: list[str] = []
    for word in words:
        if kept and word in FOLLOWERS:
            break
        kept.append(word)
    while "of" in kept[1:]:
        at = kept.index("of", 1)
        kept = without_articles(kept[at + 1 :]) if _singular(kept[at - 1]) in MEASURES else kept[:at]
    return " ".join(kept) or None


def _singular(word: str) -> str:
    for ending, replacement in (("ves", "fe"), ("ies", "y"), ("sses", "ss"), ("shes", "sh"), ("ches", "ch"), ("xes", "x"), ("s", "")):
        if word.endswith(ending) and len(word) > len(ending) + 1 and not word.endswith("ss"):
            return word[: -len(ending)] + replacement
    return word


def _forms(name: str) -> set[tuple[str, ...]]:
    words = tuple(normalise(name).split())
    if not words:
        return set()
    last = words[-1]
    plurals = {
        last + "s",
        last + "es",
        last[:-1] + "ies" if last.endswith("y") else last,
        last[:-2] + "ves" if last.endswith("fe") else last,
    }
    return {words} | {(*words[:-1], plural) for plural in plurals} | {(*words[:-1], _singular(last))}


class NameMatcher:
    """Resolves a noun phrase to one class of a vocabulary.

    Args:
      synonyms: class name → further words for it. A word that is itself a class name always means that class.
    """

    def __init__(self, synonyms: Mapping[str, Iterable[str]]) -> None:
        self._classes: dict[tuple[str, ...], str] = {}
        for name, words in synonyms.items():
            for word in words:
                for form in _forms(word):
                    self._classes.setdefault(form, name)
        for name in synonyms:
            for form in _forms(name):
                self._classes.setdefault(form, name)
            self._classes[tuple(normalise(name).split())] = name
        self._longest = max((len(form) for form in self._classes), default=0)
        # Two classes that differ in case or hyphens alone are told apart by the letter, or not at all.
        self._spelt: dict[str, str | None] = {}
        for name in synonyms:
            for form in {spelling(name), " ".join(without_articles(spelling(name).split()))}:
                self._spelt[form] = name if self._spelt.get(form, name) == name else None
        self._spelt |= {unicodedata.normalize("NFC", name).strip(): name for name in synonyms}

    def exact(self, answer: str) -> str | None:
        """The class whose name is the whole answer (`strict_match`), or None."""
        given = unicodedata.normalize("NFC", answer).strip()
        for form in (given, given.rstrip("."), spelling(answer), " ".join(without_articles(spelling(answer).split()))):
            if form and (found := self._spelt.get(form)) is not None:
                return found
        return None

    def resolve(self, answer: str) -> str | None:
        """The class that the answer names, or None."""
        whole = self.exact(answer)
        if whole is not None:
            return whole
        phrase = noun_phrase(answer)
        if phrase is None:
            return None
        words = phrase.split()
        # "no hardhat" is no hardhat, unless a class is called so.
        shortest = len(words) if words[0] in ("no", "non", "without") else 1
        for length in range(min(self._longest, len(words)), shortest - 1, -1):
            found = self._classes.get(tuple(words[-length:]))
            if found is not None:
                return found
        return None


def with_coco_synonyms(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Names with the published words of those that are COCO classes."""
    table = coco_synonyms()
    return {name: table.get(name, ()) for name in names}
