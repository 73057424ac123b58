"""Masks of clicks and scribbles: what is refused, windows by hand, and the shipped head on drawn things and a public photograph."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from shipped_tower import levels_of_image, shipped_head, tower_levels

from gpt4roi.masks import MaskError, decode, encode, pairwise_iou, tight_box
from gpt4roi.models.point_masks import WINDOW_SIDES, checked_points, inside_share, mask_at_points, part_with, windows_around


@pytest.mark.parametrize("points", [[], [[]], [1, 2], [[1, 2, 3]], [["a", "b"]], [[float("nan"), 1]], None])
def test_what_is_no_click(points: object) -> None:
    with pytest.raises(MaskError, match="one or more points x, y in pixels"):
        checked_points(points, (10, 10))  # type: ignore[arg-type]


def test_points_outside() -> None:
    assert checked_points([[-0.5, 10.9]], (10, 10)).tolist() == [[0, 10]]
    with pytest.raises(MaskError, match="point \\(12, 3\\) lies outside the image, which is 10 x 10"):
        checked_points([[1, 1], [12, 3]], (10, 10))


def test_windows_hold_the_points() -> None:
    one = windows_around(torch.tensor([[0.5, 0.25]]))
    assert (one[:, 2] - one[:, 0]).tolist() == pytest.approx(list(WINDOW_SIDES))
    assert ((one[:, :2] + one[:, 2:]) / 2).tolist() == [pytest.approx([0.5, 0.25])] * len(WINDOW_SIDES)
    wide = windows_around(torch.tensor([[0.1, 0.5], [0.9, 0.5]]))
    assert wide[0].tolist() == pytest.approx([0.0, 0.0, 1.0, 1.0], abs=1e-6)


def test_parts_of_a_mask() -> None:
    mask = np.zeros((10, 20), dtype=bool)
    mask[1:4, 1:4] = mask[5:9, 10:18] = True
    rle = encode(mask)
    assert inside_share(rle, np.array([[2.0, 2.0], [8.0, 2.0]])) == 0.5
    assert tight_box(part_with(rle, np.array([[12.0, 6.0]]))) == (10, 5, 18, 9)
    assert part_with(rle, np.array([[2.0, 2.0], [12.0, 6.0]])) == rle
    assert part_with(rle, np.array([[8.0, 2.0]])) == rle
    # The last pixel, not one behind it.
    assert inside_share(encode(np.ones((10, 20))), np.array([[20.0, 10.0]])) == 1


def disc(centre: tuple[int, int], radius: int) -> tuple[np.ndarray, np.ndarray]:
    """A red disc on blue-grey noise: uint8[300, 400, 3] and bool[300, 400]."""
    y, x = np.mgrid[:300, :400]
    inside = np.hypot(x - centre[0], y - centre[1]) < radius
    noise = np.random.default_rng(0).normal(0, 6, (300, 400, 3))
    colour = np.where(inside[..., None], [200, 40, 30], [110, 130, 150])
    return np.clip(colour + noise, 0, 255).astype(np.uint8), inside


@pytest.mark.parametrize(("centre", "radius"), [((200, 150), 80), ((120, 100), 50), ((260, 180), 35)])
@pytest.mark.parametrize("offset", [(0, 0), (0.4, -0.3)])
def test_a_click_on_a_disc(centre: tuple[int, int], radius: int, offset: tuple[float, float]) -> None:
    rgb, inside = disc(centre, radius)
    levels, image_size_wh = levels_of_image(rgb)
    point = (centre[0] + offset[0] * radius, centre[1] + offset[1] * radius)
    found = mask_at_points(shipped_head(), levels, [point], image_size_wh)
    assert pairwise_iou([found.mask], [encode(inside)])[0, 0] > 0.8
    assert found.box_xyxy_abs == tight_box(found.mask)
    assert 0 < found.quality < 1


def test_a_scribble_over_the_astronaut() -> None:
    levels, image_size_wh = tower_levels("astronaut")
    found = mask_at_points(shipped_head(), levels, [(225, 90), (225, 150), (200, 300), (120, 350)], image_size_wh)
    mask = decode(found.mask)
    assert mask[90, 225] and mask[300, 200]
    assert not mask[30, 20] and not mask[30, 340]


def test_a_candidate_is_heard() -> None:
    levels, image_size_wh = tower_levels("coffee")
    cup = (175.0, 15.0, 412.0, 308.0)
    found = mask_at_points(shipped_head(), levels, [(300, 240)], image_size_wh, [cup, (0, 0, 50, 50)])
    assert decode(found.mask)[240, 300]
    assert found.mask["size"] == [image_size_wh[1], image_size_wh[0]]
