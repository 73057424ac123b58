"""From an uploaded file to a picture in memory, and from there to what the browser shows; the file is gone at once."""

from __future__ import annotations

import base64
import contextlib
import io
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from gpt4roi.images import ImageError, open_image

# The browser shows at most this many pixels a side; boxes are in pixels of the original all the same.
DISPLAY_SIDE_PX = 1600
THUMBNAIL_SIDE_PX = 160


@dataclass(frozen=True)
class Picture:
    """A picture as the user sees it: upright, RGB, in original size."""

    name: str
    image: Image.Image
    # Region number to x0, y0, x1, y1 in pixels: boxes that come with an example.
    boxes_xyxy_abs: dict[int, tuple[float, float, float, float]] = field(default_factory=dict)
    questions: tuple[str, ...] = ()

    @property
    def size_wh(self) -> tuple[int, int]:
        return self.image.size


def read_upload(path: str, name: str, upload_dir: Path) -> Picture:
    """Read an uploaded file and delete it, whether or not it could be read.

    The path comes from the browser, so a path outside the upload folder is refused: it would read any file of this machine.

    Raises:
      PictureError: not an upload, not a picture, damaged, or too large.
    """
    file, root = Path(path).resolve(), upload_dir.resolve()
    # Every upload lies alone in a folder of its own. Nothing else is read, and above all nothing else is deleted: the folder of a file at
    # another depth would be the upload folder itself, or the one above it.
    if file.parent.parent != root or file == root:
        raise ImageError("that file was not uploaded here; open the picture again")
    shown = Path(name).name or "picture"
    try:
        return Picture(shown, read_picture(file, shown))
    finally:
        file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            file.parent.rmdir()


def read_picture(path: Path, name: str) -> Image.Image:
    """RGB and upright, whatever the mode in the file; `name` is what the messages call it.

    Raises:
      PictureError: with a sentence about this file.
    """
    if not path.is_file():
        raise ImageError(f"'{name}' did not arrive; open it again")
    try:
        return open_image(path.read_bytes())
    except ImageError as error:
        # Read as bytes the file has no name of its own; with its path the message would show where this server keeps uploads.
        raise ImageError(str(error).replace("the picture", f"'{name}'", 1)) from None


def data_url(image: Image.Image, side_px: int = DISPLAY_SIDE_PX) -> str:
    """The picture as a JPEG inside a URL: nothing is written to disk for the browser to fetch."""
    shown = image.copy()
    shown.thumbnail((side_px, side_px), Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    shown.save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
