"""Masks as COCO run lengths: reading, writing, measuring, bins of a box, outlines. The one home of mask arithmetic.

A mask is an `Rle`, `{"size": [height, width], "counts": "..."}`, in pixels of the original image. Boxes of masks are continuous
`x0, y0, x1, y1` (width = x1 - x0), so the tight box of the single pixel (3, 5) is 3, 5, 4, 6.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError
from pycocotools import mask as coco_mask

from gpt4roi.errors import UserError

MIN_OUTLINE_POINTS, MAX_OUTLINE_POINTS = 8, 24


class Rle(TypedDict):
    """COCO's compressed run lengths, column by column; `size` is [height, width]."""

    size: list[int]
    counts: str


class MaskError(UserError):
    """A mask that cannot be used."""


def encode(mask: np.ndarray) -> Rle:
    """bool (or any number, non-zero is inside)[h, w] to run lengths."""
    if mask.ndim != 2 or 0 in mask.shape:
        raise MaskError(f"a mask is an array [height, width] with at least one pixel; got shape {list(mask.shape)}")
    packed = cast(Any, coco_mask).encode(np.asfortranarray(mask != 0, dtype=np.uint8))
    return {"size": [int(side) for side in packed["size"]], "counts": packed["counts"].decode("ascii")}


def decode(rle: Rle) -> np.ndarray:
    """Run lengths to bool[h, w]."""
    return cast(Any, coco_mask).decode(_checked(rle)).astype(bool)


def as_rle(segmentation: object, image_size_wh: tuple[int, int]) -> Rle:
    """COCO's `segmentation` in any of its three forms as run lengths of an image of `image_size_wh`.

    Args:
      segmentation: a list of polygons (or one flat polygon) `[x0, y0, x1, y1, ...]` in pixels, or a dict with `size` and compressed
        (text) or plain (list of numbers) `counts`.
    Raises:
      MaskError: another form, counts that do not add up, another size than the image's.
    """
    if isinstance(segmentation, Mapping):
        size, counts = segmentation.get("size"), segmentation.get("counts")
        if isinstance(counts, bytes):
            counts = counts.decode("ascii", errors="replace")
        elif isinstance(counts, Sequence) and not isinstance(counts, str):
            return check_size(_from_plain_counts(counts, size), image_size_wh)
        rle = cast(Rle, {"size": size, "counts": counts})
        _checked(rle)
        return check_size({"size": [int(side) for side in rle["size"]], "counts": rle["counts"]}, image_size_wh)
    if isinstance(segmentation, Sequence) and not isinstance(segmentation, (str, bytes)):
        flat = len(segmentation) > 0 and all(isinstance(value, (int, float)) for value in segmentation)
        return from_polygons(cast(Any, [segmentation] if flat else segmentation), image_size_wh)
    raise MaskError(f"a mask is a list of polygons or a dict with 'size' and 'counts'; got {type(segmentation).__name__}")


def from_polygons(polygons: Sequence[Sequence[float]], image_size_wh: tuple[int, int]) -> Rle:
    """The union of polygons `[x0, y0, x1, y1, ...]` in pixels; no polygon gives an empty mask.

    Raises:
      MaskError: a polygon has fewer than three points, an odd number of values or one that is not a number.
    """
    width, height = image_size_wh
    flats: list[list[float]] = []
    for polygon in polygons:
        try:
            values = np.asarray(polygon, dtype=np.float64).ravel()
        except (TypeError, ValueError):
            values = np.zeros(0)
        if len(values) < 6 or len(values) % 2 or not np.isfinite(values).all():
            raise MaskError(f"a polygon is at least three points x, y in pixels; got {str(polygon)[:80]}")
        flats.append(values.tolist())
    if not flats:
        return encode(np.zeros((height, width), dtype=bool))
    merged = cast(Any, coco_mask).merge(cast(Any, coco_mask).frPyObjects(flats, height, width))
    return {"size": [height, width], "counts": merged["counts"].decode("ascii")}


def from_png(image: str | Path | bytes | Image.Image, image_size_wh: tuple[int, int]) -> Rle:
    """A drawn mask (PNG or any lossless image) as run lengths.

    With transparency, what is more opaque than half is the mask; otherwise what is brighter than half of the brightest pixel, so that 0/1,
    0/255 and soft edges all read the same. In an image with a palette every colour but black is the mask.

    Raises:
      MaskError: not an image, or another size than the image that it belongs to.
    """
    name = f"'{image}'" if isinstance(image, (str, Path)) else "the mask"
    try:
        opened = image if isinstance(image, Image.Image) else Image.open(io.BytesIO(image) if isinstance(image, bytes) else image)
        opened.load()
    except FileNotFoundError as error:
        raise MaskError(f"{name} does not exist; check the path") from error
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise MaskError(f"{name} cannot be read as an image; give a PNG that is white (or opaque) where the mask is") from error
    if opened.size != tuple(image_size_wh):
        raise MaskError(
            f"{name} is {opened.size[0]} x {opened.size[1]} pixels but its image is {image_size_wh[0]} x {image_size_wh[1]}; "
            "save the mask at the size of the image"
        )
    if opened.mode in ("RGBA", "LA", "PA") or "transparency" in opened.info:
        alpha = np.asarray(opened.convert("RGBA").getchannel("A"))
        if alpha.min() < 255:
            return encode(np.asarray(alpha > 127))
    if opened.mode == "P":
        return encode(np.asarray(np.asarray(opened.convert("RGB")).any(axis=2)))
    plain = opened.mode in ("L", "1", "F", "I") or opened.mode.startswith("I;16")
    values = np.asarray(opened if plain else opened.convert("RGB").convert("L"), dtype=np.float32)
    return encode(np.asarray(values > max(float(values.max()), 0.0) / 2))


def to_png(rle: Rle) -> bytes:
    """A grey PNG of the mask's size, 255 inside and 0 outside; `from_png` reads it back."""
    stream = io.BytesIO()
    Image.fromarray(decode(rle).astype(np.uint8) * 255).save(stream, format="PNG")
    return stream.getvalue()


def check_size(rle: Rle, image_size_wh: tuple[int, int]) -> Rle:
    """The mask itself where it has the image's size.

    Raises:
      MaskError: otherwise.
    """
    height, width = rle["size"]
    if (width, height) != tuple(image_size_wh):
        raise MaskError(
            f"the mask is {width} x {height} pixels but its image is {image_size_wh[0]} x {image_size_wh[1]}; give it in pixels of the image"
        )
    return rle


def area(rle: Rle) -> int:
    """Pixels inside."""
    return int(cast(Any, coco_mask).area(_checked(rle)))


def tight_box(rle: Rle) -> tuple[float, float, float, float]:
    """The smallest box around the mask, x0, y0, x1, y1 in pixels.

    Raises:
      MaskError: the mask is empty.
    """
    if area(rle) == 0:
        raise MaskError("the mask is empty, so it has no box; draw something")
    x, y, width, height = (float(value) for value in cast(Any, coco_mask).toBbox(_checked(rle)))
    return x, y, x + width, y + height


def pairwise_iou(masks_a: Sequence[Rle], masks_b: Sequence[Rle]) -> np.ndarray:
    """Intersection over union of masks of one image, float64[N, M]; 0 where both are empty."""
    if not masks_a or not masks_b:
        return np.zeros((len(masks_a), len(masks_b)))
    sizes = {tuple(rle["size"]) for rle in [*masks_a, *masks_b]}
    if len(sizes) > 1:
        raise MaskError(f"masks of different sizes cannot be compared; got [height, width] of {sorted(sizes)}")
    values = cast(Any, coco_mask).iou([_checked(rle) for rle in masks_a], [_checked(rle) for rle in masks_b], [False] * len(masks_b))
    return np.nan_to_num(np.asarray(values, dtype=np.float64))


def bins(rle: Rle | None, box_xyxy: Sequence[float], n: int) -> np.ndarray:
    """How much of each of the n x n equal bins of a box the mask covers: float32[n, n] in [0, 1], rows from top to bottom.

    Exact for corners between pixels; what lies outside the image is not covered. No mask (None) covers everything. All zeros means that
    the mask has nothing in the box.

    Args:
      box_xyxy: x0, y0, x1, y1 in pixels of the mask's image.
    Raises:
      MaskError: the box is empty.
    """
    if rle is None:
        return np.ones((n, n), dtype=np.float32)
    x0, y0, x1, y1 = (float(value) for value in box_xyxy)
    if not (x1 > x0 and y1 > y0):
        raise MaskError(f"the box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) is empty; x1 must be larger than x0 and y1 larger than y0")
    inside = decode(rle)
    height, width = inside.shape
    # Only the pixels that the box touches: an integral over the whole of a large image costs seconds for many boxes.
    left, top = int(np.clip(np.floor(x0), 0, width)), int(np.clip(np.floor(y0), 0, height))
    right, bottom = int(np.clip(np.ceil(x1), left, width)), int(np.clip(np.ceil(y1), top, height))
    integral = np.zeros((bottom - top + 1, right - left + 1))
    integral[1:, 1:] = inside[top:bottom, left:right].cumsum(axis=0).cumsum(axis=1)
    columns = np.clip(np.linspace(x0, x1, n + 1) - left, 0, right - left)
    rows = np.clip(np.linspace(y0, y1, n + 1) - top, 0, bottom - top)
    # The integral of a step function is piecewise linear, so interpolating it at the edges of the bins is exact.
    at_rows = _interpolate(integral, rows)
    corners = _interpolate(at_rows.T, columns).T
    covered = corners[1:, 1:] - corners[:-1, 1:] - corners[1:, :-1] + corners[:-1, :-1]
    return np.clip(covered / ((x1 - x0) * (y1 - y0) / n**2), 0.0, 1.0).astype(np.float32)


def largest_component(rle: Rle) -> Rle:
    """The largest connected part (pixels that touch at a corner are connected); an empty mask stays empty."""
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(decode(rle).astype(np.uint8), connectivity=8)
    if count <= 2:
        return rle
    return encode(labels == 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA])))


def outlines(rle: Rle) -> list[np.ndarray]:
    """The outer outline of every connected part, largest first: float64[P, 2] of x, y in pixels, 8 <= P <= 24, holes left out.

    Points lie on the edges of pixels, so the outline of a rectangle encloses exactly its pixels.
    """
    inside = np.pad(decode(rle).astype(np.uint8), 1)
    # Contours run through the centres of pixels. On the lattice of pixel corners, where a corner counts when any of its four pixels does,
    # the same contour runs around the pixels.
    lattice = cv2.dilate(inside, np.ones((2, 2), np.uint8), anchor=(1, 1))
    contours, _ = cv2.findContours(lattice, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    ordered = sorted(contours, key=cv2.contourArea, reverse=True)
    return [_simplify(contour.reshape(-1, 2).astype(np.float64) - 1.0) for contour in ordered]


def _simplify(points_xy: np.ndarray) -> np.ndarray:
    """A closed outline with as many points as allowed, not more."""
    curve = points_xy.astype(np.float32)[:, None]
    low, high = 0.0, float(np.ptp(points_xy, axis=0).max()) + 1.0
    simple = cv2.approxPolyDP(curve, 0.0, True)[:, 0]
    if len(simple) > MAX_OUTLINE_POINTS:
        for _ in range(24):
            middle = (low + high) / 2
            candidate = cv2.approxPolyDP(curve, middle, True)[:, 0]
            if len(candidate) > MAX_OUTLINE_POINTS:
                low = middle
            else:
                high, simple = middle, candidate
    outline = simple.astype(np.float64)
    while len(outline) < MIN_OUTLINE_POINTS:
        following = np.roll(outline, -1, axis=0)
        longest = int(np.argmax(((following - outline) ** 2).sum(axis=1)))
        outline = np.insert(outline, longest + 1, (outline[longest] + following[longest]) / 2, axis=0)
    return outline


def _interpolate(table: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Rows of float64[h, w] at positions between rows: float64[len(positions), w]."""
    lower = np.clip(np.floor(positions).astype(int), 0, max(len(table) - 2, 0))
    upper = np.minimum(lower + 1, len(table) - 1)
    share = (positions - lower)[:, None]
    return table[lower] * (1 - share) + table[upper] * share


def _size_hw(size: object) -> tuple[int, int]:
    good = isinstance(size, Sequence) and not isinstance(size, str) and len(size) == 2
    if not good or not all(isinstance(side, (int, np.integer)) and side > 0 for side in cast(Sequence[Any], size)):
        raise MaskError(f"a mask's 'size' is [height, width] in whole pixels; got {size!r}")
    height, width = cast(Sequence[int], size)
    return int(height), int(width)


def _from_plain_counts(counts: Sequence[Any], size: object) -> Rle:
    height, width = _size_hw(size)
    whole = all(isinstance(count, (int, np.integer)) and count >= 0 for count in counts)
    if not whole or sum(counts) != height * width:
        raise MaskError(f"the mask's 'counts' do not add up to {height} x {width} pixels; export it again")
    packed = cast(Any, coco_mask).frPyObjects({"size": [height, width], "counts": [int(count) for count in counts]}, height, width)
    return {"size": [height, width], "counts": packed["counts"].decode("ascii")}


def _checked(rle: Rle) -> dict[str, Any]:
    """What pycocotools takes, after a check that it does not make: with counts that fall short it gives memory that nobody wrote."""
    height, width = _size_hw(rle["size"])
    counts = rle["counts"]
    if not isinstance(counts, str) or _count_pixels(counts) != height * width:
        raise MaskError(f"the mask's 'counts' are not COCO run lengths of {height} x {width} pixels; export it again")
    return {"size": [height, width], "counts": counts.encode("ascii")}


def _count_pixels(counts: str) -> int:
    """The sum of the run lengths in COCO's text form (6 bits a character, differences from the third run on); -1 if it is broken."""
    runs: list[int] = []
    value = shift = 0
    for code in counts.encode("ascii", errors="replace"):
        code -= 48
        if not 0 <= code < 64:
            return -1
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        if len(runs) > 2:
            value += runs[-2]
        if value < 0:
            return -1
        runs.append(value)
        value = shift = 0
    return sum(runs) if shift == 0 else -1
