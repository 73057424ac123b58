"""An image as the engine keeps it: its name, its size and the model's pixels, not the megapixels it was decoded from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor

from gpt4roi.images import MAX_PIXELS, ImageLike, open_image, return_memory
from gpt4roi.models import GPT4RoIProcessor


@dataclass(frozen=True, eq=False)
class PreparedImage:
    """One image, ready for the model.

    key: SHA-256 of the file, or of the pixels where there is no file. size_wh: of the original image, the frame of all boxes in pixels.
    pixel_values: float32[3, H, W] from the processor.
    """

    key: str
    size_wh: tuple[int, int]
    pixel_values: Tensor


def prepare_image(image: ImageLike, processor: GPT4RoIProcessor, max_pixels: int = MAX_PIXELS) -> PreparedImage:
    """Anything that is an image, decoded and resized once.

    Raises:
      ImageError: missing, broken, too large, or not an image.
    """
    rgb = open_image(image, max_pixels)
    prepared = PreparedImage(image_key(image, rgb), rgb.size, processor.image_processor(rgb))
    del rgb
    return_memory(prepared.size_wh)
    return prepared


def image_key(image: ImageLike, rgb: Image.Image | None = None) -> str:
    """SHA-256 of a file's bytes, or of size and pixels of an image that is in memory already."""
    if isinstance(image, bytes):
        return hashlib.sha256(image).hexdigest()
    if isinstance(image, (str, Path)):
        with open(image, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    decoded = rgb if rgb is not None else open_image(image)
    digest = hashlib.sha256(f"{decoded.size}".encode())
    digest.update(decoded.tobytes())
    return digest.hexdigest()
