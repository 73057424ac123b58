"""Referring expression comprehension: one box per expression, right if IoU > 0.5 (strictly), on boxes of a predictions file.

Data: mdetr-style `finetune_refcoco*_{val,testA,testB,test}.json` (one entry of `images` per expression, `caption`), a JSON list or JSONL
of `{"image" | "img_path" | "file_name", "expression" | "caption" | "normal_caption", "bbox" | "solution" (xyxy), "width", "height"}`.
A null box means that the expression fits nothing (RefCOCOs, gRefCOCO): such items are right when no box is predicted, and are reported
as `n_acc`, apart from the accuracies.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gpt4roi.boxes import pairwise_iou
from gpt4roi.evaluation.items import Box, EvaluationError, Figure, Item, mean_figure
from gpt4roi.evaluation.prediction_boxes import predicted_boxes
from gpt4roi.evaluation.task import Task, as_box, box_of_xywh, image_path

QUESTION = "Where is {}? Answer with its box."
MEAN_THRESHOLDS = tuple(t / 100 for t in range(50, 100, 5))


def read_list(path: Path) -> Any:
    """A JSON file, JSONL, or parquet (when pandas and a parquet engine are installed)."""
    if path.suffix == ".parquet":
        try:
            import pandas
        except ImportError as error:
            raise EvaluationError("reading parquet needs pandas and pyarrow; run: pip install pandas pyarrow") from error
        return pandas.read_parquet(path).to_dict("records")
    text = path.read_text(encoding="utf-8")
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        try:
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        except json.JSONDecodeError as error:
            raise EvaluationError(f"{path} is neither JSON nor JSONL: {error}") from error


def localisation_figures(items: list[Item], overlaps: list[float]) -> dict[str, Figure]:
    """Accuracy at .5, .75, .9 and its mean over .50:.05:.95, each strictly above the threshold, over all items."""
    figures = {f"acc@{t}": mean_figure([float(iou > t) for iou in overlaps], items) for t in (0.5, 0.75, 0.9)}
    figures["macc"] = mean_figure([sum(iou > t for t in MEAN_THRESHOLDS) / len(MEAN_THRESHOLDS) for iou in overlaps], items)
    return figures


class Rec(Task):
    """RefCOCO, RefCOCO+ and RefCOCOg accuracy."""

    name = "rec"
    protocol = (
        "One predicted box per expression (the first, if there are more), clipped to the picture; right iff IoU > threshold, strictly; a missing "
        "or unparsable box is wrong. Boxes in square-padded space are moved back before the IoU."
    )

    def items(self) -> list[Item]:
        data = read_list(self.request.data)
        try:
            return self._mdetr(data) if isinstance(data, dict) else [self._item(index, record) for index, record in enumerate(data)]
        except (KeyError, TypeError, IndexError) as error:
            raise EvaluationError(f"{self.request.data} holds no referring expressions: {error!r}") from error

    def _mdetr(self, data: dict[str, Any]) -> list[Item]:
        boxes: dict[Any, Box] = {}
        for annotation in data["annotations"]:
            boxes.setdefault(annotation["image_id"], box_of_xywh(annotation["bbox"]))
        return [
            self._made(
                str(image["id"]), image["file_name"], image["caption"], boxes[image["id"]], (int(image["width"]), int(image["height"])), {}
            )
            for image in data["images"]
        ]

    def _item(self, index: int, record: dict[str, Any]) -> Item:
        file_name = next(record[key] for key in ("image", "img_path", "file_name") if key in record)
        caption = next(record[key] for key in ("expression", "normal_caption", "caption", "sent") if key in record)
        corners = record["solution"] if "solution" in record else record["bbox"]
        box = as_box(corners) if corners else None
        size = (int(record["width"]), int(record["height"])) if "width" in record else None
        return self._made(str(record.get("id", index)), file_name, caption, box, size, {})

    def _made(
        self, item_id: str, file_name: str, caption: str, box: Box | None, size: tuple[int, int] | None, extra: dict[str, Any]
    ) -> Item:
        return Item(
            id=item_id,
            question=QUESTION.format(caption.strip().rstrip(".")),
            image=image_path(self.request, file_name),
            wants="boxes",
            oracle=[list(box)] if box else [],
            image_size_wh=size,
            shown_reference=", ".join(f"{value:.0f}" for value in box) if box else "nothing",
            extra={"box": box, **extra},
        )

    def parse(self, item: Item, output: Any) -> Any | None:
        """The first box in pixels of the image, or `[]` for "there is none"."""
        boxes = predicted_boxes(item, output)
        return boxes if boxes is None else [list(box) for box in boxes[:1]]

    def overlap(self, item: Item, parsed: Any | None) -> float:
        return float(pairwise_iou(parsed, [item.extra["box"]])[0, 0]) if parsed and item.extra["box"] else 0.0

    def score(self, item: Item, parsed: Any | None) -> float:
        return float(self.overlap(item, parsed) > 0.5) if item.extra["box"] else float(parsed == [])

    def figures(self, items: list[Item], parsed: list[Any | None]) -> dict[str, Figure]:
        located = [(item, self.overlap(item, value)) for item, value in zip(items, parsed, strict=True) if item.extra["box"]]
        figures = localisation_figures([item for item, _ in located], [iou for _, iou in located])
        empty = [(item, self.score(item, value)) for item, value in zip(items, parsed, strict=True) if not item.extra["box"]]
        if empty:
            figures["n_acc"] = mean_figure([score for _, score in empty], [item for item, _ in empty])
        return figures
