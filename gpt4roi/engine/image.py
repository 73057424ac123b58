"""A picture as the engine keeps it: its name, its size and the model's pixels, not the megapixels it was decoded from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor

from gpt4roi.images import MAX_PIXELS, PictureLike, open_picture
from gpt4roi.models import GPT4RoIProcessor


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture, ready for the model.

    key: SHA-256 of the file, or of the pixels where there is no file. size_wh: of the original picture, the frame of all boxes in pixels.
    pixel_values: float32[3, H, W] from the processor.
    """

    key: str
    size_wh: tuple[int, int]
    pixel_values: Tensor


def load_picture(picture: PictureLike, processor: GPT4RoIProcessor, max_pixels: int = MAX_PIXELS) -> Picture:
    """Anything that is a picture, decoded and resized once.

    Raises:
      PictureError: missing, broken, too large, or not a picture.
    """
    rgb = open_picture(picture, max_pixels)
    return Picture(picture_key(picture, rgb), rgb.size, processor.image_processor(rgb))


def picture_key(picture: PictureLike, rgb: Image.Image | None = None) -> str:
    """SHA-256 of a file's bytes, or of size and pixels of a picture that is in memory already."""
    if isinstance(picture, bytes):
        return hashlib.sha256(picture).hexdigest()
    if isinstance(picture, (str, Path)):
        with open(picture, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    decoded = rgb if rgb is not None else open_picture(picture)
    digest = hashlib.sha256(f"{decoded.size}".encode())
    digest.update(decoded.tobytes())
    return digest.hexdigest()
