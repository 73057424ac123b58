"""The names that the embedded default knows, and which words mean them: "sofa" is a couch, "animal" is any of 213 names.

The table is made by `recipes/embedded/names_table.py`; what is a kind of what comes from WordNet 3.0.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from gpt4roi.inflection import inflect_engine

TABLE = Path(__file__).parent.parent / "assets" / "embedded" / "names.json"
# A misspelt word is taken for a known one that shares so much of it.
CLOSE = 0.84
_PLURALS = inflect_engine()


@dataclass(frozen=True)
class Name:
    """One name and who knows it.

    crop: its row of the linear readers. detector: its place among the detector's classes. imagenet: ImageNet classes that it is or covers.
    of: the wider name of which it is a kind (a tabby of a cat); None for common names.
    """

    name: str
    crop: int | None
    detector: int | None
    imagenet: tuple[int, ...]
    of: int | None


@dataclass(frozen=True)
class Meaning:
    """What a word means among the names.

    word: in singular, as it is known. ids: the names. is_exact: False where the word is narrower than the name ("jet" for an airplane), so
    that the name being there does not prove the word.
    """

    word: str
    ids: tuple[int, ...]
    is_exact: bool = True


class Names:
    """The table, by number and by word."""

    def __init__(self, path: Path = TABLE) -> None:
        table = json.loads(path.read_text(encoding="utf-8"))
        self.entries = [Name(one["name"], one["crop"], one["detector"], tuple(one["imagenet"]), one.get("of")) for one in table["names"]]
        self.common = [index for index, entry in enumerate(self.entries) if entry.of is None]
        self._words: dict[str, list[int]] = table["words"]
        self._narrower: dict[str, list[int]] = table["narrower"]

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> str:
        return self.entries[index].name

    def lookup(self, word: str, guess: bool = True) -> Meaning | None:
        """What a noun or noun phrase means; None for words that no name has to do with.

        Args:
          word: any case, singular or plural; of a phrase whose whole is unknown the last word counts ("coffee mug", then "mug").
          guess: take a misspelt word for the nearest known one.
        """
        text = " ".join(word.lower().replace("-", " ").split())
        parts = text.split()
        for start in range(len(parts)):
            found = self._exactly(" ".join(parts[start:]))
            if found is not None:
                return found
        return self._nearly(parts[-1]) if guess and parts else None

    def _exactly(self, text: str) -> Meaning | None:
        for form in forms(text):
            if form in self._labels:
                return Meaning(form, (self._labels[form],))
        for form in forms(text):
            if form in self._words:
                return Meaning(form, tuple(self._words[form]))
        for form in forms(text):
            if form in self._narrower:
                return Meaning(form, tuple(self._narrower[form]), is_exact=False)
        return None

    def _nearly(self, word: str) -> Meaning | None:
        if len(word) < 4:
            return None
        near = difflib.get_close_matches(word, self._everyday, 1, CLOSE) or difflib.get_close_matches(word, self._words, 1, CLOSE + 0.05)
        return Meaning(near[0], tuple(self._words[near[0]])) if near else None

    @cached_property
    def _labels(self) -> dict[str, int]:
        """Names that boxes were labelled with: said as they are, they mean just that, and not all that a dictionary calls so."""
        return {entry.name: i for i, entry in enumerate(self.entries) if entry.crop is not None or entry.detector is not None}

    @cached_property
    def _everyday(self) -> list[str]:
        """Words of the names that boxes were labelled with, before rarer ones."""
        return [
            word for word, ids in self._words.items() if any(self.entries[i].crop is not None and self.entries[i].name == word for i in ids)
        ]

    def kinds_of(self, index: int) -> list[int]:
        """Numbers of the finer names of a common one."""
        return [number for number, entry in enumerate(self.entries) if entry.of == index]


@cache
def names() -> Names:
    """The shipped table, read once."""
    return Names()


@cache
def forms(text: str) -> tuple[str, ...]:
    """A noun phrase as it stands, and with its last word in singular, the likeliest first."""
    head, _, last = text.rpartition(" ")
    lead = f"{head} " if head else ""
    singular = _PLURALS.singular_noun(last) if len(last) > 2 and not last.endswith(("ss", "us", "is")) else False  # type: ignore[arg-type]
    both = [text, f"{lead}{singular}"] if singular else [text]
    joined = [form.replace(" ", "") for form in both if " " in form]
    return tuple(dict.fromkeys([*both, *joined]))


def _is_plural(word: str) -> bool:
    return not word.endswith(("ss", "us", "is")) and bool(_PLURALS.singular_noun(word))  # type: ignore[arg-type]


def with_article(name: str) -> str:
    """`a cat`, `an apple`; names in plural and stuffs have none: `scissors`, `water`."""
    last = name.split()[-1]
    if last in _BARE or _is_plural(last):
        return name
    return str(_PLURALS.a(name))  # type: ignore[arg-type]


def plural(name: str, count: int) -> str:
    """`1 cat`, `2 cats`, `no cats`: the name alone, as it follows a number."""
    last = name.split()[-1]
    if count == 1 or last in _BARE or _is_plural(last):
        return name
    return str(_PLURALS.plural_noun(name))  # type: ignore[arg-type]


# Stuffs, which nobody counts.
_BARE = frozenset(
    [
        "water",
        "milk",
        "rice",
        "pasta",
        "flour",
        "sugar",
        "honey",
        "jam",
        "juice",
        "oil",
        "vinegar",
        "tea",
        "coffee",
        "soda",
        "corn",
        "fish",
        "cereal",
        "candy",
        "chocolate",
        "spaghetti",
        "broccoli",
        "asparagus",
        "garlic",
        "ginger",
        "lettuce",
        "spinach",
        "vegetation",
        "litter",
        "garbage",
        "waste",
        "quinoa",
        "tofu",
        "tempeh",
        "yogurt",
        "cheese",
        "soup",
        "porridge",
        "meat",
        "paper",
        "plastic",
        "foil",
        "sushi",
        "cauliflower",
        "food",
        "bread",
        "snow",
        "grass",
        "clothing",
        "furniture",
    ]
)


def listed(parts: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    items = list(parts)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""
