"""CSV: one box a line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from gpt4roi.boxes import to_pixels
from gpt4roi.data.errors import DataError
from gpt4roi.data.label_files import (
    LabelledImage,
    Losses,
    Source,
    find_image,
    image_size_wh,
    usable_regions,
)
from gpt4roi.data.text_files import read_text

# Accepted headings of a CSV; case does not matter, and the first complete set of corners counts.
CSV_CORNERS = (
    ("x0", "y0", "x1", "y1"),
    ("x1", "y1", "x2", "y2"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("left", "top", "right", "bottom"),
)


# makesense.ai: the left top corner, width and height.
MAKESENSE_CORNERS = (("bbox_x", "bbox_y", "bbox_width", "bbox_height"),)


CSV_IMAGE = ("image", "filename", "file_name", "image_path", "path", "image_id", "image_name", "imageid")


CSV_LABEL = ("label", "class", "class_name", "name", "category", "caption", "description", "label_name", "labelname")


def import_csv(source: Source, losses: Losses) -> Iterator[LabelledImage]:
    """One box a line under a heading, see CSV_CORNERS. Lines of one image need not be together."""
    found: dict[str, list[tuple[list[float], str]]] = {}
    try:
        text = read_text(source.annotations)
        heading = text.partition("\n")[0]
        # Excel writes what the country's settings say: semicolons where the comma is in the numbers, or tabs.
        delimiter = max(",;\t", key=heading.count)
        rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
        if {"region_shape_attributes", "region_attributes"} <= set(rows.fieldnames or []):
            read = (_via_box(row) for row in rows)
        else:
            columns = _csv_columns(rows.fieldnames or [], source.annotations)
            read = (_csv_box(row, *columns, decimal_comma=delimiter == ";") for row in rows)
        for box, image_name, label in read:
            if box is None:
                what = f"line {rows.line_num}: a box is four numbers; got {str(label)[:80]}"
                losses.refuse(source.annotations, what, "lines that cannot be read")
                continue
            found.setdefault(image_name.strip(), []).append((box, label.strip()))
    except csv.Error as error:
        raise DataError(f"cannot be read as CSV: {error}", source.annotations) from error
    if source.space == "pixels" and found and all(0 <= value <= 1 for lines in found.values() for box, _ in lines for value in box):
        raise DataError("all numbers lie between 0 and 1: these are shares of the picture; give --space unit", source.annotations)
    for name, lines in found.items():
        image = find_image(source.images, name, Path(name).stem, losses)
        if image is None:
            continue
        size = image_size_wh(image)
        boxes = [to_pixels(box, size, source.space) for box, _ in lines]
        yield LabelledImage(image, size, usable_regions(boxes, [label for _, label in lines], size, losses))


def _csv_box(
    row: Mapping[str, str], image: str, label: str, corners: tuple[str, ...], *, decimal_comma: bool
) -> tuple[list[float] | None, str, str]:
    """Corners, image name and label of one line; without corners, what stands there instead of the label."""
    texts = [row[corner] for corner in corners]
    try:
        box = [float(text.replace(",", ".") if decimal_comma else text) for text in texts]
    except (TypeError, ValueError, AttributeError):
        return None, "", str(texts)
    if corners in MAKESENSE_CORNERS:
        box = [box[0], box[1], box[0] + box[2], box[1] + box[3]]
    return box, row[image] or "", row[label] or ""


def _via_box(row: Mapping[str, str]) -> tuple[list[float] | None, str, str]:
    """A line of VIA: the shape and its attributes are JSON; the label is the first attribute that has a text."""
    try:
        shape, attributes = json.loads(row["region_shape_attributes"]), json.loads(row["region_attributes"])
        label = next((str(value) for value in attributes.values() if isinstance(value, str) and value.strip()), "")
        if "all_points_x" in shape:
            xs, ys = shape["all_points_x"], shape["all_points_y"]
            return [float(min(xs)), float(min(ys)), float(max(xs)), float(max(ys))], row["filename"], label
        if "width" in shape:
            x, y, width, height = (float(shape[key]) for key in ("x", "y", "width", "height"))
            return [x, y, x + width, y + height], row["filename"], label
        rx = float(shape.get("r", shape.get("rx", 0)))
        ry = float(shape.get("r", shape.get("ry", 0)))
        x, y = float(shape["cx"]), float(shape["cy"])
        return [x - rx, y - ry, x + rx, y + ry], row["filename"], label
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
        return None, "", str(row.get("region_shape_attributes"))


def _csv_columns(fields: Sequence[str], path: Path) -> tuple[str, str, tuple[str, ...]]:
    """The names of the columns for image, label and the four corners."""
    lower = {name.strip().lower(): name for name in fields}
    image = next((lower[name] for name in CSV_IMAGE if name in lower), None)
    label = next((lower[name] for name in CSV_LABEL if name in lower), None)
    corners = next((names for names in (*CSV_CORNERS, *MAKESENSE_CORNERS) if all(name in lower for name in names)), None)
    if image is None or label is None or corners is None:
        shown = ",".join(fields)[:200]
        raise DataError(f"the heading must be like image,x0,y0,x1,y1,label; it is {shown or 'empty'}", path, "line 1")
    return image, label, tuple(lower[name] for name in corners)
