"""Conversations about labelled boxes, built from labels, colours, captions and geometry: the embedded default's training text.

A record is one line of `recipes/embedded/data.py`. Everything is a pure function of the record and a seed. All wording is ours.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gpt4roi.colors import COLORS
from recipes.embedded.phrasings import ASK, CANNOT_READ, CLOSERS, OPENERS, PATTERNS, REFUSALS

MASS = frozenset(
    "pasta rice milk juice water tea coffee sugar flour honey jam oil vinegar soda candy cereal corn chocolate fish tomato-sauce cabinetry broccoli".replace(
        "-", " "
    ).split()
) | {"tomato sauce"}
PLURAL = frozenset({"beans", "nuts", "chips", "spices", "skis", "scissors"})
CONFUSABLE = (
    ("car", "truck", "bus", "train"), ("bicycle", "motorcycle"), ("dog", "cat", "sheep", "cow", "horse"), ("fork", "knife", "spoon"),
    ("cup", "bowl", "bottle", "wine glass", "vase"), ("chair", "couch", "bench", "bed"), ("apple", "orange", "banana", "carrot"),
    ("laptop", "keyboard", "mouse", "remote", "cell phone", "tv"), ("backpack", "handbag", "suitcase"), ("oven", "microwave", "refrigerator", "toaster", "sink"),
    ("pizza", "sandwich", "donut", "cake", "hot dog"), ("juice", "soda", "water", "milk", "vinegar", "oil"), ("beans", "corn", "rice", "pasta", "nuts"),
    ("candy", "chocolate", "cake", "chips", "cereal"), ("tea", "coffee", "sugar", "flour", "spices"), ("jam", "honey", "tomato sauce"),
    ("bird", "kite", "airplane"), ("surfboard", "skateboard", "snowboard", "skis"), ("elephant", "zebra", "giraffe", "bear"),
    ("ferry", "schooner", "ketch", "boat"), ("crocodile", "crocodile head"), ("cougar face", "cougar body", "leopard", "wild cat"),
)  # fmt: skip

NUMBERS = ("None", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight")


def with_article(label: str) -> str:
    """`a dog`, `an apple`, `rice`, `scissors`."""
    if label in MASS or label in PLURAL:
        return label
    return f"{'an' if label[0] in 'aeiou' else 'a'} {label}"


def sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def colour_words(shares: Sequence[float]) -> str:
    """`Mostly brown and some black.`: the largest colour, and the second when it covers 15 %."""
    order = sorted(range(len(shares)), key=lambda index: -shares[index])
    first, second = order[0], order[1]
    tail = f" and some {COLORS[second]}" if shares[second] >= 0.15 else ""
    return f"Mostly {COLORS[first]}{tail}."


class Writer:
    """Turns of one conversation about one record, chosen by one random generator."""

    def __init__(self, record: Mapping[str, Any], rng: random.Random, regions: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> None:
        self.record, self.rng, self.regions, self.labels = record, rng, regions, labels
        width, height = record["size_wh"]
        self.boxes = [(b[0] / width, b[1] / height, b[2] / width, b[3] / height) for b in (r["box_xyxy"] for r in regions)]
        self.turns: list[dict[str, str]] = []
        self.named: set[int] = set()

    def add(self, role: str, answer: str, **values: str) -> None:
        wording = self.rng.choice(PATTERNS[role] if role in PATTERNS and self.rng.random() < 0.5 else ASK[role])
        wording = re.sub(r"\[([^]]*)\]", lambda match: self.rng.choice(match[1].split("|")), wording)
        question = self.dress(wording.format(**{name: value for name, value in values.items() if value}))
        self.turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]

    def dress(self, question: str) -> str:
        """The question as hurried, polite or talkative people would type it."""
        if self.rng.random() < 0.15:
            question = self.rng.choice(OPENERS) + question
        if self.rng.random() < 0.1:
            question += self.rng.choice(CLOSERS)
        if self.rng.random() < 0.12:
            question = question.lower()
        return question.rstrip("?.") if self.rng.random() < 0.08 else question

    @staticmethod
    def tag(index: int) -> str:
        return f"<region{index + 1}>"

    def centre(self, index: int) -> tuple[float, float]:
        x0, y0, x1, y1 = self.boxes[index]
        return (x0 + x1) / 2, (y0 + y1) / 2

    def area(self, index: int) -> float:
        x0, y0, x1, y1 = self.boxes[index]
        return (x1 - x0) * (y1 - y0)

    def label(self, index: int) -> str:
        return str(self.regions[index]["label"])

    def next_to_name(self) -> int:
        """A region whose name no answer has told yet, while there is one: what was told can be copied and teaches nothing about features."""
        index = self.rng.choice([i for i in range(len(self.regions)) if i not in self.named] or list(range(len(self.regions))))
        self.named.add(index)
        return index

    def name(self) -> None:
        role = "name_next" if self.named and self.rng.random() < 0.5 else "name"
        index = self.next_to_name()
        self.add(role, sentence(with_article(self.label(index))), a=self.tag(index))

    def yes_no(self) -> None:
        index = self.next_to_name()
        true = self.label(index)
        if self.rng.random() < 0.5:
            self.add("yes_no", sentence(f"{with_article(true)}, so yes"), a=self.tag(index), x=with_article(true))
            return
        same_image = [r["label"] for r in self.record["regions"] if r["label"] != true]
        confusable = [name for group in CONFUSABLE if true in group for name in group if name != true]
        pools: list[Sequence[str]] = [pool for pool in (same_image, confusable) if pool]
        pool: Sequence[str] = self.rng.choice(pools) if pools and self.rng.random() < 0.75 else self.labels
        false = self.rng.choice([name for name in pool if name != true])
        self.add("yes_no", sentence(f"{with_article(true)}, so no"), a=self.tag(index), x=with_article(false))

    def colour(self) -> None:
        index = self.rng.randrange(len(self.regions))
        self.add("colour", colour_words(self.regions[index]["colours"]), a=self.tag(index))

    def pair(self) -> tuple[int, int] | None:
        if len(self.regions) < 2:
            return None
        a, b = self.rng.sample(range(len(self.regions)), 2)
        return a, b

    def relation(self) -> None:
        pair = self.pair()
        if pair is None:
            return self.name()
        a, b = pair
        (ax, ay), (bx, by) = self.centre(a), self.centre(b)
        ratio = self.area(a) / max(self.area(b), 1e-9)
        kinds: list[tuple[str, bool, str]] = []
        if abs(ax - bx) > 0.04:
            word = "further left" if ax < bx else "further right"
            kinds += [("left", ax < bx, word), ("right", ax > bx, word)]
        if abs(ay - by) > 0.04:
            word = "higher" if ay < by else "lower"
            kinds += [("above", ay < by, word), ("below", ay > by, word)]
        if ratio > 1.3 or ratio < 1 / 1.3:
            word = "larger" if ratio > 1 else "smaller"
            kinds += [("larger", ratio > 1, word), ("smaller", ratio < 1, word)]
        if not kinds:
            return self.where()
        kind, holds, word = self.rng.choice(kinds)
        # What is seen first, what follows from it second, here and wherever yes or no is the answer: a small model does not learn to give
        # the conclusion alone.
        if self.rng.random() < 0.5:
            self.add(kind, f"The first one is {word}, so {self.tag(a if holds else b)}.", a=self.tag(a), b=self.tag(b))
        else:
            self.add(f"is_{kind}", f"It is {word}, so {'yes' if holds else 'no'}.", a=self.tag(a), b=self.tag(b))
        return None

    def same(self) -> None:
        """Half of the time about two of a kind, where there are two."""
        pair = self.pair()
        if pair is None:
            return self.name()
        a, b = pair
        if self.rng.random() < 0.5:
            alike = [
                (i, j) for i in range(len(self.regions)) for j in range(len(self.regions)) if i != j and self.label(i) == self.label(j)
            ]
            a, b = self.rng.choice(alike) if alike else pair
        self.named |= {a, b}
        one, other = self.label(a), self.label(b)
        words = f"{with_article(one)} and {with_article(other)}, so {'yes' if one == other else 'no'}"
        self.add("same", sentence(words), a=self.tag(a), b=self.tag(b))
        return None

    def directions(self, a: int, b: int) -> str:
        (ax, ay), (bx, by) = self.centre(a), self.centre(b)
        words = []
        if abs(ay - by) > 0.05:
            words.append("above" if ay < by else "below")
        if abs(ax - bx) > 0.05:
            words.append("to the left" if ax < bx else "to the right")
        return " and ".join(words) or "at the same place"

    def where(self) -> None:
        pair = self.pair()
        if pair is None:
            return self.place()
        a, b = pair
        self.add("where", sentence(f"{self.directions(a, b)}"), a=self.tag(a), b=self.tag(b))
        return None

    def size(self) -> None:
        pair = self.pair()
        if pair is None:
            return self.place()
        a, b = pair
        ratio = self.area(a) / max(self.area(b), 1e-9)
        words = (
            "about the same size"
            if 1 / 1.3 < ratio < 1.3
            else ("much " if ratio > 4 or ratio < 0.25 else "") + ("larger" if ratio > 1 else "smaller")
        )
        self.add("size", sentence(words), a=self.tag(a), b=self.tag(b))
        return None

    def compare(self) -> None:
        pair = self.pair()
        if pair is None:
            return self.describe()
        a, b = pair
        size = "larger" if self.area(a) > self.area(b) else "smaller"
        text = f"{self.tag(a)} is {with_article(self.label(a))} and {self.tag(b)} is {with_article(self.label(b))}; {self.tag(a)} is {size} and {self.directions(a, b)}."
        self.add("compare", text[0].upper() + text[1:], a=self.tag(a), b=self.tag(b))
        return None

    def place_words(self, index: int) -> str:
        x, y = self.centre(index)
        row = "top" if y < 0.36 else "bottom" if y > 0.64 else ""
        column = "left" if x < 0.36 else "right" if x > 0.64 else ""
        return f"at the {row} {column}".replace("  ", " ").strip() if row or column else "in the middle"

    def place(self) -> None:
        index = self.rng.randrange(len(self.regions))
        self.add("place", sentence(self.place_words(index)), a=self.tag(index))

    def describe(self) -> None:
        index = self.rng.randrange(len(self.regions))
        shares = self.regions[index]["colours"]
        colour = COLORS[max(range(len(shares)), key=lambda i: shares[i])]
        size = self.area(index)
        amount = "most" if size > 0.5 else "a large part" if size > 0.15 else "a small part"
        place = self.place_words(index)
        text = f"{with_article(self.label(index))}, mostly {colour}, {place} of the picture; it covers {amount} of it"
        self.add("describe", sentence(text), a=self.tag(index))

    def list_all(self) -> None:
        if len(self.regions) < 2:
            return self.name()
        self.named = set(range(len(self.regions)))
        self.add(
            "list",
            " ".join(f"{self.tag(i)[0].upper()}{self.tag(i)[1:]} is {with_article(self.label(i))}." for i in range(len(self.regions))),
        )
        return None

    def count(self) -> None:
        label = self.label(self.rng.randrange(len(self.regions))) if self.rng.random() < 0.8 else self.rng.choice(list(self.labels))
        number = sum(self.label(i) == label for i in range(len(self.regions)))
        # How many is asked about the regions that the user has marked, so all of them stand in the question.
        marked = ", ".join(self.tag(i) for i in range(len(self.regions)))
        question = f"{self.rng.choice(ASK['count']).format(x=with_article(label))} ({marked})"
        self.turns += [{"role": "user", "content": question}, {"role": "assistant", "content": f"{NUMBERS[number]}."}]

    def anything_else(self) -> None:
        shown = {r["label"] for r in self.regions}
        others = sorted({r["label"] for r in self.record["regions"]} - shown)
        if self.record["source"] not in ("coco_small", "indoor"):
            return self.name()
        self.rng.shuffle(others)
        words = [with_article(name) for name in others[:3]]
        answer = (
            "Nothing else that I can name."
            if not words
            else f"There is also {words[0] if len(words) == 1 else ', '.join(words[:-1]) + ' and ' + words[-1]}."
        )
        self.add("else", answer, a=self.tag(self.rng.randrange(len(self.regions))))
        return None

    def image(self) -> None:
        captions = self.record.get("captions") or []
        if not captions:
            return self.colour()
        self.add("picture", self.rng.choice(captions).strip().rstrip(".") + ".")
        return None

    def follow_up(self) -> None:
        """Name a region, then ask for the one beside it."""
        pair = self.pair()
        if pair is None:
            return self.name()
        a, b = pair
        (ax, ay), (bx, by) = self.centre(a), self.centre(b)
        if abs(ax - bx) < 0.1 or abs(ax - bx) < abs(ay - by) or len(self.regions) > 2:
            return self.relation()
        self.turns += [
            {"role": "user", "content": f"I marked {self.tag(b)} and {self.tag(a)}. {self.rng.choice(ASK['name']).format(a=self.tag(a))}"},
            {"role": "assistant", "content": sentence(with_article(self.label(a)))},
        ]
        self.add("side", sentence(with_article(self.label(b))), side="left" if bx < ax else "right")
        return None

    def refuse(self) -> None:
        index = self.rng.randrange(len(self.regions))
        role, answers = ("reads", CANNOT_READ) if self.rng.random() < 0.4 else ("unknowable", REFUSALS)
        self.add(role, self.rng.choice(answers).format(a=self.tag(index)), a=self.tag(index))


# What is asked how often, for pictures with one region and with several, and for geometry alone.
SINGLE = (("name", 38), ("yes_no", 28), ("colour", 30), ("refuse", 6), ("place", 4), ("describe", 4))
SEVERAL = (
    ("name", 32), ("yes_no", 26), ("relation", 8), ("same", 5), ("colour", 9), ("where", 1), ("size", 1), ("compare", 2), ("place", 2), ("describe", 1), ("list_all", 6),
    ("count", 1), ("anything_else", 1), ("follow_up", 1), ("refuse", 4), ("image", 1),
)  # fmt: skip
GEOMETRY = (("relation", 56), ("where", 24), ("size", 8), ("place", 8), ("refuse", 4))
PAIR = (("relation", 60), ("same", 40))


def random_box(rng: random.Random, size_wh: Sequence[int]) -> list[float]:
    """A box of 0.5 % to 50 % of the picture, anywhere in it; xyxy pixels."""
    width, height = size_wh
    area, aspect = math.exp(rng.uniform(math.log(0.005), math.log(0.5))), math.exp(rng.gauss(0, 0.4))
    w, h = min((area * aspect) ** 0.5, 0.95), min((area / aspect) ** 0.5, 0.95)
    x, y = rng.uniform(0, 1 - w), rng.uniform(0, 1 - h)
    return [round(x * width, 1), round(y * height, 1), round((x + w) * width, 1), round((y + h) * height, 1)]


def drawn_by_hand(rng: random.Random, box_xyxy: Sequence[float], size_wh: Sequence[int]) -> list[float]:
    """The box with every edge off by about 3 % of its side, as people draw it; within the picture."""
    sides = (box_xyxy[2] - box_xyxy[0], box_xyxy[3] - box_xyxy[1]) * 2
    limits = (size_wh[0], size_wh[1]) * 2
    moved = (edge + side * max(-0.08, min(0.08, rng.gauss(0, 0.03))) for edge, side in zip(box_xyxy, sides, strict=True))
    return [round(min(max(edge, 0.0), float(limit)), 1) for edge, limit in zip(moved, limits, strict=True)]


def conversation(
    record: Mapping[str, Any],
    rng: random.Random,
    labels: Sequence[str],
    questions: int | None = None,
    *,
    geometry: bool = False,
    pair: bool = False,
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One sample in our JSONL format: up to seven of the record's regions in a random order, `questions` questions about them.

    questions: if None two a region and two more, so that most of them ask what no earlier answer tells; three about a single region.
    geometry: ask about places and sizes alone, and fill up with boxes drawn at random, which need no label.
    pair: ask about two regions at a time alone, of a record with at least two.
    about: show this one of the record's regions alone.
    """
    regions = list(record["regions"]) if about is None else [about]
    if regions:
        rng.shuffle(regions)
        # Rarer things first, so that people do not crowd out everything else.
        regions.sort(key=lambda region: region["label"] == "person" and rng.random() < 0.5)
        regions = regions[: rng.choice((2, 3, 4, 5, 6, 7))]
        regions = [{**region, "box_xyxy": drawn_by_hand(rng, region["box_xyxy"], record["size_wh"])} for region in regions]
    if geometry:
        drawn = max(rng.choice((2, 3, 4)) - len(regions), rng.choice((0, 1)))
        regions += [{"box_xyxy": random_box(rng, record["size_wh"])} for _ in range(drawn)]
        rng.shuffle(regions)
    if questions is None and geometry:
        questions = 11
    elif questions is None:
        questions = 2 * len(regions) + 2 if len(regions) > 1 else 3
    writer = Writer(record, rng, regions, labels)
    if not regions:
        writer.image()
    else:
        plan = PAIR if pair else GEOMETRY if geometry else SINGLE if len(regions) == 1 else SEVERAL
        # Each at most once for a single region: its first answer would give the others away.
        once = len(regions) == 1
        asked: list[str] = []
        while len(asked) < (min(questions, len(plan)) if once else questions):
            name = rng.choices([name for name, _ in plan], [weight for _, weight in plan])[0]
            if not (once and name in asked):
                asked.append(name)
        methods: list[Callable[[], None]] = [getattr(writer, name) for name in asked]
        for method in methods:
            method()
    return {
        "image": record["image"],
        "regions": [{key: region[key] for key in ("box_xyxy", "label") if key in region} for region in regions],
        "conversation": writer.turns,
    }
