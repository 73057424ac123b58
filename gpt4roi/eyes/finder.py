"""From names to boxes: the detector's own classes as it scores them, all other names by reading boxes of anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torchvision.ops import batched_nms, box_iou, nms

from gpt4roi.boxes import Box
from gpt4roi.models.ssd_heads import Detections

if TYPE_CHECKING:
    from gpt4roi.eyes.sight import Sight

# What is not even looked at.
LEAST_SCORE = 0.05
MERGE_IOU = 0.55
ANYTHING = 64
# Boxes of anything that are looked at closely for one question.
CLOSE_LOOKS = 12
# A found thing counts from here on; chosen on validation pictures for exact counts and for refusing what is absent.
DETECTOR_THRESHOLD = 0.3
# Of found things that overlap by more than the first, or of which one lies in the other by more than the second, the surer stays.
SAME_IOU, SAME_SHARE = 0.35, 0.85
READER_THRESHOLD = 0.3
# A thing is named unasked from here on.
UNASKED = 0.6


@dataclass(frozen=True)
class Candidates:
    """Boxes in [0, 1] of the image.

    boxes float32[M, 4], scores float32[M], classes int64[M]: of the detector's classes, the surest first. anything float32[K, 4],
    objectness float32[K]: boxes of any thing, the whole image last.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor
    anything: Tensor
    objectness: Tensor


def all_candidates(views: Sequence[Detections], limit: int = 300) -> Candidates:
    """Join the anchors of several views of one image."""
    boxes = torch.cat([view.boxes_xyxy_norm for view in views])
    scores = torch.cat([view.class_logits for view in views]).sigmoid()
    rows, classes = torch.where(scores >= LEAST_SCORE)
    found = merge(boxes[rows], scores[rows, classes], classes, limit)
    objectness = scores.max(-1).values
    order = nms(boxes, objectness, MERGE_IOU)[:ANYTHING]
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    return Candidates(*found, torch.cat([boxes[order], whole]), torch.cat([objectness[order], torch.tensor([0.3])]))


def merge(boxes: Tensor, scores: Tensor, classes: Tensor, limit: int) -> tuple[Tensor, Tensor, Tensor]:
    """Suppress doubles of a class; what is kept lies at the mean of its doubles, weighted by their scores."""
    kept = batched_nms(boxes, scores, classes, MERGE_IOU)[:limit]
    # One matrix for all: boxes of other classes are moved out of reach.
    apart = classes[:, None] * 2.0
    double = box_iou(boxes[kept] + apart[kept], boxes + apart) >= MERGE_IOU
    weight = double * (scores**2)[None]
    return (weight @ boxes) / weight.sum(1, keepdim=True), scores[kept], classes[kept]


def find_names(sight: Sight, ids: Sequence[int], threshold: float | None) -> list[tuple[Box, int, float]]:
    """Boxes of the names `ids`; see `Sight.find`."""
    names = sight.names
    by_class = {names.entries[index].detector: index for index in ids if names.entries[index].detector is not None}
    found: list[tuple[Tensor, int, float]] = []
    all_found = sight.candidates
    lowest = DETECTOR_THRESHOLD if threshold is None else threshold
    for box, score, number in zip(all_found.boxes, all_found.scores.tolist(), all_found.classes.tolist(), strict=True):
        if number in by_class and score >= lowest:
            found.append((box, by_class[number], score))
    others = [index for index in ids if names.entries[index].detector is None]
    if others:
        found += _read_boxes(sight, others, READER_THRESHOLD if threshold is None else threshold)
    found.sort(key=lambda item: -item[2])
    found = _apart(found)
    boxes = sight.pixels(torch.stack([box for box, _, _ in found])) if found else []
    return [(box, index, score) for box, (_, index, score) in zip(boxes, found, strict=True)]


def _apart(found: list[tuple[Tensor, int, float]]) -> list[tuple[Tensor, int, float]]:
    """One thing is listed once, under its surest name; `found` is sorted."""
    kept: list[tuple[Tensor, int, float]] = []
    for item in found:
        if all(not _is_same(item[0], other[0]) for other in kept):
            kept.append(item)
    return kept


def _is_same(a: Tensor, b: Tensor) -> bool:
    common = float((torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])).clamp(min=0).prod())
    area_a, area_b = float((a[2:] - a[:2]).prod()), float((b[2:] - b[:2]).prod())
    return common >= SAME_SHARE * min(area_a, area_b) or common >= SAME_IOU * (area_a + area_b - common)


def _read_boxes(sight: Sight, ids: Sequence[int], threshold: float) -> list[tuple[Tensor, int, float]]:
    """Boxes of anything that show one of the names: chosen at first sight, then looked at closely."""
    names, candidates = sight.names, sight.candidates
    places = {names.common.index(names.entries[index].of if names.entries[index].of is not None else index) for index in ids}  # type: ignore[arg-type]
    first = sight.rough[:, sorted(places)].sum(1) * candidates.objectness.sqrt()
    chosen = first.topk(min(CLOSE_LOOKS, len(first))).indices
    boxes = sight.pixels(candidates.anything[chosen])
    sight.readings(boxes)
    found = []
    for row, box in zip(chosen.tolist(), boxes, strict=True):
        probability = sight.probability(box, ids)
        # The whole image is an answer only where nothing smaller is.
        score = probability * min(1.0, 0.5 + float(candidates.objectness[row]))
        if score >= threshold:
            scored = sight.scores(box, ids)
            found.append((candidates.anything[row], max(scored, key=lambda index: scored[index]), score))
    inner = [item for item in found if (item[0][2] - item[0][0]) * (item[0][3] - item[0][1]) < 0.98]
    return inner or found


def other_things(sight: Sight) -> list[tuple[Box, int, float]]:
    """See `Sight.other_things`."""
    names, candidates = sight.names, sight.candidates
    others = torch.tensor([names.entries[index].detector is None for index in names.common])
    first = (sight.rough * others).max(-1).values * candidates.objectness.sqrt()
    chosen = first[:-1].topk(min(CLOSE_LOOKS, len(first) - 1)).indices
    found = []
    boxes = sight.pixels(candidates.anything[chosen])
    for row, (_box, reading) in enumerate(zip(boxes, sight.readings(boxes), strict=True)):
        score, place = reading.probabilities.max(-1)
        if others[place] and float(score) >= UNASKED:
            found.append((candidates.anything[chosen[row]], names.common[int(place)], float(score)))
    if not found:
        return []
    kept = nms(torch.stack([box for box, _, _ in found]), torch.tensor([score for _, _, score in found]), MERGE_IOU).tolist()
    return [(sight.pixels(found[place][0][None])[0], found[place][1], found[place][2]) for place in kept]
