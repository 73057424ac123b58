"""Strangers' image files: the right pixels, or one sentence, at a bounded cost."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpt4roi import image_files, images
from gpt4roi.image_files import count_scans
from gpt4roi.images import ImageError, open_image
from tests.unit.image_bombs import EPS, HEIC_HEAD, encoded, jpeg_with_scans, png_header, tiff_with_tile, webp

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "AVIF", "JPEG2000", "PPM", "MPO"])
def test_usual_formats_open(kind: str) -> None:
    assert open_image(encoded(PHOTO, kind)).size == (40, 30)


@pytest.mark.parametrize("kind", ["ICO", "ICNS", "QOI", "DDS", "BLP", "SPIDER", "TGA", "EPS", "PCX", "SGI", "IM"])
def test_other_formats_are_one_sentence(kind: str) -> None:
    with pytest.raises(ImageError, match="format that can be read"):
        open_image(encoded(PHOTO.resize((64, 64)).convert("P" if kind == "BLP" else "RGB"), kind))


def test_an_eps_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ghost = tmp_path / "gs"
    ghost.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    ghost.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImageError, match="format that can be read"):
        open_image(EPS)
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (png_header(60_000, 60_000), "too large to decode; at most 50.0 million"),
        (png_header(7080, 7080), "50.1 million pixels"),
        (tiff_with_tile(), "tiles of 32768 x 32768"),
        (jpeg_with_scans(200), "progressive JPEG"),
        (b"", "format that can be read"),
    ],
)
def test_what_would_cost_too_much_is_refused_at_once(data: bytes, sentence: str) -> None:
    begin = time.perf_counter()
    with pytest.raises(ImageError, match=sentence):
        open_image(data)
    assert time.perf_counter() - begin < 1


def test_a_tile_of_usual_size_opens() -> None:
    assert open_image(encoded(PHOTO, "TIFF", tile=(256, 256))).size == (40, 30)


def test_a_tile_that_pillow_does_not_see_is_refused() -> None:
    hidden = bytearray(tiff_with_tile())
    hidden[62] = 128  # an entry before the tile's now names more values than the file holds
    with pytest.raises(ImageError, match="tiles of 32768 x 32768"):
        open_image(bytes(hidden))


def test_scans_are_counted_past_thumbnails_and_up_to_the_end() -> None:
    usual = encoded(PHOTO, "JPEG", progressive=True)
    assert 5 < count_scans(usual) < 15
    assert count_scans(encoded(PHOTO, "JPEG")) == 1
    thumbnail = b"\xff\xe1" + (2 + 200).to_bytes(2, "big") + b"\xff\xda" * 100
    assert count_scans(usual[:2] + thumbnail + usual[2:] + b"\xff\xda" * 500) == count_scans(usual)
    assert open_image(usual[:2] + thumbnail + usual[2:]).size == (40, 30)


def test_scans_times_pixels_is_bounded() -> None:
    with pytest.raises(ImageError, match="passes over its pixels"):
        open_image(jpeg_with_scans(60, (5000, 5000)))


def test_decoding_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "DECODE_S", -1.0)
    with pytest.raises(ImageError, match="took longer than"):
        open_image(encoded(PHOTO, "PNG"))


@pytest.mark.parametrize("error", [RuntimeError, IndexError, NotImplementedError, AttributeError, MemoryError, ValueError])
def test_whatever_a_decoder_raises_is_a_sentence(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def fail(self: Image.Image) -> None:
        raise error("inside")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(ImageError):
        open_image(encoded(PHOTO, "PNG"))


def test_two_files_at_most_are_decoded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    under_way, most = 0, 0
    real, lock = images._decoded, threading.Lock()

    def slow(opened: Image.Image, name: str) -> Image.Image:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.02)
        with lock:
            under_way -= 1
        return real(opened, name)

    monkeypatch.setattr(images, "_decoded", slow)
    for data, expected in ((encoded(PHOTO, "PNG"), 2), (encoded(Image.new("1", (2200, 2000)), "PNG"), 1)):
        most = 0
        threads = [threading.Thread(target=open_image, args=(data,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most == expected


def test_many_small_files_that_grow_leave_no_memory_behind(tmp_path: Path) -> None:
    (tmp_path / "x.webp").write_bytes(webp())
    code = (
        "import sys, threading; from gpt4roi.images import open_image, return_memory\n"
        "def memory(what): return next(int(l.split()[1]) / 1e3 for l in open('/proc/self/status') if l.startswith(what))\n"
        "def one(): return_memory(open_image(sys.argv[1]).size)\n"
        "before = memory('VmRSS'); threads = [threading.Thread(target=one) for _ in range(6)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "print(memory('VmRSS') - before, memory('VmHWM') - before)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "x.webp")], cwd=root, capture_output=True, text=True, check=True)
    left, peak = map(float, done.stdout.split())
    assert (tmp_path / "x.webp").stat().st_size < 2_000
    assert left < 100, "MB are kept"
    # One at a time: six at once would be 3,000 and more.
    assert peak < 1_000


@pytest.mark.parametrize(
    ("dark", "bright", "expected"), [(400, 4000, (24, 249)), (100, 1000, (24, 249)), (6553, 65535, (25, 255)), (10, 200, (10, 200))]
)
def test_greys_of_ten_twelve_and_sixteen_bits_are_seen(dark: int, bright: int, expected: tuple[int, int]) -> None:
    data = encoded(Image.fromarray(np.array([[dark, bright]] * 300, dtype=np.uint16)), "PNG")
    opened = open_image(data)
    assert (opened.getpixel((0, 299))[0], opened.getpixel((1, 299))[0]) == expected


def test_floats_are_seen() -> None:
    for values, expected in (([0.1, 1.0], (25, 255)), ([np.nan, 255.0], (0, 255))):
        opened = open_image(encoded(Image.fromarray(np.array([values], dtype=np.float32)), "TIFF"))
        assert (opened.getpixel((0, 0))[0], opened.getpixel((1, 0))[0]) == expected


def test_heic_names_the_package_that_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match="pip install pillow-heif"):
        open_image(HEIC_HEAD)


def test_heic_is_read_where_the_package_is() -> None:
    heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    heif.from_pillow(PHOTO.resize((64, 48))).save(buffer, quality=95)
    assert open_image(buffer.getvalue()).size == (64, 48)
    with pytest.raises(ImageError):
        open_image(HEIC_HEAD)


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    for path, sentence in (
        ("https://a.example/b.jpg", r"^'https://a.example/b.jpg' does not exist; download it first"),
        ("/dev/zero", "device"),
        ("a\0b", "check the path"),
    ):
        with pytest.raises(ImageError, match=sentence):
            open_image(path)
