"""YOLO: one text file an image, boxes, polygons, turned boxes or poses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import yaml

from gpt4roi.data.errors import DataError
from gpt4roi.data.importers.common import supervision_format, without_upload_prefix
from gpt4roi.data.label_files import (
    IMAGE_SUFFIXES,
    LabelledImage,
    Losses,
    Source,
    find_image,
    image_size_wh,
    label_files,
    usable_regions,
)
from gpt4roi.data.text_files import read_text
from gpt4roi.regions import Region

YOLO_NAME_FILES = ("data.yaml", "dataset.yaml", "data.yml", "classes.txt", "obj.names")


def import_yolo(source: Source, losses: Losses) -> Iterator[LabelledImage]:
    yolo_annotations_to_detections = supervision_format("yolo").yolo_annotations_to_detections
    names, key_points = yolo_names(source)
    for path in label_files(source.annotations, ".txt"):
        if path.name in YOLO_NAME_FILES or _is_no_yolo_label(path):
            continue
        # Label Studio writes the names of its labels as they stand in addresses, with its prefix of uploads.
        name = unquote(path.stem)
        image = find_image(source.images, name, without_upload_prefix(name), losses, path, source.annotations)
        if image is None:
            continue
        size = image_size_wh(image)
        regions: list[Region] = []
        for number, line in enumerate(read_text(path).splitlines(), 1):
            words = line.split()
            if not words:
                continue
            # Behind the box of a pose come its key points, which are no corners.
            words = words[:5] if key_points else words
            try:
                detections = yolo_annotations_to_detections([" ".join(words)], size, with_masks=False)
                index = int(float(words[0]))
            except (ValueError, IndexError, OverflowError) as error:
                losses.refuse(path, f"line {number}: {error}", "lines that cannot be read")
                continue
            if index not in names:
                what = f"line {number}: class {index} has no name; the names are numbered {min(names)} to {max(names)}"
                losses.refuse(path, what, "lines that cannot be read")
                continue
            regions += usable_regions(detections.xyxy.tolist(), [names[index]], size, losses)
        yield LabelledImage(image, size, regions)


def _is_no_yolo_label(path: Path) -> bool:
    """Read-me files, and the lists of images that CVAT and Darknet write beside the labels."""
    if path.name.lower().startswith("readme") or path.stem in ("train", "val", "valid", "test"):
        return True
    first = next((line.strip() for line in read_text(path).splitlines() if line.strip()), "")
    return first.lower().endswith(IMAGE_SUFFIXES)


def yolo_names(source: Source) -> tuple[dict[int, str], bool]:
    """Class names by number, from `names` of a data.yaml (list or mapping) or one a line of a text file; and whether the labels are poses."""
    near = (source.annotations, source.annotations.parent, source.annotations.parent.parent)
    places = [source.names] if source.names else [folder / name for folder in near for name in YOLO_NAME_FILES]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise DataError(
            f"YOLO labels need their class names: give data.yaml or classes.txt with --names (looked near {source.annotations})"
        )
    text = read_text(path)
    if path.suffix not in (".yaml", ".yml"):
        # A blank line in the middle is a class without a name, and the numbers behind it count on.
        return dict(enumerate(line.strip() for line in text.rstrip().splitlines())), False
    if re.search(r"(?<!\w)[*&]\w", text):
        raise DataError("has YAML anchors, which class names do not need; write the names out", path)
    try:
        content = yaml.safe_load(text)
        names = content["names"]
        numbered = {int(key): str(name) for key, name in (names.items() if isinstance(names, dict) else enumerate(names))}
        return numbered, bool(content.get("kpt_shape"))
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DataError(f'has no usable "names" ({str(error)[:120]})', path) from error
