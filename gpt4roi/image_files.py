"""What an image file would cost to decode, told before it is decoded: a few bytes can ask for gigabytes or minutes. PIL only."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path
from typing import Literal

from PIL import Image, UnidentifiedImageError

from gpt4roi.errors import UserError

# Formats by name, never "whatever Pillow can": an EPS would start Ghostscript, an ICO or ICNS hides a second file.
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "AVIF", "JPEG2000", "PPM"]
READABLE = "JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF, JPEG 2000"
MAX_FILE_BYTES = 500_000_000
MAX_TILE_PIXELS = 4_200_000  # 2,048 x 2,048; writers use 128 to 1,024 a side
# A progressive JPEG visits every pixel once a scan; usual files have about ten scans.
MAX_SCANS, MAX_SCANNED_PIXELS = 100, 1_000_000_000
DECODE_S = 20.0

_TIFF_TILE_WIDTH, _TIFF_TILE_HEIGHT = 322, 323
# Any marker but the stuffed zero, fill bytes and restarts.
_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


class ImageError(UserError):
    """An image that cannot be used; the message is a sentence for the user."""


class _TimedFile(io.BytesIO):
    """Bytes that stop being given when the time for decoding is over. Pillow asks for 64 KiB at a time."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._end = time.monotonic() + DECODE_S

    def read(self, size: int | None = -1, /) -> bytes:
        if time.monotonic() > self._end:
            raise TimeoutError(f"decoding took longer than {DECODE_S:g} s")
        return super().read(size)


def read_file(path: str | Path) -> bytes:
    """The bytes of a regular file.

    Raises:
      ImageError: not there, a folder or a device, too large, or not readable.
    """
    file = Path(path)
    try:
        if not file.exists():
            advice = "download it first and give the file" if "://" in str(path) else "check the path"
            raise ImageError(f"'{path}' does not exist; {advice}")
        if not file.is_file():
            raise ImageError(f"'{path}' is a folder or a device; give one picture file")
        if file.stat().st_size > MAX_FILE_BYTES:
            raise ImageError(
                f"'{path}' has {file.stat().st_size / 1e6:.0f} MB; at most {MAX_FILE_BYTES / 1e6:.0f} MB are taken, save it smaller"
            )
        return file.read_bytes()
    except ImageError:
        raise
    except (OSError, ValueError) as error:
        raise ImageError(f"{str(path)[:200]!r} cannot be read ({error}); check the path") from error


def open_file(data: bytes, name: str, max_pixels: int) -> Image.Image:
    """The file's image, not yet decoded, once its header shows that decoding is affordable.

    Raises:
      ImageError: what it is instead, or which limit it breaks.
      Exception: whatever Pillow raises on a broken header.
    """
    formats = FORMATS + (["HEIF"] if _register_heif(data, name) else [])
    try:
        opened = Image.open(_TimedFile(data), formats=formats)
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is not a picture in a format that can be read ({READABLE}); save it as JPEG or PNG") from error
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{name} is too large to decode; at most {max_pixels / 1e6:.1f} million pixels are taken, scale it down"
        ) from error
    check_size(opened.size, name, max_pixels)
    if opened.format == "TIFF":
        width, height = tile_size(data)
        if width * height > MAX_TILE_PIXELS:
            raise ImageError(f"{name} is a TIFF with tiles of {width} x {height} pixels; at most 2048 x 2048 are taken, save it again")
    if opened.format in ("JPEG", "MPO"):
        scans = count_scans(data)
        if scans > MAX_SCANS or scans * opened.width * opened.height > MAX_SCANNED_PIXELS:
            raise ImageError(f"{name} is a progressive JPEG with {scans} passes over its pixels; save it again with fewer")
    return opened


def check_size(size_wh: tuple[int, int], name: str, max_pixels: int) -> None:
    """Raises ImageError: more than `max_pixels`."""
    width, height = size_wh
    if width * height > max_pixels:
        raise ImageError(
            f"{name} has {width} x {height} = {width * height / 1e6:.1f} million pixels; at most {max_pixels / 1e6:.1f} million are taken, scale it down"
        )


def count_scans(data: bytes) -> int:
    """Start-of-scan markers of the first image of a JPEG; those inside of thumbnails and profiles do not count."""
    position, scans = 2, 0
    while scans <= MAX_SCANS and (found := _JPEG_MARKER.search(data, position)):
        marker, position = found[1][0], found.end()
        if marker == 0xD9:
            break
        if marker not in (0x01, 0xD8):
            position += int.from_bytes(data[position : position + 2], "big")
        scans += marker == 0xDA
    return scans


def tile_size(data: bytes) -> tuple[int, int]:
    """Width and height of the tiles of a TIFF's first image; 1 where it has none.

    Read from the bytes, because Pillow stops at the first entry that it cannot read and the decoder does not.
    """
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], order)

    is_big = number(2, 2) == 43
    start = number(8, 8) if is_big else number(4, 4)
    count_bytes, entry_bytes, value_at, value_bytes = (8, 20, 12, 8) if is_big else (2, 12, 8, 4)
    sides = {_TIFF_TILE_WIDTH: 1, _TIFF_TILE_HEIGHT: 1}
    for index in range(min(number(start, count_bytes), 65_536)):
        entry = start + count_bytes + index * entry_bytes
        tag, kind = number(entry, 2), number(entry + 2, 2)
        if tag in sides:
            # A value may fill a part of its field; any other type than 16 or 32 bits is taken as the whole of it.
            value = number(entry + value_at, {3: 2, 4: 4}.get(kind, value_bytes))
            sides[tag] = max(sides[tag], value)
    return sides[_TIFF_TILE_WIDTH], sides[_TIFF_TILE_HEIGHT]


def _register_heif(data: bytes, name: str) -> bool:
    """Whether it is an iPhone's HEIC, which a package of its own reads."""
    if data[4:8] != b"ftyp" or data[8:12] not in _HEIF_BRANDS:
        return False
    try:
        import pillow_heif
    except ImportError as error:
        raise ImageError(f"{name} is a HEIC picture; save it as JPEG, or run: pip install pillow-heif") from error
    pillow_heif.register_heif_opener(thumbnails=False)
    return True
