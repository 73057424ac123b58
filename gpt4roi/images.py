"""Opening pictures: any mode, any orientation, one clear sentence when it cannot be done. PIL and numpy only."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from gpt4roi.errors import UserError

MAX_PIXELS = 50_000_000

PictureLike = str | Path | bytes | Image.Image | np.ndarray


class PictureError(UserError):
    """A picture that cannot be used; the message is a sentence for the user."""


def open_picture(picture: PictureLike, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Anything that is a picture as an upright RGB picture.

    EXIF orientation is applied, so boxes are in the frame that people see. Transparency is laid on white. 16-bit greys are scaled to 8.

    Args:
      picture: a path, the bytes of a file, a PIL picture, or uint8[H, W], uint8[H, W, 3 or 4].
      max_pixels: refuse larger ones before they are decoded.
    Raises:
      PictureError: missing, broken, too large, or not a picture.
    """
    name = f"'{picture}'" if isinstance(picture, (str, Path)) else "the picture"
    try:
        opened = _open(picture)
        width, height = opened.size
        if width * height > max_pixels:
            raise PictureError(
                f"{name} has {width} x {height} = {width * height / 1e6:.0f} million pixels; at most {max_pixels / 1e6:.0f} million are taken, scale it down"
            )
        return _to_rgb(ImageOps.exif_transpose(opened))
    except PictureError:
        raise
    except FileNotFoundError as error:
        raise PictureError(f"{name} does not exist; check the path") from error
    except UnidentifiedImageError as error:
        raise PictureError(f"{name} is not a picture in a format that can be read (JPEG, PNG, WebP, GIF, TIFF, BMP …)") from error
    except Image.DecompressionBombError as error:
        raise PictureError(f"{name} is too large to decode; at most {max_pixels / 1e6:.0f} million pixels are taken") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise PictureError(f"{name} is broken and cannot be decoded ({error}); save it again or use another") from error


def _open(picture: PictureLike) -> Image.Image:
    if isinstance(picture, Image.Image):
        return picture
    if isinstance(picture, bytes):
        return Image.open(io.BytesIO(picture))
    if isinstance(picture, np.ndarray):
        if (
            picture.dtype != np.uint8
            or picture.ndim not in (2, 3)
            or (picture.ndim == 3 and picture.shape[2] not in (3, 4))
            or picture.size == 0
        ):
            raise PictureError(f"an array picture is uint8[H, W], [H, W, 3] or [H, W, 4]; got {picture.dtype}{list(picture.shape)}")
        return Image.fromarray(picture)
    if isinstance(picture, (str, Path)):
        if Path(picture).is_dir():
            raise PictureError(f"'{picture}' is a folder; give one picture file")
        return Image.open(picture)
    raise PictureError(f"a picture is a path, bytes, a PIL picture or a uint8 array; got {type(picture).__name__}")


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB":
        picture.load()
        return picture
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        values = np.asarray(picture, dtype=np.float64)
        peak = values.max(initial=0.0)
        # 16-bit files come as I;16 or I; a float picture is taken as [0, 1] unless it is brighter.
        full = 1.0 if picture.mode == "F" and peak <= 1 else 255.0 if peak <= 255 else 65535.0
        return Image.fromarray(np.clip(values * (255.0 / full), 0, 255).astype(np.uint8)).convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        with_alpha = picture.convert("RGBA")
        white = Image.new("RGBA", with_alpha.size, "white")
        return Image.alpha_composite(white, with_alpha).convert("RGB")
    return picture.convert("RGB")
