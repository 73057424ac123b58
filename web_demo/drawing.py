"""The picture with its numbered boxes, as PNG bytes (OpenCV)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from PIL import Image

from web_demo.palette import region_colour_bgr


def draw_regions(picture: Image.Image, boxes_xyxy_abs: Mapping[int, Sequence[float]]) -> bytes:
    """PNG of the picture in its own size with every box outlined and numbered.

    Line and letter sizes follow the picture, so that a box is as easy to see on 8 megapixels as on a thumbnail.

    Args:
      picture: any mode; drawn as RGB.
      boxes_xyxy_abs: region number to x0, y0, x1, y1 in pixels of the picture.
    """
    canvas = cv2.cvtColor(np.asarray(picture.convert("RGB")), cv2.COLOR_RGB2BGR)
    height, width = canvas.shape[:2]
    thickness = max(1, round(min(width, height) / 200))
    # 22 pixels is the height of this font at scale 1; the number is to be 4 % of the shorter side, but never unreadably small.
    font_scale = max(0.4, 0.04 * min(width, height) / 22)
    for number in sorted(boxes_xyxy_abs):
        x0, y0, x1, y1 = (round(value) for value in boxes_xyxy_abs[number])
        colour = region_colour_bgr(number)
        # cv2 includes the far corner, our boxes end before it. Upright lines are sharper without anti-aliasing.
        cv2.rectangle(canvas, (x0, y0), (x1 - 1, y1 - 1), colour, thickness, cv2.LINE_8)
        _draw_number(canvas, str(number), (x0, y0), colour, font_scale, thickness)
    encoded, png = cv2.imencode(".png", canvas)
    if not encoded:
        raise RuntimeError("OpenCV could not encode the picture as PNG")
    return png.tobytes()


def _draw_number(
    canvas: np.ndarray, text: str, corner_xy: tuple[int, int], colour: tuple[int, int, int], font_scale: float, thickness: int
) -> None:
    """A filled tag with the number inside the box's upper left corner, where it cannot leave the picture."""
    font = cv2.FONT_HERSHEY_SIMPLEX
    (text_width, text_height), baseline = cv2.getTextSize(text, font, font_scale, thickness)
    margin = max(2, baseline // 2)
    x, y = corner_xy
    cv2.rectangle(canvas, (x, y), (x + text_width + 2 * margin, y + text_height + 2 * margin), colour, cv2.FILLED)
    cv2.putText(canvas, text, (x + margin, y + margin + text_height), font, font_scale, (255, 255, 255), thickness, cv2.LINE_AA)
