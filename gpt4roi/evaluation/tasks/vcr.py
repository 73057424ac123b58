"""Visual Commonsense Reasoning (arXiv:1811.10830): Q→A, QA→R and Q→AR, with the leaderboard's 4 + 16 probabilities.

Data: val.jsonl or test.jsonl as published. The tokenised fields are used: their object ids count from 0, while the numbers in
`*_orig` count from 1 (two published evaluations index with them unshifted and name the wrong people).

Objects follow the official reader: those that the question and the choices mention; everybody when "everyone" is mentioned or when
nothing is; and the whole image as a box before all others. Words such as "Casey" in the text are plain words.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gpt4roi.evaluation.items import Box, EvaluationError, Figure, Item, mean_figure
from gpt4roi.evaluation.task import Task, as_box, choice_of, image_path, scores_of

LETTERS = "ABCD"
EVERYONE = ("everyone", "everyones")
# Names for people that do not give away their gender, as the data set's authors put them into text-only models; reports use them.
NEUTRAL_NAMES = (
    "Casey",
    "Riley",
    "Jessie",
    "Jackie",
    "Avery",
    "Jaime",
    "Peyton",
    "Kerry",
    "Jody",
    "Kendall",
    "Skyler",
    "Frankie",
    "Pat",
    "Quinn",
)
MARKS = (",", ".", "?", "!", ";", ":", "'", ")")
CONTRACTIONS = ("s", "t", "re", "ve", "ll", "d", "m")
Tokens = Sequence[Any]


def mentioned_objects(tokens: Tokens, objects: Sequence[str], where: str) -> set[int]:
    """0-based object ids that a tokenised text refers to; "everyone" refers to every person.

    Raises:
      EvaluationError: an id that the image does not have.
    """
    found: set[int] = set()
    for token in tokens:
        if isinstance(token, list):
            for index in token:
                if not 0 <= int(index) < len(objects):
                    raise EvaluationError(f"{where} refers to object {index}, but the picture has {len(objects)} objects counted from 0")
                found.add(int(index))
        elif str(token).lower() in EVERYONE:
            found |= people(objects)
    return found


def people(objects: Sequence[str]) -> set[int]:
    return {index for index, name in enumerate(objects) if name == "person"}


def kept_objects(texts: Sequence[Tokens], objects: Sequence[str], where: str) -> list[int]:
    """Objects to show for a question and its choices, in the image's order: the mentioned ones, or else all people."""
    found = set().union(*(mentioned_objects(text, objects, where) for text in texts))
    return sorted(found or people(objects))


def render_tokens(tokens: Tokens, name_of: Callable[[int], str]) -> str:
    """A tokenised text as a sentence; object lists become "a, b and c"."""
    text = ""
    for token in tokens:
        word = _listed([name_of(int(index)) for index in token]) if isinstance(token, list) else str(token)
        glued = not text or word.startswith(MARKS) or word == "n't" or text.endswith("(") or (text.endswith("'") and word in CONTRACTIONS)
        text += word if glued else f" {word}"
    return text


def neutral_name(objects: Sequence[str]) -> Callable[[int], str]:
    """Readable names: people by gender-neutral names in order, other objects as "the dog"."""
    names: dict[int, str] = {}
    for index, kind in enumerate(objects):
        names[index] = NEUTRAL_NAMES[len(names.keys() & people(objects)) % len(NEUTRAL_NAMES)] if kind == "person" else f"the {kind}"
    return names.__getitem__


def vcr_question(question: str, names: Sequence[str], first_number: int = 2, lines: Sequence[str] = ()) -> str:
    """The user's turn: which regions there are, then the question.

    Args:
      names: object class of each region; the first is region `first_number` (number 1 is the whole image when that is 2).
    """
    listed = _listed([f"<region{first_number + index}> ({name})" for index, name in enumerate(names)])
    head = "<region1> is the whole picture. " if first_number == 2 else ""
    refer = "refers to a specific area" if len(names) == 1 else "refer to specific areas"
    regions = f"{listed} {refer} of the picture." if names else ""
    return "\n".join([f"{head}{regions}".strip(), question, *lines]).strip()


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


class Vcr(Task):
    """Three accuracies over one file; the two questions of an annotation are joined by its id."""

    name = "vcr"
    variants = ("text", "letter", "generated")
    max_new_tokens = 4
    protocol = (
        "q2a: four answers. qa2r: four rationales given the ground-truth answer. q2ar: both right for one annot_id. text: mean log-probability "
        "per token of each option's text as the answer; letter: options listed as (A) to (D), log-probability of the letter; generated: the "
        "same prompt, the letter that the model writes. The published GPT4RoI prompt is letter/generated. Regions: object filter of the "
        "official reader, the whole picture as first region."
    )

    def items(self) -> list[Item]:
        items: list[Item] = []
        for number, line in enumerate(self.request.data.read_text(encoding="utf-8").splitlines(), 1):
            if line.strip():
                try:
                    items += self._items_of(json.loads(line))
                except (json.JSONDecodeError, KeyError) as error:
                    raise EvaluationError(f"{self.request.data}, line {number} is no VCR record: {error!r}") from error
        return items

    def _items_of(self, record: dict[str, Any]) -> list[Item]:
        label = record.get("answer_label")
        if label is None and not self.request.leaderboard:
            raise EvaluationError(
                f"{record['annot_id']} has no answer_label, so this is a test split; give --leaderboard to write its probabilities"
            )
        answers, rationales = record["answer_choices"], record["rationale_choices"]
        items = [self._item(record, "q2a", record["question"], None, answers, label)]
        for conditioned_on in range(len(answers)) if self.request.leaderboard else [label]:
            items.append(
                self._item(
                    record, f"qa2r:{conditioned_on}", record["question"], answers[conditioned_on], rationales, record.get("rationale_label")
                )
            )
        return items

    def _item(
        self, record: dict[str, Any], part: str, question: Tokens, answer: Tokens | None, choices: Sequence[Tokens], label: int | None
    ) -> Item:
        annot_id, objects = str(record["annot_id"]), record["objects"]
        given = [question, *([answer] if answer is not None else [])]
        kept = kept_objects([*given, *choices], objects, annot_id)
        boxes, size_wh, problem = self._boxes(record)
        number_of = {index: position + 2 for position, index in enumerate(kept)}

        def mention(index: int) -> str:
            return f"<region{number_of[index]}>"

        lines = [] if answer is None else [f"Answer: {render_tokens(answer, mention)}", "Why is this answer right?"]
        options = tuple(render_tokens(choice, mention) for choice in choices)
        if self.variant != "text":
            lines += [f"({letter}) {option}" for letter, option in zip(LETTERS, options, strict=True)]
            lines.append("Answer with the letter of the right option.")
        readable = neutral_name(objects)
        conditioned_on = int(part.split(":")[1]) if ":" in part else None
        return Item(
            id=f"{annot_id}:{part}",
            question=vcr_question(render_tokens(question, mention), [objects[index] for index in kept], lines=lines),
            image=image_path(self.request, record["img_fn"]),
            boxes_xyxy=((0.0, 0.0, float(size_wh[0]), float(size_wh[1])), *(boxes[index] for index in kept)) if boxes and size_wh else (),
            wants="text" if self.variant == "generated" else "options",
            options=options if self.variant == "text" else tuple(LETTERS),
            answer_index=None if label is None else int(label),
            references=() if label is None else (LETTERS[int(label)],),
            candidates=tuple(LETTERS),
            image_size_wh=size_wh,
            shown_reference="" if label is None else render_tokens(choices[int(label)], readable),
            extra={
                "kind": part.split(":")[0],
                "annot_id": annot_id,
                "conditioned_on": conditioned_on,
                # A rationale's label holds for the ground-truth answer only.
                "counts": label is not None and conditioned_on in (None, record.get("answer_label")),
                "problem": problem,
                "readable": [render_tokens(text, readable) for text in (*given, *choices)],
            },
        )

    def _boxes(self, record: dict[str, Any]) -> tuple[list[Box], tuple[int, int] | None, str | None]:
        """Boxes and image size of the record's metadata file; the third says what is missing, for whoever needs the boxes."""
        path = image_path(self.request, record["metadata_fn"])
        if not path.exists():
            return (
                [],
                None,
                f"{record['annot_id']} has no metadata file {path}, which holds its boxes; give --images, the folder of vcr1images",
            )
        metadata = json.loads(path.read_text(encoding="utf-8"))
        boxes = [as_box(row[:4]) for row in metadata["boxes"]]
        if len(boxes) != len(record["objects"]):
            raise EvaluationError(f"{record['annot_id']} names {len(record['objects'])} objects, but {path} has {len(boxes)} boxes")
        return boxes, (int(metadata["width"]), int(metadata["height"])), None

    def parse(self, item: Item, output: Any) -> Any | None:
        """{"choice": index} and, where scores were given, {"probabilities": four numbers}."""
        scores = scores_of(output, 4, per_token=self.variant == "text")
        choice = choice_of(scores if scores is not None else output, 4)
        if choice is None:
            return None
        if scores is None:
            return {"choice": choice, "probabilities": [float(index == choice) for index in range(4)]}
        top = max(scores)
        weights = [math.exp(score - top) for score in scores]
        return {"choice": choice, "probabilities": [weight / sum(weights) for weight in weights]}

    def score(self, item: Item, parsed: Any | None) -> float:
        return float(parsed is not None and parsed["choice"] == item.answer_index)

    def figures(self, items: list[Item], parsed: list[Any | None]) -> dict[str, Figure]:
        counted = [(item, self.score(item, value)) for item, value in zip(items, parsed, strict=True) if item.extra["counts"]]
        if not counted:
            return {}
        figures = {}
        by_annotation: dict[str, dict[str, tuple[Item, float]]] = {}
        for kind in ("q2a", "qa2r"):
            pairs = [(item, score) for item, score in counted if item.extra["kind"] == kind]
            figures[kind] = mean_figure([score for _, score in pairs], [item for item, _ in pairs], chance=25.0)
            for item, score in pairs:
                by_annotation.setdefault(item.extra["annot_id"], {})[kind] = (item, score)
        both = [(parts["q2a"][0], parts["q2a"][1] * parts["qa2r"][1]) for parts in by_annotation.values() if len(parts) == 2]
        figures["q2ar"] = mean_figure([score for _, score in both], [item for item, _ in both], chance=6.25)
        return figures

    def extra_files(self, items: list[Item], parsed: list[Any | None], output_dir: Path) -> list[Path]:
        """leaderboard.csv: annot_id, answer_0..3, rationale_conditioned_on_a0_0..a3_3."""
        if not self.request.leaderboard:
            return []
        rows: dict[str, dict[str, Any]] = {}
        for item, value in zip(items, parsed, strict=True):
            row = rows.setdefault(item.extra["annot_id"], {"annot_id": item.extra["annot_id"]})
            conditioned_on = item.extra["conditioned_on"]
            prefix = "answer" if conditioned_on is None else f"rationale_conditioned_on_a{conditioned_on}"
            probabilities = value["probabilities"] if value else [0.25] * 4
            row.update({f"{prefix}_{index}": f"{probability:.8g}" for index, probability in enumerate(probabilities)})
        columns = [
            "annot_id",
            *(f"answer_{i}" for i in range(4)),
            *(f"rationale_conditioned_on_a{a}_{i}" for a in range(4) for i in range(4)),
        ]
        incomplete = [annot_id for annot_id, row in rows.items() if len(row) != len(columns)]
        if incomplete:
            # Written only whole: the leaderboard would take a file with holes for a finished one.
            return []
        path = output_dir / "leaderboard.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows.values())
        return [path]
