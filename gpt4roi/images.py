"""Opening images: any mode, any orientation, one clear sentence when it cannot be done. PIL and numpy only."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from gpt4roi.image_files import ImageError, check_size, open_file, read_file

MAX_PIXELS = 50_000_000
# Beyond this an image takes the one place for large ones: 100 MB a copy at 25 million pixels.
LARGE_PIXELS = 4_000_000
BAND_ROWS = 256

ImageLike = str | Path | bytes | Image.Image | np.ndarray

_any_image, _large_image = threading.BoundedSemaphore(2), threading.BoundedSemaphore(1)

__all__ = ["MAX_PIXELS", "ImageError", "ImageLike", "open_image", "return_memory"]


def open_image(image: ImageLike, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Anything that is an image as an upright RGB image.

    EXIF orientation is applied, so boxes are in the frame that people see. Transparency is laid on white. Greys of more than 8 bits are
    scaled to 8. At most two files are decoded at the same time in a process, and one of more than 4 million pixels.

    Args:
      image: a path, the bytes of a file, a PIL image, or uint8[H, W], uint8[H, W, 3 or 4].
      max_pixels: refuse larger ones before they are decoded.
    Raises:
      ImageError: missing, broken, too large, or not an image.
    """
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (3, 4)) or image.size == 0:
            raise ImageError(f"an array picture is uint8[H, W], [H, W, 3] or [H, W, 4]; got {image.dtype}{list(image.shape)}")
        image = Image.fromarray(image)
    if isinstance(image, Image.Image):
        check_size(image.size, "the picture", max_pixels)
        return _decoded(image, "the picture")
    if not isinstance(image, (bytes, str, Path)):
        raise ImageError(f"a picture is a path, bytes, a PIL picture or a uint8 array; got {type(image).__name__}")
    name, data = ("the picture", image) if isinstance(image, bytes) else (f"'{image}'", read_file(image))
    with _any_image:
        try:
            opened = open_file(data, name, max_pixels)
        except ImageError:
            raise
        except Exception as error:  # decoders raise anything on a stranger's bytes
            raise _broken(name, error) from error
        with _place_for(opened.size):
            return _decoded(opened, name)


@contextmanager
def _place_for(size_wh: tuple[int, int]) -> Iterator[None]:
    if size_wh[0] * size_wh[1] <= LARGE_PIXELS:
        yield
        return
    with _large_image:
        yield


def _decoded(opened: Image.Image, name: str) -> Image.Image:
    try:
        opened.load()
        upright = ImageOps.exif_transpose(opened)
    except Exception as error:  # as above
        raise _broken(name, error) from error
    return _to_rgb(upright)


def _broken(name: str, error: Exception) -> ImageError:
    if isinstance(error, MemoryError):
        return ImageError(f"{name} does not fit into this machine's memory; scale it down")
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
    return ImageError(f"{name} is broken and cannot be decoded ({reason}); save it again or use another")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _eight_bits(image).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        with_alpha = image.convert("RGBA")
        white = Image.new("RGB", with_alpha.size, "white")
        white.paste(with_alpha, mask=with_alpha.getchannel("A"))
        return white
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Greys of 10, 12, 16 or 32 bits, or floats, as 8 bits: full white is the end of the range that the image's own peak lies in.

    Files of 16 bits often hold the 10 or 12 bits of a sensor, which are black on the full range.
    """
    bands = [(top, min(top + BAND_ROWS, image.height)) for top in range(0, image.height, BAND_ROWS)]

    def values(band: tuple[int, int]) -> np.ndarray:
        array = np.asarray(image.crop((0, band[0], image.width, band[1])), dtype=np.float64)
        return np.nan_to_num(array, nan=0.0, posinf=0.0, neginf=0.0)

    peak = max(values(band).max(initial=0.0) for band in bands)
    full = 1.0 if image.mode == "F" and peak <= 1 else max(2.0 ** int(np.ceil(np.log2(peak + 1))) - 1, 255.0)
    grey = Image.new("L", image.size)
    for band in bands:
        grey.paste(Image.fromarray(np.clip(values(band) * (255.0 / full), 0, 255).astype(np.uint8)), (0, band[0]))
    return grey


def return_memory(size_wh: tuple[int, int] | None = None) -> None:
    """Give what a large image, or what went before if none is named, needed back to the system, where the C library can; it keeps freed pages
    otherwise."""
    if (size_wh is None or size_wh[0] * size_wh[1] > LARGE_PIXELS) and _malloc_trim is not None:
        _malloc_trim(0)


_malloc_trim: Any
try:
    _malloc_trim = ctypes.CDLL(None).malloc_trim
except (AttributeError, OSError, TypeError):  # not glibc
    _malloc_trim = None
