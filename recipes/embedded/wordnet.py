"""Nouns of WordNet 3.0: what a name means, what it is a kind of, and which other words mean it.

Reads `data.noun`, `index.noun` and `cntlist.rev` of Debian's `wordnet-base` (Princeton's licence; formats: wndb(5WN), cntlist(5WN)). A tool of
the recipe; the product reads the table that `names_table.py` writes.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

# Kinds that are of no use in an answer: everything is an entity.
TOP = {"entity", "physical entity", "abstraction", "abstract entity", "object", "physical object", "whole", "unit", "matter", "causal agent", "cause", "causal agency", "thing", "psychological feature", "attribute", "relation", "group", "grouping", "part", "portion"}  # fmt: skip


class WordNet:
    """Noun synsets by their offset, which ImageNet's ids carry (n02123045 is offset 2123045)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lemmas: dict[int, list[str]] = {}
        self.parents: dict[int, list[int]] = {}
        for line in (folder / "data.noun").read_text(encoding="utf-8").splitlines():
            if line.startswith("  "):
                continue
            fields = line.split("|")[0].split()
            offset, count = int(fields[0]), int(fields[3], 16)
            self.lemmas[offset] = [fields[4 + 2 * i].replace("_", " ") for i in range(count)]
            pointers = fields[4 + 2 * count + 1 :]
            # Hypernyms and, for names of single things, what they are an instance of.
            self.parents[offset] = [int(pointers[i + 1]) for i in range(0, len(pointers) - 3, 4) if pointers[i] in ("@", "@i")]

    @cached_property
    def senses(self) -> dict[str, list[int]]:
        """Offsets of a word in lower case, the most frequent sense first."""
        found = {}
        for line in (self.folder / "index.noun").read_text(encoding="utf-8").splitlines():
            if not line.startswith("  "):
                fields = line.split()
                found[fields[0].replace("_", " ")] = [int(offset) for offset in fields[-int(fields[2]) :]]
        return found

    @cached_property
    def used(self) -> set[tuple[str, int]]:
        """(word, sense number from 1) pairs that were seen in texts."""
        found = set()
        for line in (self.folder / "cntlist.rev").read_text(encoding="utf-8").splitlines():
            key, number, _ = line.split()
            word, _, rest = key.partition("%")
            if rest.startswith("1:"):
                found.add((word.replace("_", " "), int(number)))
        return found

    def closure(self, offset: int) -> list[int]:
        """The synset and all that it is a kind of, nearest first."""
        found: list[int] = []
        waiting = [offset]
        while waiting:
            current = waiting.pop(0)
            if current not in found:
                found.append(current)
                waiting += self.parents[current]
        return found

    def words(self, offset: int) -> list[str]:
        """Its words in lower case, without proper names."""
        return [word for word in self.lemmas[offset] if word[0].islower() or not word.isalpha()]

    def kinds(self, offset: int) -> list[str]:
        """The words of what it is a kind of, nearest first, without the vaguest."""
        words = [word for parent in self.closure(offset)[1:] for word in self.words(parent)]
        return [word for word in dict.fromkeys(words) if word not in TOP]

    def frequent_below(self, roots: Iterable[int]) -> dict[str, set[int]]:
        """Words that are kinds of a root and were seen in texts as their first sense: word to the nearest roots."""
        wanted = set(roots)
        found: dict[str, set[int]] = {}
        for word, offsets in self.senses.items():
            if (word, 1) in self.used or len(offsets) == 1:
                for ancestor in self.closure(offsets[0]):
                    if ancestor in wanted:
                        found.setdefault(word, set()).add(ancestor)
                        break
        return found
