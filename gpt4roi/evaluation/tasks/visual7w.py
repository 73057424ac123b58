"""Visual7W pointing (arXiv:1511.03416): which of four regions answers the question.

Data: dataset_v7w_pointing.json as published: `images[]` with `filename`, `split`, `qa_pairs[]` (`qa_id`, `question`, `answer` box id,
`multiple_choices` three box ids) and `boxes[]` (`box_id`, `x`, `y`, `width`, `height`, `name`).
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import numpy as np

from gpt4roi.boxes import pairwise_iou
from gpt4roi.evaluation.items import Box, EvaluationError, Figure, Item, mean_figure
from gpt4roi.evaluation.task import Task, box_of_xywh, choice_of, image_path

_REGION = re.compile(r"region\s*([1-4])\b", re.IGNORECASE)


class Visual7W(Task):
    """Accuracy over four candidate boxes in a seeded order."""

    name = "visual7w"
    variants = ("options", "generated")
    max_new_tokens = 12
    protocol = (
        "Pointing questions of the split (default test), four candidate boxes, order drawn per question from --seed and qa_id. options: "
        "log-probability of each region's name as the answer; generated: the region that the model writes. A box or point in a "
        "predictions file counts for the candidate of the largest IoU or the smallest candidate that holds the point."
    )

    def items(self) -> list[Item]:
        data = json.loads(self.request.data.read_text(encoding="utf-8"))
        try:
            boxes = {box["box_id"]: box_of_xywh((box["x"], box["y"], box["width"], box["height"])) for box in data["boxes"]}
            wanted = self.request.split or "test"
            return [
                self._item(image, qa, boxes)
                for image in data["images"]
                for qa in image["qa_pairs"]
                if qa.get("split", image.get("split")) == wanted
            ]
        except (KeyError, TypeError) as error:
            raise EvaluationError(f"{self.request.data} is no Visual7W pointing file: {error!r}") from error

    def _item(self, image: dict[str, Any], qa: dict[str, Any], boxes: dict[Any, Box]) -> Item:
        candidates = [qa["answer"], *qa["multiple_choices"]]
        digest = hashlib.sha256(f"{self.request.seed}:{qa['qa_id']}".encode()).digest()
        order = np.random.default_rng(int.from_bytes(digest[:8], "little")).permutation(len(candidates))
        shuffled = [candidates[index] for index in order]
        answer = shuffled.index(qa["answer"])
        names = tuple(f"<region{index + 1}>" for index in range(len(candidates)))
        return Item(
            id=str(qa["qa_id"]),
            question=f"{', '.join(names[:-1])} and {names[-1]} are candidates. {qa['question']} Answer with one region.",
            image=image_path(self.request, image["filename"]),
            boxes_xyxy=tuple(boxes[box_id] for box_id in shuffled),
            wants="text" if self.variant == "generated" else "options",
            options=names if self.variant == "options" else (),
            answer_index=answer,
            references=(names[answer],),
            candidates=names,
        )

    def parse(self, item: Item, output: Any) -> Any | None:
        """The index of the chosen candidate."""
        if isinstance(output, dict) and "box" in output:
            overlaps = pairwise_iou([output["box"]], item.boxes_xyxy)[0]
            return int(overlaps.argmax()) if overlaps.max() > 0 else None
        if isinstance(output, dict) and "point" in output:
            x, y = output["point"]
            holding = [
                ((x1 - x0) * (y1 - y0), index) for index, (x0, y0, x1, y1) in enumerate(item.boxes_xyxy) if x0 <= x <= x1 and y0 <= y <= y1
            ]
            return min(holding)[1] if holding else None
        if isinstance(output, str):
            named = _REGION.findall(output)
            return int(named[0]) - 1 if named else choice_of(output, len(item.boxes_xyxy))
        return choice_of(output, len(item.boxes_xyxy))

    def score(self, item: Item, parsed: Any | None) -> float:
        return float(parsed is not None and parsed == item.answer_index)

    def figures(self, items: list[Item], parsed: list[Any | None]) -> dict[str, Figure]:
        scores = [self.score(item, value) for item, value in zip(items, parsed, strict=True)]
        return {"accuracy": mean_figure(scores, items, chance=100 * sum(1 / len(item.boxes_xyxy) for item in items) / len(items))}
