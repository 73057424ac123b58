"""Average precision equals COCOeval's own summary; panoptic quality and mean IoU equal numbers worked by hand."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest

from gpt4roi.evaluation.average_precision import AveragePrecision, make_coco
from gpt4roi.evaluation.panoptic import (
    Segment,
    assemble,
    ids_of_png,
    mean_iou,
    panoptic_counts,
    panoptic_quality,
    semantic_counts,
    void_probabilities,
)

pytest.importorskip("pycocotools")


def made_up(seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """12 images, 4 classes of which one never occurs, crowds, detections that are right, shifted, of another class or doubled."""
    from pycocotools import mask as mask_utils

    generator = np.random.default_rng(seed)
    images = [{"id": 10 + n, "width": 400, "height": 300} for n in range(12)]
    annotations: list[dict[str, Any]] = []
    detections: list[dict[str, Any]] = []
    for image in images:
        for _ in range(int(generator.integers(0, 6))):
            x, y = generator.uniform(0, 250), generator.uniform(0, 180)
            w, h = generator.uniform(8, 140), generator.uniform(8, 110)
            category = int(generator.choice([1, 5, 90]))
            mask = np.zeros((300, 400), dtype=np.uint8)
            mask[int(y) : int(y + h), int(x) : int(x + w)] = 1
            rle = mask_utils.encode(np.asfortranarray(mask))
            annotations.append({"id": len(annotations) + 1, "image_id": image["id"], "category_id": category, "bbox": [x, y, w, h], "area": float(mask.sum()),
                                "iscrowd": int(generator.random() < 0.1), "segmentation": rle})  # fmt: skip
            for _ in range(int(generator.integers(0, 4))):
                dx, dy = generator.normal(0, 6, 2)
                x1, y1 = max(x + dx, 0.0), max(y + dy, 0.0)
                moved = np.zeros((300, 400), dtype=np.uint8)
                moved[int(y1) : int(y1 + h), int(x1) : int(x1 + w)] = 1
                detections.append({"image_id": image["id"], "category_id": category if generator.random() < 0.8 else 5, "bbox": [x1, y1, w, h],
                                   "score": float(generator.random()), "segmentation": mask_utils.encode(np.asfortranarray(moved))})  # fmt: skip
    categories = [{"id": i, "name": str(i)} for i in (1, 5, 7, 90)]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}, detections


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_average_precision_is_cocoevals(seed: int, iou_type: str) -> None:
    from pycocotools.cocoeval import COCOeval

    dataset, detections = made_up(seed)
    drop = "segmentation" if iou_type == "bbox" else "bbox"
    detections = [{key: value for key, value in detection.items() if key != drop} for detection in detections]
    coco = make_coco(dataset)
    with contextlib.redirect_stdout(io.StringIO()):
        official = COCOeval(coco, coco.loadRes([dict(d) for d in detections]), iou_type)
        official.evaluate()
        official.accumulate()
        official.summarize()
    figures = AveragePrecision(coco, detections, iou_type).figures("box")
    ours = [figures[f"box_{name}"].value for name in ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")]
    theirs = [100 * value if value >= 0 else None for value in official.stats[:6]]
    assert ours == pytest.approx(theirs, abs=1e-9)
    assert figures["box_ap"].low <= figures["box_ap"].value <= figures["box_ap"].high


def test_weights_repeat_images() -> None:
    dataset, detections = made_up(3)
    coco = make_coco(dataset)
    measured = AveragePrecision(coco, detections, "bbox")
    only = np.array([image_id < 16 for image_id in measured.image_ids], dtype=float)
    part = AveragePrecision(coco, detections, "bbox", [image_id for image_id in measured.image_ids if image_id < 16])
    assert measured.precision(only) == pytest.approx(part.precision())


def test_no_detections_is_zero_and_no_references_is_undefined() -> None:
    dataset, detections = made_up(0)
    assert AveragePrecision(make_coco(dataset), [], "bbox").figures("box")["box_ap"].value == 0
    assert AveragePrecision(make_coco({**dataset, "annotations": []}), detections, "bbox").figures("box")["box_ap"].value is None


def row(*ids: tuple[int, int]) -> np.ndarray:
    """A 1 x N map from (id, length) runs."""
    return np.concatenate([np.full(length, value) for value, length in ids])[None]


def test_panoptic_quality_by_hand() -> None:
    # Classes: 0 stuff, 1 thing. Reference: void 4, stuff 10, thing A 10, thing B 6, crowd of things 10.
    reference = row((0, 4), (1, 10), (2, 10), (3, 6), (4, 10))
    segments = {1: Segment(0), 2: Segment(1), 3: Segment(1), 4: Segment(1, is_crowd=True)}
    # Prediction: stuff over void 2 + stuff 8; thing P: stuff's last 2 + A's first 8; thing Q: A's last 2 + B's 3 (IoU 3/8: no match);
    # thing R: B's last 3 + crowd 7 (more than half crowd: no error).
    predicted = row((0, 2), (11, 10), (12, 10), (13, 5), (14, 10), (0, 3))
    labels = {11: Segment(0), 12: Segment(1), 13: Segment(1), 14: Segment(1)}
    counts = panoptic_counts(reference, segments, predicted, labels, 2)
    # Stuff: 8 shared; union 10 + 10 - 8 - 2 void = 10. Thing P with A: 8 shared, union 10 + 10 - 8 = 12.
    assert counts[0] == pytest.approx([0.8, 1, 0, 0])
    # Q is a false positive, B is missed, R is excused.
    assert counts[1] == pytest.approx([8 / 12, 1, 1, 1])
    assert panoptic_quality(counts) == pytest.approx(100 * (0.8 + (8 / 12) / 2) / 2)
    assert panoptic_quality(counts[:1]) == pytest.approx(80)


def test_a_prediction_mostly_on_void_is_no_error() -> None:
    reference, predicted = row((0, 6), (1, 10)), row((5, 10), (6, 6))
    counts = panoptic_counts(reference, {1: Segment(0)}, predicted, {5: Segment(1), 6: Segment(0)}, 2)
    # 5 lies on 6 void of 10 pixels; 6 covers 6 of the 10 pixels of the reference: 0.6.
    assert counts[1].tolist() == [0, 0, 0, 0] and counts[0] == pytest.approx([0.6, 1, 0, 0])
    half = panoptic_counts(row((0, 5), (1, 5)), {1: Segment(0)}, row((5, 10)), {5: Segment(1)}, 2)
    assert half[1].tolist() == [0, 0, 1, 0] and half[0].tolist() == [0, 0, 0, 1]


def test_an_iou_of_one_half_is_no_match() -> None:
    counts = panoptic_counts(row((1, 10), (0, 0)), {1: Segment(0)}, row((2, 5), (0, 5)), {2: Segment(0)}, 1)
    assert counts[0].tolist() == [0, 0, 1, 1]


def one_hot(*labels: int, classes: int = 3, sharp: float = 20.0) -> np.ndarray:
    return void_probabilities(np.eye(classes)[list(labels)] * sharp, np.zeros(len(labels)))


def mask(start: int, end: int, length: int = 20) -> np.ndarray:
    values = np.zeros((1, length), dtype=bool)
    values[0, start:end] = True
    return values


def test_stuff_of_one_class_is_merged_and_things_are_not() -> None:
    masks = [mask(0, 4), mask(4, 8), mask(8, 12), mask(12, 16)]
    panoptic, segments = assemble(masks, one_hot(0, 0, 1, 1), [False, True, True], (1, 20))
    assert {key: segment.label for key, segment in segments.items()} == {1: 0, 2: 1, 3: 1}
    assert panoptic[0].tolist() == [1] * 8 + [2] * 4 + [3] * 4 + [0] * 4


def test_a_mask_that_keeps_less_than_four_fifths_is_dropped() -> None:
    probabilities = np.array([[0.9, 0.05, 0.03, 0.02], [0.1, 0.8, 0.06, 0.04]])
    # The second owns 8 of its 10 pixels: kept. With one pixel more under the first it owns 7: dropped.
    kept, segments = assemble([mask(0, 10), mask(8, 18)], probabilities, [True, True, True], (1, 20))
    assert len(segments) == 2 and (kept == 2).sum() == 8
    dropped, segments = assemble([mask(0, 11), mask(8, 18)], probabilities, [True, True, True], (1, 20))
    assert len(segments) == 1 and dropped[0].tolist() == [1] * 11 + [0] * 9


def test_void_masks_are_no_segments() -> None:
    probabilities = void_probabilities(np.eye(2), np.array([0.0, 1.0]))
    assert probabilities.sum(axis=1) == pytest.approx(1) and probabilities[1, 2] > 0.999
    _, segments = assemble([mask(0, 10), mask(10, 20)], probabilities, [True, True], (1, 20))
    assert len(segments) == 1


def test_softmax_is_without_temperature() -> None:
    # Cosines of 1 and 18 times 0: e / (e + 18).
    similarities = np.zeros((1, 19))
    similarities[0, 3] = 1
    assert void_probabilities(similarities, np.zeros(1))[0, 3] == pytest.approx(np.e / (np.e + 18), abs=1e-6)


def test_mean_iou_by_hand() -> None:
    reference = np.array([[0, 0, 0, 1, 1, 255, 255, 2]])
    predicted = np.array([[0, 0, 1, 1, 0, 0, 1, 4]])
    counts = semantic_counts(reference, predicted, 4)
    # Class 0: 2 of 3 + 3 - 2; class 1: 1 of 2 + 2 - 1; class 2: 0 of 1; class 3 never occurs; 4 is no class.
    assert counts.tolist() == [[2, 3, 3], [1, 2, 2], [0, 1, 0], [0, 0, 0]]
    assert mean_iou(counts) == pytest.approx(100 * (2 / 4 + 1 / 3 + 0) / 3)


def test_png_ids() -> None:
    assert ids_of_png(np.array([[[1, 2, 3], [255, 0, 0]]], dtype=np.uint8)).tolist() == [[1 + 512 + 196608, 255]]
