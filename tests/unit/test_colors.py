from __future__ import annotations

import numpy as np
import pytest

from gpt4roi.colors import COLORS, color_fractions, color_indices, color_phrase, mask_color_fractions


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((0, 0, 0), "black"),
        ((255, 255, 255), "white"),
        ((128, 128, 128), "gray"),
        ((200, 20, 20), "red"),
        ((240, 140, 20), "orange"),
        ((240, 230, 30), "yellow"),
        ((30, 160, 40), "green"),
        ((30, 60, 200), "blue"),
        ((120, 30, 160), "purple"),
        ((250, 150, 200), "pink"),
        ((110, 70, 30), "brown"),
    ],
)
def test_plain_colours(rgb: tuple[int, int, int], name: str) -> None:
    assert COLORS[int(color_indices(np.array(rgb, dtype=np.uint8)))] == name


def test_fractions_are_of_the_box_alone() -> None:
    image = np.zeros((10, 20, 3), dtype=np.uint8)
    image[:, 10:] = (200, 20, 20)
    shares = color_fractions(image, (5, 0, 15, 10))
    assert shares[COLORS.index("black")] == pytest.approx(0.5)
    assert shares[COLORS.index("red")] == pytest.approx(0.5)
    assert shares.sum() == pytest.approx(1)


@pytest.mark.parametrize("box", [(19.5, 9.5, 20, 10), (0, 0, 0.2, 0.2)])
def test_a_tiny_box_still_has_a_pixel(box: tuple[float, float, float, float]) -> None:
    assert color_fractions(np.zeros((10, 20, 3), dtype=np.uint8), box)[COLORS.index("black")] == 1


def test_a_red_car_with_dark_windows_is_red_and_its_rim_does_not_count() -> None:
    image = np.full((60, 100, 3), 128, dtype=np.uint8)
    mask = np.zeros((60, 100), dtype=bool)
    mask[10:50, 10:90] = True
    image[10:50, 10:90] = (200, 20, 20)
    image[15:45, 15:50] = (20, 20, 20)
    image[10:12, 10:90] = (30, 160, 40)
    fractions = mask_color_fractions(image, mask)
    assert color_phrase(fractions) == "mostly red and some black" and fractions[COLORS.index("green")] == 0
    assert fractions.sum() == pytest.approx(1)


def test_a_thing_too_thin_to_have_a_core_keeps_its_pixels() -> None:
    mask = np.zeros((10, 20), dtype=bool)
    mask[5, 5] = True
    assert color_phrase(mask_color_fractions(np.full((10, 20, 3), 255, dtype=np.uint8), mask)) == "mostly white"
