"""The embedded default's own suite: one command gives the README's table.

Items file, JSONL, one question a line:

    {"id": "coco-142-0-name", "image": "coco/000000000142.jpg", "regions": [{"box_xyxy": [179.7, 62.3, 291.7, 240.0], "label": "bottle"}],
     "question": "What is <region1>?", "kind": "name", "answers": ["bottle"], "group": "coco_all", "phrasing": "seen"}

- `kind`: `name` (answers: acceptable class names, the class first), `yes_no` (answers: `["yes"]` or `["no"]`), `relation`
  (answers: acceptable wordings), `colour` (answers: the region's two most frequent colours, most frequent first), `refuse`
  (the question cannot be answered from the picture; answers: an example refusal, may be empty).
- `group`: a data set or slice of it, or a list of them (an item of `coco_big` may also count in `coco_all`).
- `phrasing`: `seen` in training or `unseen`; optional.
- `box_xyxy`: pixels of the picture. `image`: relative to --images, else to the items file.

Figures are named `kind/group`, and `kind/phrasing` for seen and unseen wordings.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

from gpt4roi.conversation import mentioned_numbers
from gpt4roi.evaluation.class_names import NameMatcher, is_refusal, strict_match, with_coco_synonyms
from gpt4roi.evaluation.items import EvaluationError, Figure, Item, balanced_figure, mean_figure
from gpt4roi.evaluation.short_answers import colours_in, relation_matches, yes_or_no
from gpt4roi.evaluation.task import Request, Task, as_box, image_path

KINDS = ("name", "yes_no", "relation", "colour", "refuse")
REFUSAL_EXAMPLE = "I cannot tell that from the picture."
COLOUR_CANDIDATES = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "gray")


def _relation_candidates(answer: str, relations: list[str]) -> tuple[str, ...]:
    """What one would guess from: yes or no, one of the two regions, or the relations of the file."""
    if answer.lower() in ("yes", "no"):
        return ("yes", "no")
    if mentioned_numbers(answer):
        return ("<region1>", "<region2>")
    return tuple(relation for relation in relations if relation.lower() not in ("yes", "no") and not mentioned_numbers(relation))


class EmbeddedSuite(Task):
    """Naming, yes/no, relations, colours and refusals about boxes of real photographs."""

    name = "embedded_suite"
    max_new_tokens = 32
    blind_pass = True
    protocol = (
        "Free answers, scored by rule. name: the class, or a listed synonym, named by the answer's noun phrase "
        "(rule in evaluation/names.py); name_strict: the whole answer is the class name. yes_no: mean of the recalls of yes and of no. relation: the answer says an "
        "acceptable relation and none that contradicts it. colour: the answer's first colour is one of the region's two most frequent. "
        "refuse: share of unanswerable questions where the answer says it cannot know; false_refusals: the same on answerable ones. "
        "blind: the same model with region features set to zero. majority: the best single answer to each form of question in that row. Chance of colour is one seeded run of guesses among 11 colours."
    )

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self._matcher = NameMatcher({})

    def items(self) -> list[Item]:
        records = [
            (number, line) for number, line in enumerate(self.request.data.read_text(encoding="utf-8").splitlines(), 1) if line.strip()
        ]
        parsed = [self._checked(number, line) for number, line in records]
        names = sorted({answer for record in parsed if record["kind"] == "name" for answer in record["answers"][:1]})
        self._matcher = NameMatcher(with_coco_synonyms(names))
        candidates = {"name": names, "yes_no": ["yes", "no"], "colour": list(COLOUR_CANDIDATES)}
        relations = sorted({record["answers"][0] for record in parsed if record["kind"] == "relation"})
        candidates["refuse"] = [REFUSAL_EXAMPLE, *names] if names else [REFUSAL_EXAMPLE, "yes"]
        return [
            self._item(
                record,
                _relation_candidates(record["answers"][0], relations)
                if record["kind"] == "relation"
                else tuple(candidates[record["kind"]]),
            )
            for record in parsed
        ]

    def _checked(self, number: int, line: str) -> dict[str, Any]:
        where = f"{self.request.data}, line {number}"
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise EvaluationError(f"{where} is not JSON: {error.msg}") from error
        missing = [key for key in ("id", "image", "regions", "question", "kind", "answers") if key not in record]
        if missing:
            raise EvaluationError(f"{where} has no {', '.join(missing)}")
        if record["kind"] not in KINDS:
            raise EvaluationError(f"{where}: kind is one of {', '.join(KINDS)}; got '{record['kind']}'")
        if not record["answers"] and record["kind"] != "refuse":
            raise EvaluationError(f"{where}: a question of kind {record['kind']} needs at least one acceptable answer")
        if record["kind"] == "yes_no" and yes_or_no(record["answers"][0]) is None:
            raise EvaluationError(f"{where}: the answer of a yes_no question is yes or no; got '{record['answers'][0]}'")
        return record

    def _item(self, record: dict[str, Any], candidates: tuple[str, ...]) -> Item:
        group = record.get("group", "all")
        groups = [group] if isinstance(group, str) else list(group)
        return Item(
            id=str(record["id"]),
            question=record["question"],
            image=image_path(self.request, record["image"]),
            boxes_xyxy=tuple(as_box(region["box_xyxy"]) for region in record["regions"]),
            references=tuple(record["answers"]) or (REFUSAL_EXAMPLE,),
            candidates=candidates,
            extra={"kind": record["kind"], "groups": groups, "phrasing": record.get("phrasing")},
        )

    def parse(self, item: Item, output: Any) -> Any | None:
        """{"refused": bool} with: name → {"class", "strict"}, yes_no → {"value"}, relation → {"matches"}, colour → {"colours"}.

        None where the answer holds nothing of the kind asked for.
        """
        if not isinstance(output, str):
            return None
        kind, refused = item.extra["kind"], is_refusal(output)
        parsed: dict[str, Any] = {"refused": refused}
        if kind == "refuse":
            return parsed
        if kind == "name":
            own = NameMatcher(with_coco_synonyms(item.references)).resolve(output)
            known = self._matcher.resolve(output)
            parsed |= {"class": known or own, "own": own, "strict": strict_match(output, item.references)}
            return parsed if parsed["class"] or parsed["strict"] or refused else None
        if kind == "yes_no":
            parsed["value"] = yes_or_no(output)
            return parsed if parsed["value"] or refused else None
        if kind == "relation":
            parsed["matches"] = relation_matches(output, item.references)
            return parsed
        parsed["colours"] = colours_in(output)
        return parsed if parsed["colours"] or refused else None

    def score(self, item: Item, parsed: Any | None) -> float:
        if parsed is None:
            return 0.0
        kind = item.extra["kind"]
        if kind == "refuse":
            return float(parsed["refused"])
        if kind == "name":
            # The vocabulary of all items decides what was named, so "hot dog" is no dog; an item's own further answers count too.
            wanted = {item.references[0]} | set(item.references)
            return float(parsed["strict"] or parsed["class"] in wanted or (parsed["class"] == parsed["own"] and parsed["own"] is not None))
        if kind == "yes_no":
            return float(parsed["value"] == yes_or_no(item.references[0]))
        if kind == "relation":
            return float(parsed["matches"])
        accepted = {colour for reference in item.references[:2] for colour in colours_in(reference)}
        return float(bool(parsed["colours"]) and parsed["colours"][0] in accepted)

    def figures(self, items: list[Item], parsed: list[Any | None]) -> dict[str, Figure]:
        figures: dict[str, Figure] = {}
        for kind in KINDS:
            pairs = [(item, value) for item, value in zip(items, parsed, strict=True) if item.extra["kind"] == kind]
            groups = list(dict.fromkeys(group for item, _ in pairs for group in item.extra["groups"]))
            phrasings = sorted({item.extra["phrasing"] for item, _ in pairs if item.extra["phrasing"]})
            for group in groups:
                chosen = [(item, value) for item, value in pairs if group in item.extra["groups"]]
                figures[f"{kind}/{group}"] = self._figure(kind, chosen)
                if kind == "name":
                    strict = [float(bool(value and value["strict"])) for _, value in chosen]
                    figures[f"name_strict/{group}"] = mean_figure(strict, [item for item, _ in chosen], figures[f"name/{group}"].chance)
            for phrasing in phrasings:
                figures[f"{kind}/{phrasing}"] = self._figure(
                    kind, [(item, value) for item, value in pairs if item.extra["phrasing"] == phrasing]
                )
        answerable = [(item, value) for item, value in zip(items, parsed, strict=True) if item.extra["kind"] != "refuse"]
        if answerable:
            refused = [float(bool(value and value["refused"])) for _, value in answerable]
            figures["false_refusals"] = mean_figure(refused, [item for item, _ in answerable])
        return figures

    def _figure(self, kind: str, pairs: list[tuple[Item, Any]]) -> Figure:
        items = [item for item, _ in pairs]
        scores = [self.score(item, value) for item, value in pairs]
        if kind == "yes_no":
            return balanced_figure(scores, [yes_or_no(item.references[0]) or "" for item in items], items, chance=50.0)
        chance = 100 * sum(1 / len(item.candidates) for item in items) / len(items) if kind in ("name", "relation") else None
        return dataclasses.replace(mean_figure(scores, items, chance), majority=self._best_constant(items))

    def _best_constant(self, items: list[Item]) -> float:
        """The best that one answer to each form of question (names, yes or no, which region, …) reaches, without looking.

        Tried with the three most frequent answers of the form.
        """
        best = 0.0
        for form in {item.candidates for item in items}:
            asked = [item for item in items if item.candidates == form]
            frequent = Counter(item.references[0] for item in asked).most_common(3)
            best += max(sum(self.score(item, self.parse(item, answer)) for item in asked) for answer, _ in frequent)
        return 100 * best / len(items)

    def extra_files(self, items: list[Item], parsed: list[Any | None], output_dir: Path) -> list[Path]:
        from gpt4roi.evaluation.plots import confusion_picture

        named = [(item, value) for item, value in zip(items, parsed, strict=True) if item.extra["kind"] == "name"]
        if not named:
            return []
        truths = [item.references[0] for item, _ in named]
        return [confusion_picture(truths, [value["class"] if value else None for _, value in named], output_dir / "confusion.png")]
