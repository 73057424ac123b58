"""Ref-L4 (arXiv:2406.16866): REC with long expressions; accuracy overall, by object size and averaged over classes.

Data: ref-l4-{val,test}.parquet, or the same records as JSON or JSONL: `id`, `caption`, `bbox` xywh, `ori_category_id`, `file_name`,
`width`, `height`, `split`. `--split val|test` keeps one split of a joint file.

The official class average first merges RefCOCO's category ids into those of Objects365; `--classes FILE` takes that mapping as JSON
({"refcoco_1": "o365_1", …}). Without it ids are averaged as they stand, and the note under the table says so.
"""

from __future__ import annotations

import json
import math
from typing import Any

from gpt4roi.evaluation.items import EvaluationError, Figure, Item, balanced_figure
from gpt4roi.evaluation.task import box_of_xywh
from gpt4roi.evaluation.tasks.rec import MEAN_THRESHOLDS, Rec, localisation_figures, read_list

# Square root of the box area in pixels; 256 itself is medium.
SMALL_BELOW, LARGE_ABOVE = 128, 256


class RefL4(Rec):
    """Accuracy at .5, .75, .9, mAcc, three sizes and the class average."""

    name = "refl4"
    protocol = f"{Rec.protocol} Sizes by the square root of the box area: below 128, 128 to 256, above 256 pixels. Class average over category ids."

    def items(self) -> list[Item]:
        merged = json.loads(self.request.classes.read_text(encoding="utf-8")) if self.request.classes else {}
        try:
            records = [r for r in read_list(self.request.data) if self.request.split in (None, "all", r.get("split"))]
            return [self._ref(record, merged) for record in records]
        except (KeyError, TypeError, AttributeError) as error:
            raise EvaluationError(f"{self.request.data} holds no Ref-L4 records: {error!r}") from error

    def _ref(self, record: dict[str, Any], merged: dict[str, str]) -> Item:
        category = str(record["ori_category_id"])
        extra = {"category": merged.get(category, category)}
        size = (int(record["width"]), int(record["height"]))
        return self._made(str(record["id"]), record["file_name"], record["caption"], box_of_xywh(list(record["bbox"])), size, extra)

    def figures(self, items: list[Item], parsed: list[Any | None]) -> dict[str, Figure]:
        overlaps = [self.overlap(item, value) for item, value in zip(items, parsed, strict=True)]
        figures = localisation_figures(items, overlaps)
        for size in ("small", "medium", "large"):
            chosen = [(item, iou) for item, iou in zip(items, overlaps, strict=True) if _size(item) == size]
            part = localisation_figures([item for item, _ in chosen], [iou for _, iou in chosen]) if chosen else {}
            figures.update({f"{size}_{name}": part[name] for name in ("acc@0.5", "macc") if name in part})
        classes = [item.extra["category"] for item in items]
        figures["class_acc@0.5"] = balanced_figure([float(iou > 0.5) for iou in overlaps], classes, items)
        mean = [sum(iou > t for t in MEAN_THRESHOLDS) / len(MEAN_THRESHOLDS) for iou in overlaps]
        figures["class_macc"] = balanced_figure(mean, classes, items)
        return figures

    def notes(self) -> list[str]:
        if self.request.classes is not None:
            return []
        return ["class averages use ori_category_id as it stands; the official scorer merges RefCOCO ids first (--classes FILE)"]


def _size(item: Item) -> str:
    x0, y0, x1, y1 = item.extra["box"]
    side = math.sqrt(max(x1 - x0, 0) * max(y1 - y0, 0))
    return "small" if side < SMALL_BELOW else "medium" if side <= LARGE_ABOVE else "large"
