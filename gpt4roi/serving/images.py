"""Pictures of requests: data URLs, and http(s) from hosts that were allowed by name. Nothing else is ever fetched."""

from __future__ import annotations

import base64
import binascii
import hashlib
import http.client
import threading
from urllib.parse import unquote_to_bytes, urlsplit

from gpt4roi.engine import Picture, load_picture
from gpt4roi.engine.byte_cache import ByteCache
from gpt4roi.models import GPT4RoIProcessor
from gpt4roi.serving.errors import ApiError
from gpt4roi.serving.settings import ServerSettings

FETCH_TIMEOUT_S = 10.0


class PictureStore:
    """Decoded pictures by the SHA-256 of their bytes, under a budget: clients send the same picture with every turn."""

    def __init__(self, processor: GPT4RoIProcessor, settings: ServerSettings) -> None:
        self._processor, self._settings = processor, settings
        self._kept: ByteCache[Picture] = ByteCache(settings.decoded_bytes)
        self._lock = threading.Lock()

    def load(self, url: str) -> Picture:
        """The picture behind a URL; blocking.

        Raises:
          ApiError: not a data URL and not from an allowed host.
          PictureError: not a picture that can be used.
        """
        data = read_data_url(url) if url[:5].lower() == "data:" else fetch(url, self._settings)
        key = hashlib.sha256(data).hexdigest()
        with self._lock:
            kept = self._kept.get(key)
        if kept is not None:
            return kept
        picture = load_picture(data, self._processor, self._settings.max_pixels)
        with self._lock:
            self._kept.put(key, picture, picture.pixel_values.nbytes)
        return picture


def read_data_url(url: str) -> bytes:
    """The bytes in `data:[type][;base64],…`."""
    head, comma, body = url.partition(",")
    if not comma:
        raise ApiError(400, "the picture's data URL has no comma; write data:image/jpeg;base64,…", "image_url")
    if not head.lower().endswith(";base64"):
        return unquote_to_bytes(body)
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ApiError(400, "the picture's data URL is not valid base64", "image_url") from error


def fetch(url: str, settings: ServerSettings) -> bytes:
    """A picture from an allowed host. Redirects are refused: they would lead past the list of hosts."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ApiError(400, "the picture's URL cannot be read; send a data URL", "image_url") from error
    if parts.scheme not in ("http", "https") or host not in settings.allowed_hosts:
        raise ApiError(400, "pictures are taken as data URLs (data:image/jpeg;base64,…); this server fetches none from there", "image_url")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(host, port, timeout=FETCH_TIMEOUT_S)
    try:
        connection.request("GET", parts.path + (f"?{parts.query}" if parts.query else "") or "/")
        response = connection.getresponse()
        if response.status != 200:
            raise ApiError(400, f"'{host}' answered {response.status} for the picture; redirects are not followed", "image_url")
        data = response.read(settings.max_body_bytes + 1)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ApiError(400, f"the picture could not be fetched from '{host}'", "image_url") from error
    finally:
        connection.close()
    if len(data) > settings.max_body_bytes:
        raise ApiError(413, f"the picture is larger than {settings.max_body_bytes / 1e6:g} MB", "image_url")
    return data
