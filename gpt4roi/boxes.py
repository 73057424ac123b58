"""Box formats, coordinate spaces, validation: the one home of box arithmetic.

A box is four floats `x0, y0, x1, y1` in continuous coordinates (width = x1 - x0); a set of boxes is float64[N, 4], N may be 0.
Spaces: `pixels` of the original image, `unit` ([0, 1] of its width and height), `thousandths` ([0, 1000] likewise).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gpt4roi.errors import UserError

Box = tuple[float, float, float, float]
SPACES = {"pixels": None, "unit": 1.0, "thousandths": 1000.0}

# How far (in image pixels) a corner may lie outside before we call it a mistake rather than rounding.
ROUNDING_PX = 1.0


class BoxError(UserError):
    """A box that cannot be used; the message is a sentence for the user."""


def as_boxes(boxes: Sequence[Sequence[float]] | np.ndarray | None) -> np.ndarray:
    """Any sequence of boxes as float64[N, 4]; None or empty gives [0, 4]."""
    if boxes is None or len(boxes) == 0:
        return np.zeros((0, 4), dtype=np.float64)
    try:
        array = np.asarray(boxes, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise BoxError(f"boxes must be lists of four numbers x0, y0, x1, y1; got {repr(boxes)[:80]}") from error
    if array.ndim != 2 or array.shape[1] != 4:
        raise BoxError(f"boxes must be lists of four numbers x0, y0, x1, y1; got an array of shape {array.shape}")
    return array


def parse_box(text: str) -> Box:
    """`"34,50,210,300"` as four floats.

    Raises:
      BoxError: not four finite numbers.
    """
    parts = text.replace(";", ",").split(",")
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = []
    if len(values) != 4 or not all(math.isfinite(value) for value in values):
        raise BoxError(f"a box is four numbers x0,y0,x1,y1 in pixels of the picture; got '{text}'")
    return values[0], values[1], values[2], values[3]


def parse_points(text: str, image_size_wh: tuple[int, int]) -> list[tuple[float, float]]:
    """`"120,80;130,90"` as points in pixels of the image.

    Raises:
      BoxError: not pairs of finite numbers, or one lies outside the image.
    """
    points = []
    for part in text.split(";"):
        try:
            x, y = (float(value) for value in part.split(","))
        except ValueError:
            x = y = math.nan
        if not (math.isfinite(x) and math.isfinite(y)):
            raise BoxError(f"a point is two numbers x,y in pixels of the picture, and a scribble several with ; between; got '{text[:60]}'")
        if not (0 <= x <= image_size_wh[0] and 0 <= y <= image_size_wh[1]):
            raise BoxError(f"the point {x:g},{y:g} lies outside the picture, which is {image_size_wh[0]} x {image_size_wh[1]} pixels")
        points.append((x, y))
    return points


def to_pixels(box: Sequence[float], image_size_wh: tuple[int, int], space: str = "pixels") -> Box:
    """One box from any space into pixels of the original image, unchecked."""
    if space not in SPACES:
        raise BoxError(f"unknown box space '{space}'; use one of {', '.join(SPACES)}")
    (x0, y0, x1, y1), full = as_boxes([box])[0].tolist(), SPACES[space]
    if full is None:
        return x0, y0, x1, y1
    width, height = image_size_wh
    return x0 * width / full, y0 * height / full, x1 * width / full, y1 * height / full


def validate_box(box: Sequence[float], image_size_wh: tuple[int, int], name: str = "the box") -> Box:
    """The box clipped to the image, in pixels.

    Corners may lie outside by rounding (one pixel); anything more, an empty box or a number that is not finite is refused.

    Args:
      box: x0, y0, x1, y1 in pixels of the original image.
      image_size_wh: width and height of the original image.
      name: how the message calls the box, for example `<region2>`.
    Raises:
      BoxError: with a sentence that says what was wrong and what to do.
    """
    width, height = image_size_wh
    x0, y0, x1, y1 = as_boxes([box])[0].tolist()
    shown = f"({x0:g}, {y0:g}, {x1:g}, {y1:g})"
    if not all(math.isfinite(value) for value in (x0, y0, x1, y1)):
        raise BoxError(f"{name} {shown} has a coordinate that is not a number; give x0,y0,x1,y1 in pixels")
    if x1 <= x0 or y1 <= y0:
        raise BoxError(f"{name} {shown} is empty; x1 must be larger than x0 and y1 larger than y0")
    if min(x0, y0) >= 0 and max(x1, y1) <= 1 < min(width, height):
        raise BoxError(
            f"{name} {shown} lies within one pixel: these look like fractions of the picture; {_in_pixels(box, image_size_wh, 'unit')}"
        )
    if x0 < -ROUNDING_PX or y0 < -ROUNDING_PX or x1 > width + ROUNDING_PX or y1 > height + ROUNDING_PX:
        advice = "draw it inside"
        if min(x0, y0) >= 0 and max(x1, y1) <= 1000:
            advice += f", or, if these are thousandths of the picture, {_in_pixels(box, image_size_wh, 'thousandths')}"
        raise BoxError(f"{name} {shown} leaves the picture, which is {width} x {height} pixels; {advice}")
    clipped = max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        raise BoxError(f"{name} {shown} has nothing inside the picture, which is {width} x {height} pixels; draw it inside")
    return clipped


def _in_pixels(box: Sequence[float], image_size_wh: tuple[int, int], space: str) -> str:
    pixels = ",".join(f"{value:.0f}" for value in to_pixels(box, image_size_wh, space))
    return f"write {pixels} in pixels, or name the space '{space}'"


def normalise(boxes_xyxy_abs: Sequence[Sequence[float]] | np.ndarray, image_size_wh: tuple[int, int]) -> np.ndarray:
    """float64[N, 4] pixels of the original image to float64[N, 4] in [0, 1] of it (not clipped)."""
    width, height = image_size_wh
    return as_boxes(boxes_xyxy_abs) / np.array([width, height, width, height], dtype=np.float64)


def xywh_to_xyxy(boxes_xywh: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    """COCO's x, y, width, height to x0, y0, x1, y1; float64[N, 4]."""
    boxes = as_boxes(boxes_xywh).copy()
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def area(boxes_xyxy: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    """float64[N]; a box whose corners are swapped has area 0."""
    boxes = as_boxes(boxes_xyxy)
    return np.clip(boxes[:, 2] - boxes[:, 0], 0, None) * np.clip(boxes[:, 3] - boxes[:, 1], 0, None)


def pairwise_iou(boxes_a: Sequence[Sequence[float]] | np.ndarray, boxes_b: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    """Intersection over union, float64[N, M]; 0 where the union is empty."""
    a, b = as_boxes(boxes_a), as_boxes(boxes_b)
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    intersection = np.clip(bottom_right - top_left, 0, None).prod(axis=2)
    union = area(a)[:, None] + area(b)[None, :] - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)
