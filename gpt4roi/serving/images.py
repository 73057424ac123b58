"""Images of requests: data URLs, bare base64, and http(s) from hosts that were allowed by name."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import threading
from urllib.parse import unquote_to_bytes

from gpt4roi.engine import PreparedImage, prepare_image
from gpt4roi.engine.byte_cache import ByteCache
from gpt4roi.models import GPT4RoIProcessor
from gpt4roi.serving.errors import ApiError
from gpt4roi.serving.fetch import fetch
from gpt4roi.serving.settings import ServerSettings

_BARE_BASE64 = re.compile(r"[A-Za-z0-9+/_\-\s]{40,}=*\s*")


class ImageStore:
    """Decoded images by the SHA-256 of their bytes, under a budget: clients send the same image with every turn."""

    def __init__(self, processor: GPT4RoIProcessor, settings: ServerSettings) -> None:
        self._processor, self._settings = processor, settings
        self._kept: ByteCache[PreparedImage] = ByteCache(settings.decoded_bytes)
        self._lock = threading.Lock()

    def load(self, url: str) -> PreparedImage:
        """The image behind a URL; blocking.

        Raises:
          ApiError: not a data URL and not from an allowed host.
          ImageError: not an image that can be used.
        """
        data = self._read(url)
        key = hashlib.sha256(data).hexdigest()
        with self._lock:
            kept = self._kept.get(key)
        if kept is not None:
            return kept
        image = prepare_image(data, self._processor, self._settings.max_pixels)
        with self._lock:
            self._kept.put(key, image, image.pixel_values.nbytes)
        return image

    def _read(self, url: str) -> bytes:
        url = url.strip()
        if url[:5].lower() == "data:":
            return read_data_url(url)
        return read_base64(url) if _BARE_BASE64.fullmatch(url) else fetch(url, self._settings)


def read_data_url(url: str) -> bytes:
    """The bytes in `data:[type][;base64],…`."""
    head, comma, body = url.partition(",")
    if not comma:
        raise ApiError(400, "the picture's data URL has no comma; write data:image/jpeg;base64,…", "image_url")
    return read_base64(body) if head.rstrip().lower().endswith(";base64") else unquote_to_bytes(body)


def read_base64(text: str) -> bytes:
    """As clients send it: with line breaks, without the padding, or in the alphabet for URLs."""
    try:
        packed = text.encode("ascii").translate(bytes.maketrans(b"-_", b"+/"), b" \t\r\n\f\v=")
        return base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError) as error:
        raise ApiError(400, "the picture's data URL is not valid base64", "image_url") from error
