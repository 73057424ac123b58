"""Small files that ask a decoder for much: what strangers send."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int, bits: int = 8, colours: int = 2) -> bytes:
    """A PNG whose header names any size, with next to no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def webp(side: int = 5000) -> bytes:
    """One transparent colour: a kilobyte for any size."""
    return encoded(Image.new("RGBA", (side, side), (9, 99, 9, 99)), "WEBP", lossless=True)


def jpeg_with_scans(count: int, size_wh: tuple[int, int] = (64, 48)) -> bytes:
    """A progressive JPEG whose last scan is repeated without end."""
    data = encoded(Image.new("RGB", size_wh, (200, 30, 30)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + b"\xff\xd9"


def tiff_with_tile(side: int = 32768) -> bytes:
    """10 x 10 pixels in one tile of `side` x `side`."""
    pixels = zlib.compress(b"\0" * 1000)
    entries = [(256, 3, 10), (257, 3, 10), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1), (322, 4, side), (323, 4, side)]
    entries += [(324, 4, 8 + 2 + 12 * 10 + 4), (325, 4, len(pixels))]
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + body + struct.pack("<I", 0) + pixels


HEIC_HEAD = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 40
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
