"""The eleven basic colour names (Berlin & Kay, 1969) of pixels and regions, measured. numpy and OpenCV only.

Training data, evaluation and the chat share this one definition, so that "red" means the same in all.
"""

from __future__ import annotations

import cv2
import numpy as np

COLORS = ("black", "white", "gray", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
ACHROMATIC = COLORS[:3]
CHROMATIC_WEIGHT = 1.5
SECOND_SHARE = 0.2


def color_indices(rgb: np.ndarray) -> np.ndarray:
    """uint8[..., 3] RGB to an index into `COLORS` per pixel, int64[...].

    Hue sectors in HSV with black, white and gray cut off by value and saturation; dark orange is brown, pale red is pink.
    """
    pixels = np.asarray(rgb, dtype=np.float32) / 255.0
    value, low = pixels.max(-1), pixels.min(-1)
    chroma = value - low
    saturation = np.divide(chroma, value, out=np.zeros_like(value), where=value > 0)
    safe = np.where(chroma > 0, chroma, 1.0)
    r, g, b = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    hue = np.where(value == r, ((g - b) / safe) % 6, np.where(value == g, (b - r) / safe + 2, (r - g) / safe + 4)) * 60
    index = {name: position for position, name in enumerate(COLORS)}
    result = np.full(value.shape, index["red"], dtype=np.int64)
    for name, start, end in (
        ("orange", 16, 42),
        ("yellow", 42, 70),
        ("green", 70, 165),
        ("blue", 165, 258),
        ("purple", 258, 295),
        ("pink", 295, 340),
    ):
        result[(hue >= start) & (hue < end)] = index[name]
    warm = (hue < 42) | (hue >= 340)
    result[warm & (value < 0.65) & (hue >= 8) & (hue < 42)] = index["brown"]
    result[warm & ((hue < 16) | (hue >= 340)) & (saturation < 0.5) & (value > 0.7)] = index["pink"]
    result[(saturation < 0.15) | ((value < 0.35) & (saturation < 0.25))] = index["gray"]
    result[(saturation < 0.15) & (value > 0.82)] = index["white"]
    result[value < 0.2] = index["black"]
    return result


def color_fractions(rgb: np.ndarray, box_xyxy: tuple[float, float, float, float]) -> np.ndarray:
    """Share of each colour inside a box: float64[11] that sums to 1.

    Args:
      rgb: uint8[H, W, 3].
      box_xyxy: pixels of that image; at least one pixel is taken.
    """
    height, width = rgb.shape[:2]
    x0, y0 = min(int(box_xyxy[0]), width - 1), min(int(box_xyxy[1]), height - 1)
    x1, y1 = max(int(np.ceil(box_xyxy[2])), x0 + 1), max(int(np.ceil(box_xyxy[3])), y0 + 1)
    counts = np.bincount(color_indices(rgb[max(y0, 0) : y1, max(x0, 0) : x1]).reshape(-1), minlength=len(COLORS))
    return counts / counts.sum()


def mask_color_fractions(rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Share of each colour of the thing under a mask, as people see it: float64[11] that sums to 1.

    The mask's rim, where the thing and what is behind it mix, is left out. Colours proper count more than black, white and gray, which
    shadows, reflections and gaps bring in: a red car with dark windows is red.

    Args:
      rgb: uint8[H, W, 3]. mask: bool[H, W], at least one pixel.
    """
    core = cv2.erode(mask.astype(np.uint8), np.ones((5, 5), dtype=np.uint8)).astype(bool)
    inside = core if core.sum() * 3 > mask.sum() else mask
    counts = np.bincount(color_indices(rgb[inside]), minlength=len(COLORS)).astype(np.float64)
    counts[len(ACHROMATIC) :] *= CHROMATIC_WEIGHT
    return counts / counts.sum()


def color_phrase(fractions: np.ndarray) -> str:
    """`mostly red and some black`: the largest colour, and the second where it has a share of `SECOND_SHARE`."""
    first, second = (int(index) for index in np.argsort(-fractions, kind="stable")[:2])
    return f"mostly {COLORS[first]}" + (f" and some {COLORS[second]}" if fractions[second] >= SECOND_SHARE else "")
