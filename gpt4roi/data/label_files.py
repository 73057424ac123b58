"""What all importers share: the source, the labelled image, finding the image of a label file, and what went missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any

from PIL import Image

from gpt4roi.data.dialogue import MIN_SIDE_PX, usable_box
from gpt4roi.data.errors import DataError
from gpt4roi.data.images import upright_size_wh
from gpt4roi.regions import Region

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class LabelledImage:
    """An image with labelled boxes in its pixels; `image_size_wh` is its original size."""

    image: Path
    image_size_wh: tuple[int, int]
    regions: list[Region]


@dataclass(frozen=True)
class Source:
    """What to import. `names`: YOLO's class names; `space`: of a CSV's numbers, see `gpt4roi.boxes.SPACES`."""

    annotations: Path
    images: Path
    names: Path | None = None
    space: str = "pixels"


@dataclass
class Losses:
    """What could not be used: counts by reason, and the images that are not there."""

    left_out: Counter[str] = field(default_factory=Counter)
    missing: list[str] = field(default_factory=list)
    # Reason → how many, and the first of them.
    refused: dict[str, tuple[int, str]] = field(default_factory=dict)

    def refuse(self, path: Path, what: str, reason: str = "label files that cannot be read") -> None:
        """Note a file or line that is not understood; the import goes on."""
        count, example = self.refused.get(reason, (0, f"{path.name}: {what[:120]}"))
        self.refused[reason] = count + 1, example


def label_files(folder: Path, suffix: str) -> list[Path]:
    """All files with this suffix below the folder, sorted; or the one file."""
    files = [folder] if folder.is_file() else sorted(folder.rglob(f"*{suffix}"))
    if not files:
        raise DataError(f"there are no {suffix} files here", folder)
    return files


def find_image(folder: Path, name: str, stem: str, losses: Losses, label_file: Path | None = None, root: Path | None = None) -> Path | None:
    """The image by the name in the label file, by that name without its folders, or by the label file's own stem; None is noted.

    Files of one name in several folders are told apart by the label file's place: beside it, in the same sub-folder of the images, or where
    `labels` (`Annotations`, `ann`) in its path says `images` (`JPEGImages`, `img`) goes before the folder itself.
    """
    base = PureWindowsPath(name).name
    folders = [folder]
    if label_file is not None:
        own = label_file.parent
        below = own.relative_to(root) if root is not None and own.is_relative_to(root) else Path()
        folders = list(dict.fromkeys([folder / below, own, *_mirrored(own), folder]))
    tries = []
    for place in folders:
        tries += [place / name, place / base, place / stem]
        tries += [place / f"{one}{suffix}" for one in dict.fromkeys((base, stem)) for suffix in (*IMAGE_SUFFIXES, ".JPG", ".JPEG", ".PNG")]
    found = next((path for path in tries if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()), None)
    if found is None:
        losses.missing.append(base)
    return found


def _mirrored(folder: Path) -> list[Path]:
    pairs = (("labels", "images"), ("Annotations", "JPEGImages"), ("annotations", "images"), ("ann", "img"))
    return [Path(*(image if part == label else part for part in folder.parts)) for label, image in pairs if label in folder.parts]


def image_size_wh(path: Path) -> tuple[int, int]:
    """Upright width and height, nothing decoded."""
    try:
        with Image.open(path) as image:
            return upright_size_wh(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"cannot be opened as a picture ({error})", path) from error


def usable_regions(boxes: Sequence[Sequence[float]], labels: Sequence[Any], size_wh: tuple[int, int], losses: Losses) -> list[Region]:
    """Boxes in pixels with their labels as regions, clipped to the image; those without area or label are counted."""
    regions = []
    for box, label in zip(boxes, labels, strict=True):
        usable = usable_box(box, size_wh)
        if usable is None or not str(label).strip():
            losses.left_out[f"boxes under {MIN_SIDE_PX:g} px inside the picture, or without a label"] += 1
        else:
            regions.append(Region(0, usable, str(label).strip()))
    return regions
