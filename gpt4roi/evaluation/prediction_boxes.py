"""Boxes in predictions files: how they are written, and in which space."""

from __future__ import annotations

import math
import re
from typing import Any

from gpt4roi.boxes import SPACES, to_pixels
from gpt4roi.evaluation.items import Box, EvaluationError, Item

_NUMBER = r"-?\d+(?:\.\d+)?"
_FOUR = re.compile(rf"[\[(<{{]+\s*({_NUMBER})\s*[,;\s]\s*({_NUMBER})\s*\)?\s*[,;\s]\s*\(?\s*({_NUMBER})\s*[,;\s]\s*({_NUMBER})")
# Boxes as fractions of the image padded to a square in the middle, as Shikra and ASMv2 write them.
SQUARE_SPACES = {"square": 1.0, "square_thousandths": 1000.0}


def predicted_boxes(item: Item, output: Any) -> list[Box] | None:
    """Boxes of a raw output in pixels of the image, clipped to it; `[]` where it says there are none, None where it cannot be read.

    Accepted: `[x0, y0, x1, y1]`, a list of those, text that holds four numbers in brackets, or
    `{"box" or "boxes" or "text": …, "format": "xyxy" | "xywh", "space": "pixels" | "unit" | "thousandths" | "square" | "square_thousandths"}`.
    """
    form, space = "xyxy", "pixels"
    if isinstance(output, dict):
        form, space = output.get("format", "xyxy"), output.get("space", "pixels")
        output = next((output[key] for key in ("boxes", "box", "text") if key in output), None)
    if form not in ("xyxy", "xywh") or space not in (*SPACES, *SQUARE_SPACES):
        raise EvaluationError(
            f"prediction {item.id}: format is xyxy or xywh and space one of {', '.join((*SPACES, *SQUARE_SPACES))}; got {form} and {space}"
        )
    if isinstance(output, str):
        output = [[float(value) for value in found] for found in _FOUR.findall(output)] or None
    if not isinstance(output, list | tuple):
        return None
    if not output:
        return []
    rows = output if isinstance(output[0], list | tuple) else [output]
    boxes = []
    for row in rows:
        try:
            a, b, c, d = (float(value) for value in row)
        except (TypeError, ValueError):
            return None
        if not all(math.isfinite(value) for value in (a, b, c, d)):
            return None
        boxes.append(_in_image(item, (a, b, a + c, b + d) if form == "xywh" else (a, b, c, d), space))
    return boxes


def _in_image(item: Item, box: Box, space: str) -> Box:
    if item.image_size_wh is None:
        if space != "pixels":
            raise EvaluationError(f"prediction {item.id}: the data file gives no picture size, so boxes must be in pixels")
        return box
    width, height = item.image_size_wh
    if space in SQUARE_SPACES:
        side = max(width, height)
        x_pad, y_pad, scale = (side - width) / 2, (side - height) / 2, side / SQUARE_SPACES[space]
        box = (box[0] * scale - x_pad, box[1] * scale - y_pad, box[2] * scale - x_pad, box[3] * scale - y_pad)
    else:
        box = to_pixels(box, item.image_size_wh, space)
    x0, x1 = (min(max(value, 0.0), float(width)) for value in (box[0], box[2]))
    y0, y1 = (min(max(value, 0.0), float(height)) for value in (box[1], box[3]))
    return x0, y0, x1, y1
