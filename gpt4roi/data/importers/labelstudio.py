"""Label Studio's JSON exports."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

from gpt4roi.data.errors import DataError
from gpt4roi.data.importers.common import without_upload_prefix
from gpt4roi.data.label_files import (
    IMAGE_SUFFIXES,
    LabelledImage,
    Losses,
    Source,
    find_image,
    image_size_wh,
    usable_regions,
)
from gpt4roi.data.text_files import load_json

LABELSTUDIO_LABELS = ("rectanglelabels", "polygonlabels", "ellipselabels", "labels")


def import_labelstudio(source: Source, losses: Losses) -> Iterator[LabelledImage]:
    """Label Studio's JSON export; boxes and polygons are in percent of the image. Cancelled annotations are left out."""
    tasks = load_json(source.annotations)
    if not isinstance(tasks, list):
        raise DataError('a Label Studio export is a list of tasks with "data" and "annotations"', source.annotations)
    for position, task in enumerate(tasks):
        try:
            data, annotations = _labelstudio_task(task)
            url = str(data.get("image") or next(value for value in data.values() if _is_image_name(value)))
            results = [result for one in annotations if not one.get("was_cancelled") for result in one["result"]]
        except (KeyError, TypeError, AttributeError, StopIteration) as error:
            where = f"record {position}"
            raise DataError('a task needs "data" with a picture and "annotations" with "result"', source.annotations, where) from error
        name = _url_file_name(url)
        image = find_image(source.images, name, without_upload_prefix(name), losses)
        if image is None:
            continue
        size = image_size_wh(image)
        boxes, labels = [], []
        for result in results:
            value = result.get("value") if isinstance(result, dict) else None
            if not isinstance(value, dict) or {"choices", "text", "rating"} & value.keys():
                continue  # attributes of a region that stands for itself
            names = next((value[key] for key in LABELSTUDIO_LABELS if value.get(key)), None)
            try:
                box = _labelstudio_box(value, size)
            except (KeyError, TypeError, ValueError, OverflowError):
                box = None
            if names is None or box is None:
                losses.left_out["results that are no labelled box, ellipse or polygon"] += 1
                continue
            boxes.append(box)
            labels.append(", ".join(str(name) for name in names) if isinstance(names, list) else str(names))
        yield LabelledImage(image, size, usable_regions(boxes, labels, size, losses))


def _labelstudio_task(task: Any) -> tuple[dict[str, Any], list[Any]]:
    """A task's data and annotations; of the short export (JSON-MIN), whose keys are the data, and of the first versions, which said completions.

    Raises:
      KeyError, TypeError, AttributeError: it is none of them.
    """
    if "data" in task:
        return task["data"], task["annotations"] if "annotations" in task else task["completions"]
    values = [value for one in task.values() if isinstance(one, list) for value in one if isinstance(value, dict)]
    if not values:
        raise KeyError("data")
    return task, [{"result": [{"value": value} for value in values]}]


def _labelstudio_box(value: Mapping[str, Any], size_wh: tuple[int, int]) -> list[float]:
    """The upright box around a Label Studio value, in pixels. Values are in percent; a rotation is clockwise about the top left corner."""
    across, down = size_wh[0] / 100, size_wh[1] / 100
    if "points" in value:
        corners = [(float(x) * across, float(y) * down) for x, y in value["points"]]
    elif "radiusX" in value:
        x, y, rx, ry = (float(value[key]) for key in ("x", "y", "radiusX", "radiusY"))
        corners = [((x - rx) * across, (y - ry) * down), ((x + rx) * across, (y + ry) * down)]
    else:
        x, y, width, height = (
            float(value[key]) * scale for key, scale in zip(("x", "y", "width", "height"), (across, down) * 2, strict=True)
        )
        turn = math.radians(float(value.get("rotation") or 0))
        corners = [
            (x + a * math.cos(turn) - b * math.sin(turn), y + a * math.sin(turn) + b * math.cos(turn))
            for a, b in ((0.0, 0.0), (width, 0.0), (width, height), (0.0, height))
        ]
    xs, ys = [corner[0] for corner in corners], [corner[1] for corner in corners]
    return [min(xs), min(ys), max(xs), max(ys)]


def _is_image_name(value: Any) -> bool:
    return isinstance(value, str) and _url_file_name(value).lower().endswith(IMAGE_SUFFIXES)


def _url_file_name(url: str) -> str:
    """`/data/upload/3/1a2b3c4d-cat.jpg`, `s3://bucket/cat.jpg`, `/data/local-files/?d=photos/cat.jpg` → the file's name."""
    parts = urlparse(url)
    local = parse_qs(parts.query).get("d")
    return Path(unquote(local[0] if local else parts.path)).name
