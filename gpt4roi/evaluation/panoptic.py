"""Panoptic quality, mean IoU, and the assembly of labelled masks into one segmentation (Osprey's protocol, after FC-CLIP)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# A mask that keeps less than this share of its own area after overlaps are resolved is dropped.
MIN_OWNED_SHARE = 0.8
VOID = 0


def ids_of_png(rgb: np.ndarray) -> np.ndarray:
    """uint8[H, W, 3] panoptic PNG to int64[H, W] segment ids: R + 256 G + 65536 B."""
    channels = rgb.astype(np.int64)
    return channels[..., 0] + 256 * channels[..., 1] + 65536 * channels[..., 2]


def void_probabilities(similarities: np.ndarray, is_void: np.ndarray) -> np.ndarray:
    """Class scores to probabilities with a void column, as the protocol computes them: softmax without temperature.

    Args:
      similarities: float[Q, K] cosines. is_void: float[Q], 1 for masks of no region.
    Returns:
      float[Q, K + 1].
    """
    weights = np.exp(similarities - similarities.max(axis=1, keepdims=True))
    classes = weights / weights.sum(axis=1, keepdims=True) * (1 - is_void[:, None])
    # The protocol's log(p + 1e-8) and later softmax give this back.
    joined = np.concatenate([classes, is_void[:, None]], axis=1) + 1e-8
    return joined / joined.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Segment:
    """One segment of a panoptic map: class index (contiguous), and whether it is a crowd that is not to be matched."""

    label: int
    is_crowd: bool = False


def assemble(
    masks: Sequence[np.ndarray], probabilities: np.ndarray, is_thing: Sequence[bool], image_size_hw: tuple[int, int]
) -> tuple[np.ndarray, dict[int, Segment]]:
    """Masks with class probabilities to one panoptic map.

    Every pixel belongs to the mask of highest probability x mask; masks labelled void are left out; a mask that owns less than
    80 % of its area is dropped; segments of one stuff class are merged; things stay separate.

    Args:
      masks: Q arrays bool[H, W]; may overlap. probabilities: float[Q, K + 1], void last.
    Returns:
      int64[H, W] of segment ids (0 = none), and the segments by id.
    """
    labels, scores = probabilities.argmax(axis=1), probabilities.max(axis=1)
    kept = [q for q in range(len(masks)) if labels[q] != probabilities.shape[1] - 1 and scores[q] > 0]
    best = np.zeros(image_size_hw)
    # Pixels of no mask count as owned by the first one, as argmax over zeros does; it changes no segment.
    owner = np.zeros(image_size_hw, dtype=np.int64)
    for position, q in enumerate(kept):
        better = masks[q] & (scores[q] > best)
        best[better] = scores[q]
        owner[better] = position
    panoptic = np.zeros(image_size_hw, dtype=np.int64)
    segments: dict[int, Segment] = {}
    stuff_ids: dict[int, int] = {}
    for position, q in enumerate(kept):
        owned, area, visible = int((owner == position).sum()), int(masks[q].sum()), (owner == position) & masks[q]
        if area == 0 or not visible.any() or owned / area < MIN_OWNED_SHARE:
            continue
        label = int(labels[q])
        if not is_thing[label] and label in stuff_ids:
            panoptic[visible] = stuff_ids[label]
            continue
        segment_id = len(segments) + 1
        if not is_thing[label]:
            stuff_ids[label] = segment_id
        panoptic[visible] = segment_id
        segments[segment_id] = Segment(label)
    return panoptic, segments


def panoptic_counts(
    reference: np.ndarray,
    reference_segments: Mapping[int, Segment],
    predicted: np.ndarray,
    predicted_segments: Mapping[int, Segment],
    num_classes: int,
) -> np.ndarray:
    """Per class: sum of IoU of matches, matches, false positives, false negatives (Kirillov et al., arXiv:1801.00868, section 4).

    A pair of one class matches if its IoU is above 0.5, where the union leaves out pixels of the prediction that are void in the
    reference. Crowds are never matched. An unmatched prediction of which more than half is void or crowd of its class is no error.

    Args:
      reference, predicted: int[H, W] segment ids, 0 = void.
    Returns:
      float[num_classes, 4].
    """
    counts = np.zeros((num_classes, 4))
    pairs, overlaps = np.unique(np.stack([reference.ravel(), predicted.ravel()]), axis=1, return_counts=True)
    intersection = {(int(r), int(p)): int(n) for (r, p), n in zip(pairs.T, overlaps, strict=True)}
    area_of_reference, area_of_prediction = _areas(reference), _areas(predicted)
    matched_references, matched_predictions = set(), set()
    for (r, p), overlap in intersection.items():
        if r not in reference_segments or p not in predicted_segments:
            continue
        one, other = reference_segments[r], predicted_segments[p]
        if one.is_crowd or one.label != other.label:
            continue
        union = area_of_reference[r] + area_of_prediction[p] - overlap - intersection.get((VOID, p), 0)
        if overlap / union > 0.5:
            counts[one.label, :2] += overlap / union, 1
            matched_references.add(r)
            matched_predictions.add(p)
    for r, segment in reference_segments.items():
        if r not in matched_references and not segment.is_crowd and area_of_reference.get(r, 0):
            counts[segment.label, 3] += 1
    for p, segment in predicted_segments.items():
        if p in matched_predictions or not area_of_prediction.get(p, 0):
            continue
        excused = intersection.get((VOID, p), 0) + sum(
            intersection.get((r, p), 0) for r, other in reference_segments.items() if other.is_crowd and other.label == segment.label
        )
        if excused / area_of_prediction[p] <= 0.5:
            counts[segment.label, 2] += 1
    return counts


def _areas(ids: np.ndarray) -> dict[int, int]:
    values, counts = np.unique(ids, return_counts=True)
    return {int(value): int(count) for value, count in zip(values, counts, strict=True)}


def panoptic_quality(counts: np.ndarray) -> np.ndarray:
    """float[..., K, 4] counts to float[...]: mean PQ in percent over the classes that occur; NaN when none does."""
    weight = counts[..., 1] + 0.5 * counts[..., 2] + 0.5 * counts[..., 3]
    with np.errstate(invalid="ignore", divide="ignore"):
        quality = np.where(weight > 0, counts[..., 0] / weight, np.nan)
    return 100 * _nan_mean(quality)


def semantic_counts(reference: np.ndarray, predicted: np.ndarray, num_classes: int, ignored: int = 255) -> np.ndarray:
    """float[num_classes, 3]: intersection, reference and prediction pixels per class; pixels ignored in the reference do not count.

    A predicted value of `num_classes` or above is no class.
    """
    valid = reference != ignored
    r, p = reference[valid].astype(np.int64), predicted[valid].astype(np.int64)
    counted = [np.bincount(values, minlength=num_classes)[:num_classes] for values in (r[r == p], r, p)]
    return np.stack(counted, axis=1).astype(float)


def mean_iou(counts: np.ndarray) -> np.ndarray:
    """float[..., K, 3] counts to float[...]: mean IoU in percent over the classes that the reference has."""
    union = counts[..., 1] + counts[..., 2] - counts[..., 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = np.where(counts[..., 1] > 0, counts[..., 0] / union, np.nan)
    return 100 * _nan_mean(iou)


def _nan_mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis without NaN, and NaN (without a warning) where all are."""
    present = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(present, values, 0).sum(axis=-1) / present.sum(axis=-1)
