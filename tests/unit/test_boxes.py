"""Box arithmetic as tables, the empty case first."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gpt4roi.boxes import BoxError, area, as_boxes, normalise, pairwise_iou, parse_box, to_pixels, validate_box, xywh_to_xyxy


@pytest.mark.parametrize("empty", [None, [], np.zeros((0, 4))])
def test_empty_sets(empty: object) -> None:
    assert as_boxes(empty).shape == (0, 4)  # type: ignore[arg-type]
    assert pairwise_iou(empty, [[0, 0, 1, 1]]).shape == (0, 1)  # type: ignore[arg-type]
    assert normalise(empty, (10, 10)).shape == (0, 4)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [[[1, 2, 3]], [1, 2, 3, 4], [["a", "b", "c", "d"]], [[1, 2], [3, 4, 5, 6]]])
def test_what_is_no_set_of_boxes(bad: object) -> None:
    with pytest.raises(BoxError, match="four numbers"):
        as_boxes(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "box"), [("1,2,3,4", (1, 2, 3, 4)), (" 1.5; 2; 3; 4 ", (1.5, 2, 3, 4)), ("-1,0,2e1,3", (-1, 0, 20, 3))])
def test_parsed_boxes(text: str, box: tuple[float, ...]) -> None:
    assert parse_box(text) == box


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "1,2,3,nan", "inf,0,1,1"])
def test_refused_texts(text: str) -> None:
    with pytest.raises(BoxError, match="four numbers"):
        parse_box(text)


@pytest.mark.parametrize(
    ("space", "box", "pixels"),
    [
        ("pixels", (1, 2, 3, 4), (1, 2, 3, 4)),
        ("unit", (0, 0.5, 1, 1), (0, 25, 100, 50)),
        ("thousandths", (100, 0, 1000, 500), (10, 0, 100, 25)),
    ],
)
def test_spaces(space: str, box: tuple[float, ...], pixels: tuple[float, ...]) -> None:
    assert to_pixels(box, (100, 50), space) == pytest.approx(pixels)


def test_an_unknown_space() -> None:
    with pytest.raises(BoxError, match="unknown box space 'inches'"):
        to_pixels((0, 0, 1, 1), (10, 10), "inches")


@pytest.mark.parametrize(
    ("box", "clipped"),
    [((0, 0, 100, 50), (0, 0, 100, 50)), ((-0.6, -1, 100.9, 51), (0, 0, 100, 50)), ((10, 10, 10.5, 10.5), (10, 10, 10.5, 10.5))],
)
def test_boxes_that_pass(box: tuple[float, ...], clipped: tuple[float, ...]) -> None:
    assert validate_box(box, (100, 50)) == pytest.approx(clipped)


@pytest.mark.parametrize(
    ("box", "sentence"),
    [
        ((5, 5, 5, 9), "is empty"),
        ((9, 5, 5, 9), "is empty"),
        ((0, 0, 102, 50), "leaves the picture, which is 100 x 50"),
        ((-3, 0, 10, 10), "leaves the picture"),
        ((100.2, 0, 100.8, 10), "nothing inside the picture"),
        ((math.nan, 0, 1, 1), "not a number"),
        ((0, 0, math.inf, 1), "not a number"),
    ],
)
def test_boxes_that_do_not(box: tuple[float, ...], sentence: str) -> None:
    with pytest.raises(BoxError, match=f"<region7>.*{sentence}"):
        validate_box(box, (100, 50), "<region7>")


def test_arithmetic_by_hand() -> None:
    assert xywh_to_xyxy([[1, 2, 3, 4]]).tolist() == [[1, 2, 4, 6]]
    assert normalise([[10, 10, 50, 25]], (100, 50)).tolist() == [[0.1, 0.2, 0.5, 0.5]]
    assert area([[0, 0, 2, 3], [2, 3, 0, 0]]).tolist() == [6, 0]
    # 2 x 2 squares sharing a 1 x 1 corner: 1 / (4 + 4 - 1)
    assert pairwise_iou([[0, 0, 2, 2]], [[1, 1, 3, 3], [5, 5, 6, 6], [0, 0, 2, 2]])[0].tolist() == pytest.approx([1 / 7, 0, 1])
    assert pairwise_iou([[1, 1, 1, 1]], [[1, 1, 1, 1]]).tolist() == [[0]]
