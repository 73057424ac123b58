"""Classifying the ground-truth boxes of COCO 2017 val: accuracy, and mAP through pycocotools.

Data: instances_val2017.json (or any COCO instances file); crowd boxes are not asked about.
"""

from __future__ import annotations

import json
import math
from typing import Any

from gpt4roi.evaluation.average_precision import AveragePrecision, make_coco
from gpt4roi.evaluation.class_names import NameMatcher, with_coco_synonyms
from gpt4roi.evaluation.items import EvaluationError, Figure, Item, mean_figure
from gpt4roi.evaluation.task import Task, box_of_xywh, image_path, scores_of

QUESTION = "What is the category of <region1>? Answer with a COCO-80 class name."
# Names per box that go into COCOeval: it keeps 100 detections an image and class, and further names add nothing but memory.
RANKED_NAMES = 10


class CocoClassification(Task):
    """Accuracy strict and with synonyms, and mAP from ranked names (`ranked`) or from the one named class (`generated`)."""

    name = "coco_classification"
    variants = ("ranked", "generated")
    max_new_tokens = 16
    blind_pass = True
    protocol = (
        "Ground-truth boxes without crowds. ranked: all class names ranked by mean log-probability per token; accuracy of the first; map: "
        "the 10 best names of each box with their softmax as score, on the ground-truth box, through COCOeval. generated: accuracy_strict: "
        "the whole answer is the class name; accuracy: or a synonym (evaluation/coco_synonyms.json, rule in evaluation/names.py); "
        "map_top1: the named class with score 1.0, answers outside the vocabulary dropped. Do not compare map with map_top1 or with accuracy."
    )

    def items(self) -> list[Item]:
        data = json.loads(self.request.data.read_text(encoding="utf-8"))
        try:
            images = {image["id"]: image for image in data["images"]}
            names = {category["id"]: category["name"] for category in sorted(data["categories"], key=lambda category: category["id"])}
            annotations = [annotation for annotation in data["annotations"] if not annotation.get("iscrowd")]
        except (KeyError, TypeError) as error:
            raise EvaluationError(f"{self.request.data} is no COCO instances file: {error!r}") from error
        self._data, self._category_ids, self._names = data, list(names), tuple(names.values())
        self._matcher = NameMatcher(with_coco_synonyms(self._names))
        ranked = self.variant == "ranked"
        return [
            Item(
                id=str(annotation["id"]),
                question=QUESTION,
                image=image_path(self.request, images[annotation["image_id"]]["file_name"]),
                boxes_xyxy=(box_of_xywh(annotation["bbox"]),),
                wants="options" if ranked else "text",
                options=self._names if ranked else (),
                answer_index=self._category_ids.index(annotation["category_id"]),
                references=(names[annotation["category_id"]],),
                candidates=self._names,
                extra={"image_id": annotation["image_id"], "bbox": annotation["bbox"]},
            )
            for annotation in annotations
        ]

    def parse(self, item: Item, output: Any) -> Any | None:
        """{"class", "strict", "ranked": [[name, probability], …]}; `ranked` only from scores."""
        scores = scores_of(output, len(self._names), per_token=True)
        if scores is not None:
            top = max(scores)
            weights = [math.exp(score - top) for score in scores]
            best = sorted(range(len(scores)), key=lambda index: -scores[index])[:RANKED_NAMES]
            name = self._names[best[0]]
            ranked = [[self._names[index], weights[index] / sum(weights)] for index in best]
            return {"class": name, "strict": name == item.references[0], "ranked": ranked}
        if not isinstance(output, str):
            return None
        named = self._matcher.resolve(output)
        return None if named is None else {"class": named, "strict": self._matcher.exact(output) == item.references[0]}

    def score(self, item: Item, parsed: Any | None) -> float:
        return float(parsed is not None and parsed["class"] == item.references[0])

    def figures(self, items: list[Item], parsed: list[Any | None]) -> dict[str, Figure]:
        pairs = list(zip(items, parsed, strict=True))
        chance = 100 / len(self._names)
        figures = {
            "accuracy": mean_figure([self.score(item, value) for item, value in pairs], items, chance),
            "accuracy_strict": mean_figure([float(bool(value and value["strict"])) for value in parsed], items, chance),
        }
        coco = make_coco(self._data)
        image_ids = sorted({item.extra["image_id"] for item in items})
        category_of = dict(zip(self._names, self._category_ids, strict=True))
        answers = {"map_top1": [[(value["class"], 1.0)] if value else [] for value in parsed]}
        if any(value and "ranked" in value for value in parsed):
            answers = {"map": [value["ranked"] if value and "ranked" in value else [] for value in parsed], **answers}
        for name, named in answers.items():
            detections = [
                {"image_id": item.extra["image_id"], "bbox": item.extra["bbox"], "category_id": category_of[label], "score": probability}
                for item, labels in zip(items, named, strict=True)
                for label, probability in labels
            ]
            figures[name] = AveragePrecision(coco, detections, "bbox", image_ids).figures(name, len(items), with_sizes=False)[f"{name}_ap"]
        return figures
