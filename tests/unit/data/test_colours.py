from __future__ import annotations

import numpy as np
import pytest

from gpt4roi.data.colours import COLOURS, colour_fractions, colour_indices


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
    assert COLOURS[int(colour_indices(np.array(rgb, dtype=np.uint8)))] == name


def test_fractions_are_of_the_box_alone() -> None:
    image = np.zeros((10, 20, 3), dtype=np.uint8)
    image[:, 10:] = (200, 20, 20)
    shares = colour_fractions(image, (5, 0, 15, 10))
    assert shares[COLOURS.index("black")] == pytest.approx(0.5)
    assert shares[COLOURS.index("red")] == pytest.approx(0.5)
    assert shares.sum() == pytest.approx(1)


@pytest.mark.parametrize("box", [(19.5, 9.5, 20, 10), (0, 0, 0.2, 0.2)])
def test_a_tiny_box_still_has_a_pixel(box: tuple[float, float, float, float]) -> None:
    assert colour_fractions(np.zeros((10, 20, 3), dtype=np.uint8), box)[COLOURS.index("black")] == 1
