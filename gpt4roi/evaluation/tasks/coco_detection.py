"""COCO detection and instance segmentation: box and mask AP through pycocotools, on a predictions file.

Data: instances_val2017.json. Predictions: COCO's own results list (`[{"image_id", "category_id", "bbox" xywh, "score", "segmentation" RLE}]`,
images without detections left out), or JSONL with one record per image, `{"id": image id, "output": [detections]}`.
`--classes FILE` (one class name a line) scores only these classes.
"""

from __future__ import annotations

import json
import math
from typing import Any, ClassVar

from gpt4roi.evaluation.average_precision import AveragePrecision, make_coco
from gpt4roi.evaluation.items import EvaluationError, Figure, Item
from gpt4roi.evaluation.task import Task, image_path


class CocoDetection(Task):
    """AP, AP50, AP75 and AP by size, for boxes and, where the predictions have them, masks."""

    name = "coco_detection"
    absent_output: ClassVar[Any] = []
    protocol = "COCOeval, pixels of the original picture, at most 100 detections a picture, sparse COCO category ids."

    def items(self) -> list[Item]:
        data = json.loads(self.request.data.read_text(encoding="utf-8"))
        try:
            by_image: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in data["images"]}
            for annotation in data["annotations"]:
                by_image[annotation["image_id"]].append(annotation)
            self._category_ids = self._wanted_categories(data["categories"])
        except (KeyError, TypeError) as error:
            raise EvaluationError(f"{self.request.data} is no COCO instances file: {error!r}") from error
        self._coco = make_coco(data)
        self._has_masks = all("segmentation" in annotation for annotation in data["annotations"])
        return [
            Item(
                id=str(image["id"]),
                question="Detect every object.",
                image=image_path(self.request, image["file_name"]),
                wants="detections",
                oracle=[self._perfect(annotation) for annotation in by_image[image["id"]] if not annotation.get("iscrowd")],
                image_size_wh=(int(image["width"]), int(image["height"])),
                shown_reference=f"{len(by_image[image['id']])} objects",
                extra={"image_id": image["id"], "category_ids": self._category_ids},
            )
            for image in data["images"]
        ]

    def _wanted_categories(self, categories: list[dict[str, Any]]) -> list[int]:
        if self.request.classes is None:
            return [category["id"] for category in categories]
        names = {line.strip() for line in self.request.classes.read_text(encoding="utf-8").splitlines() if line.strip()}
        unknown = names - {category["name"] for category in categories}
        if unknown:
            raise EvaluationError(f"{self.request.classes} names the class '{sorted(unknown)[0]}', which {self.request.data} does not have")
        return [category["id"] for category in categories if category["name"] in names]

    def _perfect(self, annotation: dict[str, Any]) -> dict[str, Any]:
        detection = {"bbox": annotation["bbox"], "category_id": annotation["category_id"], "score": 1.0}
        if self._has_masks:
            rle = self._coco.annToRLE(annotation)
            counts = rle["counts"]
            detection["segmentation"] = {"size": list(rle["size"]), "counts": counts.decode() if isinstance(counts, bytes) else counts}
        return detection

    def parse(self, item: Item, output: Any) -> Any | None:
        """The detections, each with a category, a score and a box or mask."""
        if not isinstance(output, list):
            return None
        for detection in output:
            if not isinstance(detection, dict) or not (
                {"category_id", "score"} <= detection.keys() and {"bbox", "segmentation"} & detection.keys()
            ):
                return None
            if not math.isfinite(float(detection["score"])):
                return None
        return output

    def score(self, item: Item, parsed: Any | None) -> float:
        """Share of the objects found at IoU 0.5 with the right class by some detection: for the report's order, not a metric."""
        from gpt4roi.boxes import pairwise_iou, xywh_to_xyxy

        if not item.oracle:
            return float(not parsed)
        found = 0
        for reference in item.oracle:
            same = [d["bbox"] for d in parsed or [] if d["category_id"] == reference["category_id"] and "bbox" in d]
            found += bool(same) and bool(pairwise_iou(xywh_to_xyxy([reference["bbox"]]), xywh_to_xyxy(same)).max() > 0.5)
        return found / len(item.oracle)

    def figures(self, items: list[Item], parsed: list[Any | None]) -> dict[str, Figure]:
        detections = [{**d, "image_id": item.extra["image_id"]} for item, value in zip(items, parsed, strict=True) for d in value or []]
        image_ids = [item.extra["image_id"] for item in items]
        figures = {}
        with_boxes = [{key: value for key, value in d.items() if key != "segmentation"} for d in detections if "bbox" in d]
        if with_boxes or not detections:
            figures.update(AveragePrecision(self._coco, with_boxes, "bbox", image_ids, self._category_ids).figures("box"))
        with_masks = [{key: value for key, value in d.items() if key != "bbox"} for d in detections if "segmentation" in d]
        if with_masks and self._has_masks:
            figures.update(AveragePrecision(self._coco, with_masks, "segm", image_ids, self._category_ids).figures("mask"))
        return figures

    def notes(self) -> list[str]:
        if self.request.classes is None:
            return []
        return [f"only the {len(self._category_ids)} classes of {self.request.classes} are scored: not comparable with AP over 80 classes"]
