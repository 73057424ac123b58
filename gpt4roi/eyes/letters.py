"""Letters in a picture, by RapidOCR (an extra): lines with their boxes. Its models come with the package; nothing is fetched."""

from __future__ import annotations

import importlib.util
import logging
import threading
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from gpt4roi.boxes import Box
from gpt4roi.engine.onnx_decoder import quiet_onnxruntime

INSTALL = "pip install 'gpt4roi[ocr]'"
# Lines that are less certain are not read out.
LEAST = 0.5
# Small prints are enlarged so that letters have pixels.
SMALLEST_SIDE = 320


@dataclass(frozen=True)
class Line:
    """One line. box_xyxy: pixels of the array that was read. score: 0 to 1."""

    text: str
    box_xyxy: Box
    score: float


def can_read() -> bool:
    """Whether the package is there."""
    return importlib.util.find_spec("rapidocr") is not None


def read_lines(rgb: np.ndarray) -> list[Line]:
    """The lines of an image, from the top down. `rgb`: uint8[h, w, 3]."""
    import cv2

    factor = max(1.0, SMALLEST_SIDE / max(1, min(rgb.shape[:2])))
    factor = min(factor, 4.0)
    enlarged = cv2.resize(rgb, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC) if factor > 1 else rgb
    with _lock:
        result: Any = _reader()(np.ascontiguousarray(enlarged[..., ::-1]))
    if result is None or result.txts is None:
        return []
    lines = []
    for text, points, score in zip(result.txts, result.boxes, result.scores, strict=True):
        x, y = np.asarray(points, dtype=float).T / factor
        if score >= LEAST and text.strip():
            lines.append(Line(text.strip(), (float(x.min()), float(y.min()), float(x.max()), float(y.max())), float(score)))
    return sorted(lines, key=lambda line: (round(line.box_xyxy[1] / 12), line.box_xyxy[0]))


_lock = threading.Lock()


@cache
def _reader() -> Any:
    quiet_onnxruntime()
    logging.getLogger("RapidOCR").setLevel(logging.ERROR)
    from rapidocr import RapidOCR

    return RapidOCR(params={"Global.log_level": "error"})
