"""COCO average precision: pycocotools matches, we accumulate, so that the bootstrap over images needs no new matching.

With every image weighted once the numbers are COCOeval's own (a test holds them equal).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpt4roi.evaluation.items import EvaluationError, Figure, bootstrap_weights, interval

# Fewer than elsewhere: each resample accumulates every class anew.
NUM_RESAMPLES = 200
AREAS = ("all", "small", "medium", "large")


@dataclass(frozen=True)
class Matches:
    """Matches of one class in one area range, over all images, best score first.

    true, false: bool[T, D] per IoU threshold. image: int[D]. num_references: int[N] per image.
    """

    true: np.ndarray
    false: np.ndarray
    image: np.ndarray
    num_references: np.ndarray


def make_coco(dataset: Mapping[str, Any]) -> Any:
    """pycocotools' index of a COCO dict. It prints progress, which is dropped: stdout belongs to results."""
    try:
        from pycocotools.coco import COCO
    except ImportError as error:
        raise EvaluationError("average precision needs pycocotools; run: pip install pycocotools") from error
    coco = COCO()
    coco.dataset = dict(dataset)
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


class AveragePrecision:
    """AP, AP50, AP75 and AP by size of detections against a COCO data set.

    Args:
      coco: from `make_coco`.
      detections: COCO results; bbox xywh in pixels or segmentation RLE, sparse category ids.
      iou_type: `bbox` or `segm`.
      image_ids, category_ids: what to score; None = all.
    """

    def __init__(
        self,
        coco: Any,
        detections: Sequence[Mapping[str, Any]],
        iou_type: str = "bbox",
        image_ids: Sequence[Any] | None = None,
        category_ids: Sequence[int] | None = None,
    ) -> None:
        from pycocotools.cocoeval import COCOeval

        self.image_ids = sorted(image_ids if image_ids is not None else coco.getImgIds())
        wanted = set(self.image_ids)
        with contextlib.redirect_stdout(io.StringIO()):
            # loadRes writes into the records it is given.
            results = (
                coco.loadRes([dict(d) for d in detections if d["image_id"] in wanted])
                if detections
                else make_coco({**coco.dataset, "annotations": []})
            )
            evaluation = COCOeval(coco, results, iou_type)
            evaluation.params.imgIds = self.image_ids
            if category_ids is not None:
                evaluation.params.catIds = sorted(category_ids)
            evaluation.evaluate()
        self._thresholds = evaluation.params.iouThrs
        self._recalls = evaluation.params.recThrs
        # evaluate() removes duplicates, so the order of images is the parameters'.
        self.image_ids = list(evaluation.params.imgIds)
        num_images, num_areas = len(self.image_ids), len(evaluation.params.areaRng)
        max_detections = evaluation.params.maxDets[-1]
        self._matches: dict[str, list[Matches]] = {area: [] for area in AREAS}
        for k in range(len(evaluation.params.catIds)):
            for a, area in enumerate(AREAS):
                start = (k * num_areas + a) * num_images
                found = _matches(evaluation.evalImgs[start : start + num_images], num_images, max_detections)
                if found is not None:
                    self._matches[area].append(found)

    def precision(self, weights: np.ndarray | None = None, area: str = "all") -> np.ndarray:
        """float[T] mean over classes of average precision, in percent; NaN where no class has references.

        Args:
          weights: int[N], how often each image counts.
        """
        weights = np.ones(len(self.image_ids)) if weights is None else weights
        per_class = [self._of_class(matches, weights) for matches in self._matches[area]]
        defined = [values for values in per_class if values is not None]
        return 100 * np.mean(defined, axis=0) if defined else np.full(len(self._thresholds), np.nan)

    def _of_class(self, matches: Matches, weights: np.ndarray) -> np.ndarray | None:
        total = float(weights @ matches.num_references)
        if total == 0:
            return None
        weight = weights[matches.image]
        true, false = (matches.true * weight).cumsum(axis=1), (matches.false * weight).cumsum(axis=1)
        recall = true / total
        precision = true / np.maximum(true + false, np.spacing(1))
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        values = np.zeros(len(recall))
        for row in range(len(recall)):
            positions = np.searchsorted(recall[row], self._recalls, side="left")
            inside = positions[positions < precision.shape[1]]
            values[row] = precision[row, inside].sum() / len(self._recalls)
        return values

    def figures(self, prefix: str, n: int | None = None, with_sizes: bool = True, seed: int = 0) -> dict[str, Figure]:
        """AP, AP50, AP75 and, when asked for, AP of small, medium and large references; intervals over images."""
        at = {"": slice(None), "50": _index(self._thresholds, 0.5), "75": _index(self._thresholds, 0.75)}
        draws = bootstrap_weights(len(self.image_ids), NUM_RESAMPLES, seed)
        count = n if n is not None else len(self.image_ids)
        resampled = np.stack([self.precision(weights) for weights in draws])
        measured = self.precision()
        figures = {}
        for suffix, columns in at.items():
            figures[f"{prefix}_ap{suffix}"] = _figure(measured[columns].mean(), resampled[:, columns].mean(axis=1), count)
        for area in AREAS[1:] if with_sizes else ():
            values = np.stack([self.precision(weights, area) for weights in draws]).mean(axis=1)
            figures[f"{prefix}_ap_{area}"] = _figure(self.precision(area=area).mean(), values, count)
        return figures


def _index(thresholds: np.ndarray, value: float) -> slice:
    position = int(np.argmin(abs(thresholds - value)))
    return slice(position, position + 1)


def _figure(value: float, resampled: np.ndarray, n: int) -> Figure:
    low, high = interval(resampled)
    return Figure(float(value) if np.isfinite(value) else None, n, low, high)


def _matches(evaluated: Sequence[Mapping[str, Any] | None], num_images: int, max_detections: int) -> Matches | None:
    """One class's per-image records joined and sorted by score, as COCOeval.accumulate does."""
    present = [(index, record) for index, record in enumerate(evaluated) if record is not None]
    if not present:
        return None
    scores = np.concatenate([record["dtScores"][:max_detections] for _, record in present])
    order = np.argsort(-scores, kind="mergesort")
    matched = np.concatenate([record["dtMatches"][:, :max_detections] for _, record in present], axis=1)[:, order] != 0
    ignored = np.concatenate([record["dtIgnore"][:, :max_detections] for _, record in present], axis=1)[:, order].astype(bool)
    image = np.concatenate([np.full(len(record["dtScores"][:max_detections]), index) for index, record in present]).astype(int)[order]
    num_references = np.zeros(num_images)
    for index, record in present:
        num_references[index] = np.count_nonzero(np.asarray(record["gtIgnore"]) == 0)
    return Matches(matched & ~ignored, ~matched & ~ignored, image, num_references)
