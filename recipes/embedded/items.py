#!/usr/bin/env python
"""Items of `gpt4roi evaluate embedded_suite` from labelled regions (recipes/embedded/data.py).

    python -m recipes.embedded.items LABELLED_DIR/val.jsonl ITEMS.jsonl [--per-kind 400] [--seed 0]

Every box of coco_small, caltech101 and groceries is named once. Yes/no, relation and colour take `--per-kind` boxes each, and ask the same
boxes again in phrasings that training never used. Which way a question goes is balanced; half of the false names in yes/no questions
are of the same picture or easily confused.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

from gpt4roi.colors import COLORS
from recipes.embedded.conversations import CONFUSABLE, with_article
from recipes.embedded.phrasings import ASK

NAMED_SETS = ("coco_small", "caltech101", "groceries")
ORIGINAL_NAMES = {
    "motorcycle": ["motorbike"], "cell phone": ["cellphone"], "water lily": ["water lilly"], "tv": ["television", "tv monitor"], "couch": ["sofa"],
    "airplane": ["plane"], "dining table": ["table"], "potted plant": ["plant"], "face": ["human face", "person"], "ewer": ["pitcher"],
}  # fmt: skip

# None of these stands in the training text.
UNSEEN = {
    "name": (
        "Would you identify the item enclosed by {a}?", "{a} outlines something; which thing?", "I'd like to know the name of whatever sits inside {a}.",
        "My cursor is on {a}. Which object am I pointing at?", "Help me out here: {a} contains which object?", "Give the noun that fits {a} best.",
        "Somebody circled {a}; any idea what they circled?", "Quick quiz! The content of {a}?",
    ),
    "yes_no": (
        "Tell me whether {a} is {x}.", "True or false, yes or no: {a} depicts {x}?", "My friend claims {a} is {x}; is he right?", "Are we dealing with {x} in {a}?",
        "Would {x} be a correct label for {a}?",
    ),
    "colour": (
        "If you had to paint {a}, which color would you need most?", "Color-wise, how would you characterise {a}?", "Pick the color that prevails in {a}.",
        "Which hue dominates {a}?", "Name the color that fills most of {a}.",
    ),
    "left": ("Looking from left to right, which comes first: {a} or {b}?", "Tell me which of these is nearer to the left edge: {a} or {b}."),
    "right": ("Tell me which of these is nearer to the right edge: {a} or {b}.",),
    "above": ("Which of the two sits nearer to the upper edge, {a} or {b}?",),
    "below": ("Which of the two sits nearer to the lower edge, {a} or {b}?",),
    "larger": ("Which has the greater area, {a} or {b}?",),
    "smaller": ("Which has the lesser area, {a} or {b}?",),
    "is_left": ("Would I find {a} left of {b}?",),
    "is_right": ("Would I find {a} right of {b}?",),
    "is_above": ("Is the position of {a} higher up than that of {b}?",),
    "is_below": ("Is the position of {a} lower down than that of {b}?",),
    "is_larger": ("Does {a} occupy more space than {b}?",),
    "is_smaller": ("Does {a} occupy less space than {b}?",),
    "same": ("Would you put {a} and {b} into one category?", "Do {a} and {b} depict the same type of thing?"),
    "refuse": (
        "What is the first name of whoever is in {a}?", "Which shop sold {a}?", "How many grams does {a} weigh exactly?", "What is the birthday of {a}?",
        "Which words are engraved on {a}?", "On what date was {a} photographed?", "What is the e-mail address shown in {a}?", "What did {a} have for breakfast?",
        "What is the price tag of {a}?", "Which street is {a} on?", "What language does {a} speak at home?", "Who is going to buy {a} next year?",
    ),
}  # fmt: skip


class ItemWriter:
    def __init__(self, records: list[dict[str, Any]], rng: random.Random) -> None:
        self.records, self.rng, self.items = records, rng, list[dict[str, Any]]()
        self.labels = sorted({region["label"] for record in records for region in record["regions"]})

    def add(
        self,
        record: dict[str, Any],
        indices: list[int],
        role: str,
        kind: str,
        answers: list[str],
        groups: list[str],
        phrasing: str,
        **values: str,
    ) -> None:
        asked = (UNSEEN if phrasing == "unseen" else ASK)[role]
        mentions = dict(zip(("a", "b"), ("<region1>", "<region2>"), strict=True))
        regions = [{key: record["regions"][i][key] for key in ("box_xyxy", "label")} for i in indices]
        self.items.append(
            {
                "id": f"{kind}-{role}-{phrasing}-{Path(record['image']).stem}-{'-'.join(map(str, indices))}-{len(self.items)}",
                "image": record["image"], "regions": regions, "question": self.rng.choice(asked).format(**mentions, **values),
                "kind": kind, "answers": answers, "group": groups, "phrasing": phrasing,
            }
        )  # fmt: skip

    def both(self, *args: Any, **values: str) -> None:
        self.add(*args, "seen", **values)
        self.add(*args, "unseen", **values)

    def names(self, unseen: int) -> None:
        boxes = [(record, i) for record in self.records if record["source"] in NAMED_SETS for i in range(len(record["regions"]))]
        again = set(self.rng.sample(range(len(boxes)), min(unseen, len(boxes))))
        for position, (record, i) in enumerate(boxes):
            label, (x0, y0, x1, y1) = record["regions"][i]["label"], record["regions"][i]["box_xyxy"]
            share = (x1 - x0) * (y1 - y0) / (record["size_wh"][0] * record["size_wh"][1])
            groups = (
                ["coco_all", *(["coco_big"] if share > 0.02 else [])]
                if record["source"] == "coco_small"
                else [record["source"], "caltech101+groceries"]
            )
            answers = [label, *ORIGINAL_NAMES.get(label, [])]
            if position in again:
                self.add(record, [i], "name", "name", answers, ["paired"], "unseen")
                groups = [*groups, "paired_seen"]
            self.add(record, [i], "name", "name", answers, groups, "seen")

    def yes_no(self, count: int) -> None:
        boxes = [(record, i) for record in self.records for i in range(len(record["regions"]))]
        for position, (record, i) in enumerate(self.rng.sample(boxes, min(count, len(boxes)))):
            true = record["regions"][i]["label"]
            asked, answer = true, "yes"
            if position % 2:
                near = [r["label"] for r in record["regions"]] + [name for group in CONFUSABLE if true in group for name in group]
                near = [name for name in near if name != true]
                pool = near if near and position % 4 == 1 else self.labels
                asked, answer = self.rng.choice([name for name in pool if name != true]), "no"
            self.both(record, [i], "yes_no", "yes_no", [answer], [f"yes_no_{record['source']}"], x=with_article(asked))

    def relations(self, count: int) -> None:
        several = [record for record in self.records if len(record["regions"]) > 1]
        kinds = (
            "left",
            "right",
            "above",
            "below",
            "larger",
            "smaller",
            "is_left",
            "is_right",
            "is_above",
            "is_below",
            "is_larger",
            "is_smaller",
            "same",
            "same",
        )
        made = 0
        while made < count:
            role = kinds[made % len(kinds)]
            record = self.rng.choice(several)
            a, b = self.rng.sample(range(len(record["regions"])), 2)
            holds = self.holds(record, a, b, role.removeprefix("is_"))
            if holds is None or (role == "same" and holds != (made // len(kinds) % 2 == 0)):
                continue
            answers = [("yes" if holds else "no")] if role == "same" or role.startswith("is_") else ["<region1>" if holds else "<region2>"]
            self.both(record, [a, b], role, "relation", answers, ["same_kind" if role == "same" else role.removeprefix("is_")])
            made += 1

    @staticmethod
    def holds(record: dict[str, Any], a: int, b: int, relation: str) -> bool | None:
        """Whether the relation of centres or areas holds; None where it is too close to call (4 % of the side, 30 % of the area)."""
        width, height = record["size_wh"]
        (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = record["regions"][a]["box_xyxy"], record["regions"][b]["box_xyxy"]
        dx, dy = ((ax0 + ax1) - (bx0 + bx1)) / 2 / width, ((ay0 + ay1) - (by0 + by1)) / 2 / height
        ratio = (ax1 - ax0) * (ay1 - ay0) / ((bx1 - bx0) * (by1 - by0))
        if relation == "same":
            return record["regions"][a]["label"] == record["regions"][b]["label"]
        if relation in ("left", "right"):
            return None if abs(dx) < 0.04 else (dx < 0) == (relation == "left")
        if relation in ("above", "below"):
            return None if abs(dy) < 0.04 else (dy < 0) == (relation == "above")
        return None if 1 / 1.3 < ratio < 1.3 else (ratio > 1) == (relation == "larger")

    def colours(self, count: int) -> None:
        boxes = [(record, i) for record in self.records for i in range(len(record["regions"]))]
        for record, i in self.rng.sample(boxes, min(count, len(boxes))):
            shares = record["regions"][i]["colours"]
            order = sorted(range(len(shares)), key=lambda index: -shares[index])
            self.both(record, [i], "colour", "colour", [COLORS[order[0]], COLORS[order[1]]], [f"colour_{record['source']}"])

    def refusals(self, count: int) -> None:
        boxes = [(record, i) for record in self.records for i in range(len(record["regions"]))]
        for record, i in self.rng.sample(boxes, min(count, len(boxes))):
            self.add(record, [i], "refuse", "refuse", [], ["refuse"], "unseen")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labelled", type=Path)
    parser.add_argument("items", type=Path)
    parser.add_argument("--per-kind", type=int, default=400)
    parser.add_argument("--refusals", type=int, default=60)
    parser.add_argument("--max-names", type=int, help="at most this many pictures' boxes are named (for a quick look)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    records = [r for r in map(json.loads, args.labelled.read_text(encoding="utf-8").splitlines()) if r["regions"]]
    rng = random.Random(args.seed)
    if args.max_names:
        records = rng.sample(records, min(args.max_names, len(records)))
    writer = ItemWriter(records, rng)
    writer.names(unseen=args.per_kind)
    writer.yes_no(args.per_kind)
    writer.relations(args.per_kind)
    writer.colours(args.per_kind)
    writer.refusals(args.refusals)
    # Questions about one picture one after the other, so that its features are computed once.
    writer.items.sort(key=lambda item: item["image"])
    with open(args.items, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(item) + "\n" for item in writer.items)
    unseen = sum(len(texts) for texts in UNSEEN.values())
    print(f"{len(writer.items)} questions about {len(records)} pictures; {unseen} phrasings that training never used")


if __name__ == "__main__":
    main()
