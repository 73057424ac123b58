"""Opening images: any mode, any orientation, one clear sentence when it cannot be done. PIL and numpy only."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from gpt4roi.errors import UserError

MAX_PIXELS = 50_000_000

ImageLike = str | Path | bytes | Image.Image | np.ndarray


class ImageError(UserError):
    """An image that cannot be used; the message is a sentence for the user."""


def open_image(image: ImageLike, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Anything that is an image as an upright RGB image.

    EXIF orientation is applied, so boxes are in the frame that people see. Transparency is laid on white. 16-bit greys are scaled to 8.

    Args:
      image: a path, the bytes of a file, a PIL image, or uint8[H, W], uint8[H, W, 3 or 4].
      max_pixels: refuse larger ones before they are decoded.
    Raises:
      ImageError: missing, broken, too large, or not an image.
    """
    name = f"'{image}'" if isinstance(image, (str, Path)) else "the picture"
    try:
        opened = _open(image)
        width, height = opened.size
        if width * height > max_pixels:
            raise ImageError(
                f"{name} has {width} x {height} = {width * height / 1e6:.0f} million pixels; at most {max_pixels / 1e6:.0f} million are taken, scale it down"
            )
        return _to_rgb(ImageOps.exif_transpose(opened))
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{name} does not exist; check the path") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is not a picture in a format that can be read (JPEG, PNG, WebP, GIF, TIFF, BMP …)") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} is too large to decode; at most {max_pixels / 1e6:.0f} million pixels are taken") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageError(f"{name} is broken and cannot be decoded ({error}); save it again or use another") from error


def _open(image: ImageLike) -> Image.Image:
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, bytes):
        return Image.open(io.BytesIO(image))
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (3, 4)) or image.size == 0:
            raise ImageError(f"an array picture is uint8[H, W], [H, W, 3] or [H, W, 4]; got {image.dtype}{list(image.shape)}")
        return Image.fromarray(image)
    if isinstance(image, (str, Path)):
        if Path(image).is_dir():
            raise ImageError(f"'{image}' is a folder; give one picture file")
        return Image.open(image)
    raise ImageError(f"a picture is a path, bytes, a PIL picture or a uint8 array; got {type(image).__name__}")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        image.load()
        return image
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float64)
        peak = values.max(initial=0.0)
        # 16-bit files come as I;16 or I; a float image is taken as [0, 1] unless it is brighter.
        full = 1.0 if image.mode == "F" and peak <= 1 else 255.0 if peak <= 255 else 65535.0
        return Image.fromarray(np.clip(values * (255.0 / full), 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        with_alpha = image.convert("RGBA")
        white = Image.new("RGBA", with_alpha.size, "white")
        return Image.alpha_composite(white, with_alpha).convert("RGB")
    return image.convert("RGB")
