"""COCO instances files, of hand-made and converted ones too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from typing import Any

from gpt4roi.data.coco_file import CocoFile
from gpt4roi.data.label_files import (
    LabelledImage,
    Losses,
    Source,
    find_image,
    image_size_wh,
)
from gpt4roi.data.text_files import load_json
from gpt4roi.masks import as_rle, tight_box
from gpt4roi.regions import Region


def import_coco(source: Source, losses: Losses) -> Iterator[LabelledImage]:
    content = load_json(source.annotations)
    file = CocoFile(source.annotations, content=_usable_coco(content, losses))
    for image in file.images.values():
        name = str(image["file_name"])
        path = find_image(source.images, name, PureWindowsPath(name).stem, losses)
        if path is not None:
            regions = [Region(0, box, file.name(annotation)) for box, annotation in file.boxes(image, losses.left_out)]
            yield LabelledImage(path, file.size_wh(image) or image_size_wh(path), regions)


def _usable_coco(content: Any, losses: Losses) -> Any:
    """The file with what hand-made and converted ones get wrong put right where it can be, and left out with a count where it cannot.

    Ids that are a number in one place and a text in the other are the same id; a box that is missing is that of its outline.
    """
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in ("images", "annotations")):
        return content  # `CocoFile` says what is wrong
    known = {}
    for section in ("images", "categories"):
        records = [record for record in content.get(section) or [] if isinstance(record, dict) and isinstance(record.get("id"), (int, str))]
        known[section] = {str(record["id"]): record["id"] for record in records}
    kept = []
    for position, annotation in enumerate(content["annotations"]):
        where = f"annotations[{position}]"
        if not isinstance(annotation, dict):
            losses.refuse(Path(where), f"got {str(annotation)[:60]}", "annotations that cannot be read")
            continue
        image, category = (
            known[section].get(str(annotation.get(key))) for section, key in (("images", "image_id"), ("categories", "category_id"))
        )
        if image is None or category is None:
            losses.left_out[f"annotations of a {'picture' if image is None else 'category'} that is not in the file"] += 1
            continue
        box = annotation.get("bbox") or _outline_box(annotation.get("segmentation"))
        if box is None:
            losses.refuse(Path(where), "neither bbox nor outline", "annotations that cannot be read")
            continue
        kept.append({**annotation, "image_id": image, "category_id": category, "bbox": box})
    return {**content, "annotations": kept}


def _outline_box(segmentation: Any) -> list[float] | None:
    """x, y, width, height around polygons or run lengths; None where there is nothing."""
    try:
        if isinstance(segmentation, dict):
            height, width = segmentation["size"]
            x0, y0, x1, y1 = tight_box(as_rle(segmentation, (int(width), int(height))))
        else:
            xs = [float(value) for polygon in segmentation for value in polygon[::2]]
            ys = [float(value) for polygon in segmentation for value in polygon[1::2]]
            x0, y0, x1, y1 = min(xs), min(ys), max(xs), max(ys)
    except (TypeError, KeyError, ValueError, OverflowError):
        return None
    return [x0, y0, x1 - x0, y1 - y0]
