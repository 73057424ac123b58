"""Naming the labelled regions of our own JSONL: accuracy, a per-class table, a confusion matrix and calibration.

Data: `{"image": "a.jpg", "regions": [{"box_xyxy": [x0, y0, x1, y1], "label": "dog"}, …], …}` a line; regions without a label and all
other keys are ignored. Variant `ranked` scores every label of the file by its log-probability (mean per token) as the answer
to "What is <region1>?"; `generated` reads the free answer.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

from gpt4roi.evaluation.class_names import NameMatcher, with_coco_synonyms
from gpt4roi.evaluation.items import EvaluationError, Figure, Item, balanced_figure, mean_figure
from gpt4roi.evaluation.plots import calibration_image, confusion_image, expected_calibration_error
from gpt4roi.evaluation.task import Task, as_box, image_path, scores_of

QUESTION = "What is <region1>?"


class Regions(Task):
    """Region naming on the user's own data."""

    name = "regions"
    variants = ("ranked", "generated")
    max_new_tokens = 24
    blind_pass = True
    protocol = (
        'Every labelled region is asked "What is <region1>?", one region a question. ranked: the label of the highest mean log-probability '
        "per token among all labels of the file. generated: the label or a listed synonym that the answer names (evaluation/names.py). "
        "calibration_error: expected calibration error over 10 bins of the softmax over labels (lower is better)."
    )

    def items(self) -> list[Item]:
        records = []
        for number, line in enumerate(self.request.data.read_text(encoding="utf-8").splitlines(), 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
                regions = [(index, region) for index, region in enumerate(record["regions"]) if region.get("label")]
                boxes = [as_box(region["box_xyxy"]) for _, region in regions]
            except (json.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
                raise EvaluationError(f"{self.request.data}, line {number} is no sample with regions: {error}") from error
            records += [(number, record, index, region["label"], box) for (index, region), box in zip(regions, boxes, strict=True)]
        labels = tuple(sorted({label for _, _, _, label, _ in records}))
        self._matcher = NameMatcher(with_coco_synonyms(labels))
        ranked = self.variant == "ranked"
        return [
            Item(
                id=f"{record.get('id', number)}:{index + 1}",
                question=QUESTION,
                image=image_path(self.request, record["image"]) if record.get("image") else None,
                boxes_xyxy=(box,),
                wants="options" if ranked else "text",
                options=labels if ranked else (),
                answer_index=labels.index(label),
                references=(label,),
                candidates=labels,
            )
            for number, record, index, label, box in records
        ]

    def parse(self, item: Item, output: Any) -> Any | None:
        """{"label", "confidence"} from option scores, {"label", "strict"} from text."""
        scores = scores_of(output, len(item.candidates), per_token=True)
        if scores is not None:
            top = max(scores)
            weights = [math.exp(score - top) for score in scores]
            best = scores.index(top)
            return {"label": item.candidates[best], "confidence": weights[best] / sum(weights)}
        if not isinstance(output, str):
            return None
        label = self._matcher.resolve(output)
        strict = label is not None and self._matcher.exact(output) == label
        return None if label is None else {"label": label, "strict": strict}

    def score(self, item: Item, parsed: Any | None) -> float:
        return float(parsed is not None and parsed["label"] == item.references[0])

    def figures(self, items: list[Item], parsed: list[Any | None]) -> dict[str, Figure]:
        scores = [self.score(item, value) for item, value in zip(items, parsed, strict=True)]
        truths = [item.references[0] for item in items]
        chance = 100 / len(items[0].candidates)
        figures = {"accuracy": mean_figure(scores, items, chance), "accuracy_per_class": balanced_figure(scores, truths, items, chance)}
        if any(value and "strict" in value for value in parsed):
            figures["accuracy_strict"] = mean_figure([float(bool(value and value.get("strict"))) for value in parsed], items)
        confident = [(item, value) for item, value in zip(items, parsed, strict=True) if value and "confidence" in value]
        if confident:
            error = expected_calibration_error(
                [v["confidence"] for _, v in confident], [v["label"] == item.references[0] for item, v in confident]
            )
            figures["calibration_error"] = Figure(100 * error, len(confident))
        by_class: dict[str, list[int]] = defaultdict(list)
        for position, truth in enumerate(truths):
            by_class[truth].append(position)
        for truth, positions in sorted(by_class.items()):
            figures[f"class/{truth}"] = mean_figure([scores[p] for p in positions], [items[p] for p in positions])
        return figures

    def extra_files(self, items: list[Item], parsed: list[Any | None], output_dir: Path) -> list[Path]:
        truths = [item.references[0] for item in items]
        files = [confusion_image(truths, [value["label"] if value else None for value in parsed], output_dir / "confusion.png")]
        confident = [(item, value) for item, value in zip(items, parsed, strict=True) if value and "confidence" in value]
        if confident:
            confidences = [value["confidence"] for _, value in confident]
            right = [value["label"] == item.references[0] for item, value in confident]
            files.append(calibration_image(confidences, right, output_dir / "calibration.png"))
        return files
