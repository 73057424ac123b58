"""Edits of an image inside a mask, by OpenCV. What lies outside the mask is not touched: every edit is checked for it.

Images are uint8[h, w, 3] RGB, masks bool[h, w]; `soft` is a mask's edge fading inwards, float32[h, w] in 0 to 1, zero outside the mask.
"""

from __future__ import annotations

import cv2
import numpy as np

from gpt4roi.errors import UserError

# Width of a faded edge, as a share of the image's longer side; at most.
EDGE = 0.006
RGB = {
    "black": (0, 0, 0), "white": (255, 255, 255), "gray": (128, 128, 128), "grey": (128, 128, 128), "red": (220, 30, 30),
    "orange": (245, 140, 20), "yellow": (245, 220, 40), "green": (40, 160, 60), "blue": (40, 90, 220), "purple": (130, 50, 170),
    "pink": (245, 130, 180), "brown": (130, 80, 40),
}  # fmt: skip


class EditError(UserError):
    """An edit that cannot be made, or that touched what it must not."""


def soft(mask: np.ndarray) -> np.ndarray:
    """The mask with an edge that fades inwards."""
    width = max(1.0, EDGE * max(mask.shape))
    depth = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1, mode="edge"), cv2.DIST_L2, 3)[1:-1, 1:-1]
    return np.clip(depth / width, 0, 1) * mask


def blend(image: np.ndarray, changed: np.ndarray, mask: np.ndarray, fade: bool = True) -> np.ndarray:
    """`changed` inside the mask, the image outside; exactly the image where the mask is not."""
    share = (soft(mask) if fade else mask.astype(np.float32))[..., None]
    mixed = np.clip(image * (1 - share) + changed * share + 0.5, 0, 255).astype(np.uint8)
    return np.where(mask[..., None], mixed, image)


def checked(before: np.ndarray, after: np.ndarray, mask: np.ndarray, what: str) -> np.ndarray:
    """The result of an edit that must stay inside a mask.

    Raises:
      EditError: a pixel outside has changed, or none inside has.
    """
    differs = (before != after).any(-1)
    if differs[~mask].any():
        raise EditError(f"{what} changed {int(differs[~mask].sum())} pixels outside the regions; nothing was kept")
    if mask.any() and not differs.any():
        raise EditError(f"{what} changed nothing: the regions look so already")
    return after


def blurred(image: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), max(4.0, 0.02 * max(image.shape[:2])))


def pixelated(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    cell = max(4, round(0.025 * max(height, width)))
    small = cv2.resize(image, (max(1, width // cell), max(1, height // cell)), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)


def gray(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def brightened(image: np.ndarray, amount: float) -> np.ndarray:
    """Towards white for amounts above 0, towards black below; a curve, so that what is white stays white."""
    table = np.arange(256, dtype=np.float32) / 255
    curve = table ** (1 / (1 + 1.5 * amount)) if amount >= 0 else table ** (1 - 1.5 * amount)
    return cv2.LUT(image, np.clip(curve * 255 + 0.5, 0, 255).astype(np.uint8))


def dimmed(image: np.ndarray) -> np.ndarray:
    return (gray(image) * 0.15 + image * 0.2).astype(np.uint8)


def recolored(image: np.ndarray, color: str, mask: np.ndarray) -> np.ndarray:
    """Another hue with the same shading; `color` is a name or #rrggbb."""
    target = np.array([[color_rgb(color)]], dtype=np.uint8)
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)
    wanted = cv2.cvtColor(target, cv2.COLOR_RGB2LAB).astype(np.float32)[0, 0]
    light = lab[..., 0]
    inside = light[mask] if mask.any() else light
    # Shading is how each pixel differs from the typical one; the typical one gets half way to the wanted lightness, white and black all.
    is_plain = abs(wanted[1] - 128) + abs(wanted[2] - 128) < 12
    shift = (float(wanted[0]) - float(np.median(inside))) * (0.85 if is_plain else 0.5)
    lab[..., 0] = np.clip(light + shift, 0, 255)
    lab[..., 1:] = wanted[1:]
    return cv2.cvtColor(np.clip(lab + 0.5, 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB)


def color_rgb(color: str) -> tuple[int, int, int]:
    """A name of the eleven, or #rrggbb."""
    if color.startswith("#"):
        return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
    return RGB[color]


def filled(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What the mask covers, filled from around it."""
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=max(1, round(0.004 * max(mask.shape))))
    height, width = mask.shape
    factor = min(1.0, 640 / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    hole = (cv2.resize(grown, size, interpolation=cv2.INTER_NEAREST) > 0).astype(np.uint8)
    if hole.all():
        raise EditError("the regions cover the whole picture, so nothing around them can fill it")
    repaired = cv2.inpaint(small, hole, 5, cv2.INPAINT_TELEA)
    return cv2.resize(repaired, (width, height), interpolation=cv2.INTER_CUBIC) if factor < 1 else repaired


def moved(image: np.ndarray, mask: np.ndarray, dx: float, dy: float, keep: bool, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """The thing elsewhere, dx and dy in shares of the image; the result and the mask of all that may have changed."""
    height, width = mask.shape
    ys, xs = np.nonzero(mask)
    cx, cy = (xs.min() + xs.max() + 1) / 2, (ys.min() + ys.max() + 1) / 2
    shift = np.array([[scale, 0, cx - scale * cx + dx * width], [0, scale, cy - scale * cy + dy * height]], dtype=np.float64)
    there = cv2.warpAffine(soft(mask), shift, (width, height), flags=cv2.INTER_LINEAR)
    thing = cv2.warpAffine(image, shift, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    if not (there > 0.5).any():
        raise EditError("the thing would lie outside the picture; move it by less")
    ground = image if keep else np.where(mask[..., None], filled(image, mask), image)
    result = np.clip(ground * (1 - there[..., None]) + thing * there[..., None] + 0.5, 0, 255).astype(np.uint8)
    touched = (there > 0) | (mask if not keep else np.zeros_like(mask))
    return np.where(touched[..., None], result, image), touched


def annotated(image: np.ndarray, boxes: list[tuple[float, float, float, float]], names: list[str]) -> np.ndarray:
    """Boxes with their names drawn."""
    drawn = image.copy()
    thickness = max(2, round(max(image.shape[:2]) / 300))
    scale = max(0.4, max(image.shape[:2]) / 1100)
    palette = [RGB[name] for name in ("red", "blue", "green", "orange", "purple", "pink", "yellow", "brown")]
    for place, (box, name) in enumerate(zip(boxes, names, strict=True)):
        color = palette[place % len(palette)]
        x0, y0, x1, y1 = (round(value) for value in box)
        cv2.rectangle(drawn, (x0, y0), (x1 - 1, y1 - 1), color, thickness)
        (text_width, text_height), base = cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, scale, max(1, thickness // 2))
        top = y0 if y0 - text_height - base < 0 else y0 - text_height - base
        cv2.rectangle(drawn, (x0, top), (x0 + text_width + 4, top + text_height + base), color, -1)
        cv2.putText(
            drawn,
            name,
            (x0 + 2, top + text_height + base // 2),
            cv2.FONT_HERSHEY_SIMPLEX,
            scale,
            (255, 255, 255),
            max(1, thickness // 2),
            cv2.LINE_AA,
        )
    return drawn
