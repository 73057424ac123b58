"""The mask head: its planes and frames by hand, an untrained head's contract, and the shipped one on public photographs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from shipped_tower import SCALES, shipped_head, tower_levels

from gpt4roi.masks import area, decode, tight_box
from gpt4roi.models.mask_head import GRID, MARGIN, MaskHead, box_planes, frames_of, load_mask_head, paste, point_planes


def random_levels(batch: int = 1) -> list[torch.Tensor]:
    sides = (16, 8, 4, 2)
    return [torch.randn(batch, width, side, side) for side, widths in zip(sides, SCALES, strict=True) for width in widths]


def test_no_boxes() -> None:
    head = MaskHead(SCALES).eval()
    assert head.masks_of(random_levels(), [], (64, 64)) == []
    assert head(random_levels(), torch.zeros(0, 4)).shape == (0, GRID, GRID)
    assert point_planes([], torch.zeros(0, 4)).shape == (0, 2, GRID, GRID)


def test_frames_are_larger_than_boxes_at_every_side() -> None:
    assert frames_of(torch.tensor([[0.2, 0.4, 0.6, 0.5]]))[0].tolist() == pytest.approx([0.16, 0.39, 0.64, 0.51])


def test_the_plane_of_a_box() -> None:
    box = torch.tensor([[0.2, 0.4, 0.6, 0.5]])
    plane, points = box_planes(box, frames_of(box))[0]
    edge = GRID * MARGIN / (1 + 2 * MARGIN)
    assert plane.sum().item() == pytest.approx((GRID - 2 * edge) ** 2, rel=1e-4)
    assert plane[:, GRID // 2].tolist() == pytest.approx(plane[GRID // 2].tolist(), abs=1e-4)
    whole = int(edge)
    assert plane[GRID // 2, whole].item() == pytest.approx(1 - (edge - whole), abs=1e-4)
    assert plane[GRID // 2, whole - 1].item() == 0
    assert not points.any()


def test_the_plane_of_points() -> None:
    frame = torch.tensor([[0.0, 0.0, 0.5, 1.0]])
    box, plane = point_planes([torch.tensor([[0.125, 0.75], [0.375, 0.75]])], frame)[0]
    assert not box.any()
    at = torch.nonzero(plane > 0.9 * plane.max())
    assert {(round(float(y)), round(float(x))) for y, x in at.float() / GRID * 4} == {(3, 1), (3, 3)}


def test_one_image_is_as_many_images() -> None:
    torch.manual_seed(0)
    head = MaskHead(SCALES).eval()
    levels = random_levels(2)
    boxes = [torch.tensor([[0.1, 0.1, 0.5, 0.9]]), torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.3, 0.2, 0.4, 0.9]])]
    with torch.inference_mode():
        together = head(levels, boxes)
        alone = head([level[1:] for level in levels], boxes[1])
    assert together.shape == (3, GRID, GRID)
    assert torch.allclose(together[1:], alone, atol=1e-4)


def test_other_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="levels of four sizes; got 2"):
        MaskHead([[8], [8]])
    with pytest.raises(ValueError, match=r"reads levels of .* channels; got"):
        MaskHead(SCALES)(random_levels()[1:], torch.zeros(0, 4))


def test_saved_and_loaded(tmp_path: Path) -> None:
    head = MaskHead(SCALES)
    save_file({k: v.half() for k, v in head.state_dict().items()}, tmp_path / "head.safetensors", metadata={"scales": json.dumps(SCALES)})
    loaded = load_mask_head(tmp_path / "head.safetensors")
    assert not loaded.training
    assert all(torch.allclose(a, b, atol=1e-3) for a, b in zip(head.parameters(), loaded.parameters(), strict=True))


FRAME = np.array([0.0, 0.0, 1.0, 1.0], dtype=np.float32)


@pytest.mark.parametrize(
    ("image_size_wh", "box", "expected"),
    [
        ((112, 56), (0, 0, 112, 56), (0, 0, 56, 56)),
        ((112, 56), (10, 20, 112, 40), (10, 20, 56, 40)),
        ((112, 56), (10.4, 20.6, 30.4, 40.6), (10, 21, 30, 41)),
        # A box between pixels still has one.
        ((112, 56), (10.6, 20.6, 10.8, 20.8), (11, 21, 12, 22)),
        # Nothing is positive in the right half: the box.
        ((112, 56), (70, 20, 100, 40), (70, 20, 100, 40)),
    ],
)
def test_pasting_by_hand(image_size_wh: tuple[int, int], box: tuple[float, ...], expected: tuple[float, ...]) -> None:
    logits = np.full((GRID, GRID), -1.0, dtype=np.float32)
    logits[:, : GRID // 2] = 1.0
    rle = paste(logits, FRAME, image_size_wh, box)
    assert rle["size"] == [image_size_wh[1], image_size_wh[0]]
    assert tight_box(rle) == expected
    assert area(rle) == (expected[2] - expected[0]) * (expected[3] - expected[1])


def test_the_shipped_head_is_small() -> None:
    head = shipped_head()
    assert head.scales == SCALES
    assert sum(parameter.numel() for parameter in head.parameters()) <= 2_000_000


@pytest.mark.parametrize(
    ("name", "box", "inside", "outside"),
    [
        ("astronaut", (2, 12, 365, 512), [(225, 120), (200, 300), (100, 400)], [(340, 60), (340, 30), (60, 120)]),
        ("coffee", (175, 15, 412, 308), [(290, 150), (290, 50), (250, 200)], [(185, 30), (400, 30), (180, 300)]),
        ("chelsea", (0, 0, 412, 300), [(180, 120), (260, 220), (80, 60)], [(405, 60), (400, 120), (402, 200)]),
    ],
)
def test_the_shipped_head_finds_the_thing(
    name: str, box: tuple[int, ...], inside: list[tuple[int, int]], outside: list[tuple[int, int]]
) -> None:
    levels, image_size_wh = tower_levels(name)
    (rle,) = shipped_head().masks_of(levels, [box], image_size_wh)
    mask = decode(rle)
    assert [bool(mask[y, x]) for x, y in inside] == [True] * len(inside)
    assert [bool(mask[y, x]) for x, y in outside] == [False] * len(outside)
    x0, y0, x1, y1 = box
    assert not mask[:, :x0].any() and not mask[:y0].any() and not mask[:, x1:].any() and not mask[y1:].any()
