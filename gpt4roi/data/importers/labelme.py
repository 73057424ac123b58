"""LabelMe and its relatives: one JSON file an image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from gpt4roi.data.errors import DataError
from gpt4roi.data.label_files import (
    LabelledImage,
    Losses,
    Source,
    find_image,
    image_size_wh,
    label_files,
    usable_regions,
)
from gpt4roi.data.text_files import load_json


def import_labelme(source: Source, losses: Losses) -> Iterator[LabelledImage]:
    """LabelMe and its relatives. Polygons of one label and group are parts of one thing, as LabelMe means it."""
    for path in label_files(source.annotations, ".json"):
        try:
            content = load_json(path)
            shapes = content["shapes"]
            image_name = str(content.get("imagePath") or path.stem)
            found = [
                (shape.get("shape_type") or "polygon", str(shape["label"]), shape.get("group_id"), _enclosing(shape)) for shape in shapes
            ]
        except DataError as error:
            losses.refuse(path, str(error))
            continue
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            losses.refuse(path, f"no LabelMe file: {type(error).__name__} {error}")
            continue
        image = find_image(source.images, image_name, path.stem, losses, path, source.annotations)
        if image is None:
            continue
        size = image_size_wh(image)
        things: dict[Any, tuple[str, list[list[float]]]] = {}
        for position, (kind, label, group, box) in enumerate(found):
            if box is None:
                losses.left_out["shapes that enclose nothing (points, lines)"] += 1
                continue
            key = (label, group) if group is not None and kind == "polygon" else position
            if key in things:
                losses.left_out["polygons joined with another of their group"] += 1
            things.setdefault(key, (label, []))[1].append(box)
        boxes = [
            [min(b[0] for b in one), min(b[1] for b in one), max(b[2] for b in one), max(b[3] for b in one)] for _, one in things.values()
        ]
        yield LabelledImage(image, size, usable_regions(boxes, [label for label, _ in things.values()], size, losses))


def _enclosing(shape: Mapping[str, Any]) -> list[float] | None:
    """The upright box around a rectangle, polygon, rotated box, mask or circle; None for points and lines."""
    kind = shape.get("shape_type") or "polygon"
    points = [(float(x), float(y)) for x, y in shape["points"]]
    if kind in ("point", "points", "line", "linestrip") or not points:
        return None
    if kind == "circle":
        (x, y), (edge_x, edge_y) = points[:2]
        radius = math.hypot(edge_x - x, edge_y - y)
        return [x - radius, y - radius, x + radius, y + radius]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return [min(xs), min(ys), max(xs), max(ys)]
