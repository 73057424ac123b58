"""Edits stay inside their mask: random images and masks, every action that paints."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from gpt4roi.plans import edits

CHANGES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "blur": lambda image, mask: edits.blend(image, edits.blurred(image), mask),
    "pixelate": lambda image, mask: edits.blend(image, edits.pixelated(image), mask),
    "grayscale": lambda image, mask: edits.blend(image, edits.gray(image), mask),
    "highlight": lambda image, mask: edits.blend(image, edits.dimmed(image), mask),
    "brighten": lambda image, mask: edits.blend(image, edits.brightened(image, 0.4), mask),
    "darken": lambda image, mask: edits.blend(image, edits.brightened(image, -0.4), mask),
    "recolor": lambda image, mask: edits.blend(image, edits.recolored(image, "purple", mask), mask),
    "remove": lambda image, mask: edits.blend(image, edits.filled(image, mask), mask, fade=False),
}


@pytest.mark.parametrize("name", CHANGES)
def test_nothing_outside_the_mask_changes(name: str) -> None:
    random = np.random.default_rng(3)
    for _ in range(25):
        height, width = random.integers(20, 120, 2)
        image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        mask = np.zeros((height, width), bool)
        y, x = random.integers(0, height - 12), random.integers(0, width - 12)
        mask[y : y + random.integers(8, 40), x : x + random.integers(8, 40)] = True
        if mask.all():
            continue
        result = CHANGES[name](image, mask)
        assert result.dtype == np.uint8 and result.shape == image.shape
        assert (result[~mask] == image[~mask]).all()
        assert (result != image).any()
        edits.checked(image, result, mask, name)


def test_an_edit_that_reaches_outside_is_refused() -> None:
    image = np.zeros((20, 20, 3), np.uint8)
    mask = np.zeros((20, 20), bool)
    mask[5:10, 5:10] = True
    with pytest.raises(edits.EditError, match="outside"):
        edits.checked(image, np.full_like(image, 9), mask, "blur")
    with pytest.raises(edits.EditError, match="changed nothing"):
        edits.checked(image, image.copy(), mask, "blur")


def test_moving_takes_the_thing_along() -> None:
    image = np.full((100, 100, 3), 200, np.uint8)
    mask = np.zeros((100, 100), bool)
    mask[40:60, 10:30] = True
    image[mask] = (250, 0, 0)
    result, touched = edits.moved(image, mask, 0.5, 0.0, keep=False, scale=1)
    assert (result[50, 70] == (250, 0, 0)).all() and result[50, 20, 1] > 150
    assert (result[~touched] == image[~touched]).all()
    with pytest.raises(edits.EditError, match="outside the picture"):
        edits.moved(image, mask, 1.0, 1.0, keep=False, scale=1)
