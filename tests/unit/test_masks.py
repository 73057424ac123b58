"""Mask arithmetic as tables, the empty case first."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from gpt4roi.masks import (
    MaskError,
    Rle,
    area,
    as_rle,
    bins,
    check_size,
    decode,
    encode,
    from_png,
    from_polygons,
    largest_component,
    outlines,
    pairwise_iou,
    tight_box,
    to_png,
)


def rectangle(width: int, height: int, box: tuple[int, int, int, int]) -> Rle:
    mask = np.zeros((height, width), dtype=bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return encode(mask)


def png(array: np.ndarray, mode: str | None = None) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(stream, format="PNG")
    return stream.getvalue()


EMPTY = rectangle(6, 4, (0, 0, 0, 0))


def test_an_empty_mask() -> None:
    assert area(EMPTY) == 0
    assert not decode(EMPTY).any()
    assert outlines(EMPTY) == []
    assert largest_component(EMPTY) == EMPTY
    assert not bins(EMPTY, (0, 0, 6, 4), 2).any()
    assert from_polygons([], (6, 4)) == EMPTY
    assert pairwise_iou([EMPTY], [EMPTY]).tolist() == [[0.0]]
    assert pairwise_iou([], [EMPTY]).shape == (0, 1)
    assert from_png(to_png(EMPTY), (6, 4)) == EMPTY
    with pytest.raises(MaskError, match="the mask is empty"):
        tight_box(EMPTY)


@pytest.mark.parametrize("shape_hw", [(1, 1), (1, 9), (7, 1), (31, 17), (120, 200)])
def test_run_lengths_come_back(shape_hw: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).random(shape_hw) > 0.6
    rle = encode(mask)
    assert rle["size"] == list(shape_hw)
    assert isinstance(rle["counts"], str)
    assert (decode(rle) == mask).all()
    assert area(rle) == mask.sum()
    assert encode(decode(rle)) == rle


def test_known_run_lengths() -> None:
    # Column by column: 2 outside, 3 inside, 4 outside; a character is 48 + value.
    assert encode(np.array([[0, 1, 0], [0, 1, 0], [1, 0, 0]])) == {"size": [3, 3], "counts": "234"}


@pytest.mark.parametrize("counts", ["", "23", "2345", "23~", "2\x7f4", "P", "é", None, 5])
def test_broken_run_lengths(counts: object) -> None:
    with pytest.raises(MaskError, match="not COCO run lengths of 3 x 3"):
        decode({"size": [3, 3], "counts": counts})  # type: ignore[typeddict-item]


@pytest.mark.parametrize("size", [None, [3], [3, 0], [3, 3.5], "33", [-3, 3]])
def test_broken_sizes(size: object) -> None:
    with pytest.raises(MaskError, match="'size' is \\[height, width\\]"):
        decode({"size": size, "counts": "234"})  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    "segmentation",
    [
        [[1, 1, 4, 1, 4, 3, 1, 3]],
        [1, 1, 4, 1, 4, 3, 1, 3],
        {"size": [4, 6], "counts": [5, 2, 2, 2, 2, 2, 9]},
        {"size": [4, 6], "counts": rectangle(6, 4, (1, 1, 4, 3))["counts"]},
        {"size": (4, 6), "counts": rectangle(6, 4, (1, 1, 4, 3))["counts"].encode()},
    ],
)
def test_the_forms_of_coco(segmentation: object) -> None:
    assert as_rle(segmentation, (6, 4)) == rectangle(6, 4, (1, 1, 4, 3))


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        (None, "list of polygons or a dict"),
        ("234", "list of polygons or a dict"),
        ([[1, 1, 2, 2]], "at least three points"),
        ([[1, 1, 2, 2, 3, 3, 4]], "at least three points"),
        ([[1, 1, 2, 2, 3, float("nan")]], "at least three points"),
        ([["a"] * 6], "at least three points"),
        ({"size": [3, 3], "counts": [1, 2, 3]}, "do not add up to 3 x 3"),
        ({"size": [3, 3], "counts": [10, -1]}, "do not add up to 3 x 3"),
        ({"size": [3, 3], "counts": "234"}, "the mask is 3 x 3 pixels but its image is 6 x 4"),
        ({"counts": "234"}, "'size' is"),
        ({"size": [3, 3]}, "not COCO run lengths"),
    ],
)
def test_what_is_no_segmentation(segmentation: object, message: str) -> None:
    with pytest.raises(MaskError, match=message):
        as_rle(segmentation, (6, 4))


def test_polygons_are_united() -> None:
    left, right = [0, 0, 2, 0, 2, 4, 0, 4], [4, 0, 6, 0, 6, 4, 4, 4]
    assert area(from_polygons([left, right], (6, 4))) == 16
    assert area(from_polygons([left, left], (6, 4))) == 8


@pytest.mark.parametrize("box", [(0, 0, 6, 4), (3, 2, 4, 3), (1, 0, 6, 2)])
def test_tight_boxes(box: tuple[int, int, int, int]) -> None:
    assert tight_box(rectangle(6, 4, box)) == box


def test_overlap_of_masks() -> None:
    a, b = rectangle(10, 10, (0, 0, 4, 4)), rectangle(10, 10, (2, 0, 6, 4))
    assert pairwise_iou([a], [a, b]) == pytest.approx(np.array([[1.0, 8 / 24]]))
    with pytest.raises(MaskError, match="different sizes"):
        pairwise_iou([a], [EMPTY])


MASK = np.array([[0, 0, 1, 1, 0, 0]] * 2 + [[0] * 6] * 2, dtype=np.uint8)


@pytest.mark.parametrize(
    "data",
    [
        png(MASK * 255),
        png(MASK),
        png(MASK * 255, "1"),
        png(np.repeat(MASK[..., None] * 255, 3, axis=2)),
        png(np.dstack([np.full((4, 6, 3), 90, np.uint8), MASK * 255])),
        png(np.dstack([MASK * 255, MASK * 255, MASK * 255, np.full((4, 6), 255, np.uint8)])),
        png(MASK * 255, "P"),
        png(MASK.astype(np.uint16) * 60000),
    ],
)
def test_drawn_masks(data: bytes) -> None:
    assert (decode(from_png(data, (6, 4))) == MASK.astype(bool)).all()


def test_a_soft_edge_is_cut_at_half() -> None:
    assert decode(from_png(png(np.array([[0, 100, 127, 128, 255]], np.uint8)), (5, 1))).tolist() == [[False, False, False, True, True]]


def test_a_palette_of_dark_colours() -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 0, 1] + [0] * 759)
    assert decode(from_png(image, (3, 1))).tolist() == [[False, True, True]]


def test_refused_drawn_masks(tmp_path: Path) -> None:
    with pytest.raises(MaskError, match="is 6 x 4 pixels but its image is 4 x 6; save the mask"):
        from_png(png(MASK), (4, 6))
    with pytest.raises(MaskError, match="cannot be read as an image"):
        from_png(b"no image", (6, 4))
    with pytest.raises(MaskError, match="cannot be read as an image"):
        from_png(png(np.random.default_rng(0).integers(0, 255, (99, 99), np.uint8))[:2000], (99, 99))
    with pytest.raises(MaskError, match="does not exist"):
        from_png(tmp_path / "none.png", (6, 4))
    with pytest.raises(MaskError, match="pixels of the image"):
        check_size(EMPTY, (4, 6))


def test_bins_without_a_mask() -> None:
    assert bins(None, (0, 0, 1, 1), 3).tolist() == [[1.0] * 3] * 3
    assert bins(None, (0, 0, 1, 1), 3).dtype == np.float32


@pytest.mark.parametrize(
    ("mask_box", "box", "expected"),
    [
        ((0, 0, 4, 4), (0, 0, 4, 4), [[1, 1], [1, 1]]),
        ((0, 0, 2, 4), (0, 0, 4, 4), [[1, 0], [1, 0]]),
        ((0, 0, 4, 1), (0, 0, 4, 4), [[0.5, 0.5], [0, 0]]),
        ((0, 0, 4, 4), (0.5, 0.5, 2.5, 2.5), [[1, 1], [1, 1]]),
        # A bin from 0.5 to 1.5 of which 0.5 are inside, both ways.
        ((0, 0, 1, 1), (0.5, 0.5, 2.5, 2.5), [[0.25, 0], [0, 0]]),
        # Half of each bin lies outside the image.
        ((0, 0, 6, 4), (-4, 0, 4, 4), [[0, 1], [0, 1]]),
        ((0, 0, 6, 4), (20, 20, 22, 22), [[0, 0], [0, 0]]),
        # Bins smaller than a pixel.
        ((1, 1, 2, 2), (1.25, 1.25, 1.75, 1.75), [[1, 1], [1, 1]]),
        ((1, 1, 2, 2), (0.5, 0.5, 1.5, 1.5), [[0, 0], [0, 1]]),
    ],
)
def test_bins_by_hand(mask_box: tuple[int, int, int, int], box: tuple[float, ...], expected: list[list[float]]) -> None:
    assert bins(rectangle(6, 4, mask_box), box, 2) == pytest.approx(np.array(expected))


def test_bins_of_an_empty_box() -> None:
    with pytest.raises(MaskError, match="box \\(1, 1, 1, 2\\) is empty"):
        bins(EMPTY, (1, 1, 1, 2), 2)


def test_the_largest_part() -> None:
    mask = np.zeros((10, 10), dtype=bool)
    mask[0:2, 0:2] = mask[2:8, 2:8] = True  # touch at a corner: one part
    mask[0, 9] = True
    kept = decode(largest_component(encode(mask)))
    assert kept.sum() == 4 + 36
    assert not kept[0, 9]


@pytest.mark.parametrize("box", [(0, 0, 6, 4), (2, 1, 3, 2), (1, 1, 5, 2)])
def test_the_outline_of_a_rectangle_is_exact(box: tuple[int, int, int, int]) -> None:
    (outline,) = outlines(rectangle(6, 4, box))
    assert len(outline) == 8
    assert (outline.min(axis=0).tolist(), outline.max(axis=0).tolist()) == ([*map(float, box[:2])], [*map(float, box[2:])])
    assert cv2.contourArea(outline.astype(np.float32)) == (box[2] - box[0]) * (box[3] - box[1])
    assert from_polygons([outline.ravel()], (6, 4)) == rectangle(6, 4, box)


def test_the_outline_of_a_disc_and_of_a_star() -> None:
    y, x = np.mgrid[:200, :200]
    radius, angle = np.hypot(x - 90, y - 100), np.arctan2(y - 100, x - 90)
    for mask, least in ((radius < 60, 0.97), (radius < 60 + 20 * np.sin(5 * angle), 0.93)):
        rle = encode(mask)
        (outline,) = outlines(rle)
        assert 8 <= len(outline) <= 24
        assert pairwise_iou([rle], [from_polygons([outline.ravel()], (200, 200))])[0, 0] > least


def test_outlines_begin_with_the_largest_part() -> None:
    mask = np.zeros((30, 30), dtype=bool)
    mask[0:3, 0:3] = mask[10:25, 10:25] = True
    large, small = outlines(encode(mask))
    assert large.min() == 10
    assert small.max() == 3
