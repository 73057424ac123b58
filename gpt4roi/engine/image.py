"""An image as the engine keeps it: its name, its size and the model's pixels, not the megapixels it was decoded from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from torch import Tensor

from gpt4roi.images import MAX_PIXELS, ImageLike, open_image, return_memory
from gpt4roi.models import GPT4RoIProcessor

# Long side in pixels of what is kept for a closer look: small things and letters need more than the model's own input.
DETAIL = 1280


@dataclass(frozen=True, eq=False)
class PreparedImage:
    """One image, ready for the model.

    key: SHA-256 of the file, or of the pixels where there is no file. size_wh: of the original image, the frame of all boxes in pixels.
    pixel_values: float32[3, H, W] from the processor. rgb: uint8[h, w, 3], the image itself with a long side of at most `DETAIL` pixels.
    """

    key: str
    size_wh: tuple[int, int]
    pixel_values: Tensor
    rgb: np.ndarray


def prepare_image(image: ImageLike, processor: GPT4RoIProcessor, max_pixels: int = MAX_PIXELS) -> PreparedImage:
    """Anything that is an image, decoded and resized once.

    Raises:
      ImageError: missing, broken, too large, or not an image.
    """
    rgb = open_image(image, max_pixels)
    prepared = PreparedImage(image_key(image, rgb), rgb.size, processor.image_processor(rgb), _detail(rgb))
    del rgb
    return_memory(prepared.size_wh)
    return prepared


def _detail(rgb: Image.Image) -> np.ndarray:
    pixels = np.asarray(rgb)
    share = DETAIL / max(rgb.size)
    return cv2.resize(pixels, None, fx=share, fy=share, interpolation=cv2.INTER_AREA) if share < 1 else pixels.copy()


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
