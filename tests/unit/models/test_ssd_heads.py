"""The detector's heads by hand: anchors, boxes, suppression, class scores of a given box. Weights are not part of this repository yet."""

from __future__ import annotations

import pytest
import torch

from gpt4roi.models.ssd_heads import COCO_NAMES, Detections, SSDHeads, anchors, class_scores_at, decode, proposals

GRIDS = [(19, 19), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]


def test_the_anchors_of_300_pixels() -> None:
    table = anchors(GRIDS)
    assert table.shape == (1917, 4)
    # The finest level's first three: a square of a tenth of the image, and two of a fifth, twice as wide and twice as high.
    assert table[0].tolist() == pytest.approx([0.5 / 19, 0.5 / 19, 0.1, 0.1])
    assert table[1, 2:].tolist() == pytest.approx([0.2 * 2**0.5, 0.2 / 2**0.5]) and table[2, 2:].tolist() == pytest.approx(
        [0.2 / 2**0.5, 0.2 * 2**0.5]
    )
    assert table[-1].tolist() == pytest.approx([0.5, 0.5, (0.95 * 1.0) ** 0.5, (0.95 * 1.0) ** 0.5])


def test_no_offset_is_the_anchor_itself_clipped_to_the_image() -> None:
    boxes = decode(torch.zeros(2, 4), torch.tensor([[0.5, 0.5, 0.2, 0.4], [0.1, 0.5, 0.4, 0.2]]))
    assert boxes[0].tolist() == pytest.approx([0.4, 0.3, 0.6, 0.7]) and boxes[1].tolist() == pytest.approx([0.0, 0.4, 0.3, 0.6])
    moved = decode(torch.tensor([[1.0, 0.0, 0.0, 5 * torch.log(torch.tensor(2.0)).item()]]), torch.tensor([[0.5, 0.5, 0.2, 0.4]]))
    assert moved[0].tolist() == pytest.approx([0.3, 0.34, 0.7, 0.74])


def test_heads_give_every_anchor_a_box_and_its_classes() -> None:
    heads = SSDHeads().eval()
    with torch.inference_mode():
        found = heads(torch.randn(1, 96, 19, 19), torch.randn(1, 320, 10, 10))
    assert found.boxes_xyxy_norm.shape == (1917, 4) and found.class_logits.shape == (1917, len(COCO_NAMES)) == (1917, 80)


def test_doubles_of_one_class_are_suppressed_and_classes_beside_each_other_are_kept() -> None:
    logits = torch.full((3, 80), -9.0)
    logits[0, 5], logits[1, 5], logits[2, 7] = 3.0, 2.0, 1.0
    boxes = torch.tensor([[0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.5, 0.51], [0.1, 0.1, 0.5, 0.5]])
    kept = proposals(Detections(boxes, logits))
    assert kept.class_scores.argmax(-1).tolist() == [5, 7] and kept.objectness[0] > kept.objectness[1]


def test_class_scores_of_a_given_box_come_from_the_anchors_that_overlap_it() -> None:
    logits = torch.full((2, 80), -9.0)
    logits[0, 5], logits[1, 7] = 9.0, 9.0
    found = Detections(torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]), logits)
    scores = class_scores_at(found, torch.tensor([[0.0, 0.0, 0.5, 0.45], [0.6, 0.0, 0.9, 0.2]]))
    assert scores[0].argmax() == 5 and scores[0, 5] > 0.99 and scores[0, 7] < 0.01
    assert scores[1].tolist() == [0.0] * 80, "no anchor touches it"
