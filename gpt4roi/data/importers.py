"""Label files of common tools to labelled images, and those to samples in our format.

`supervision` reads YOLO, VOC and LabelMe, file by file: its loaders for whole data sets keep a full-size mask of every polygon in memory
and cannot say which file was wrong. COCO is read by the reader that training uses.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path, PureWindowsPath
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse
from xml.etree import ElementTree

import yaml

from gpt4roi.boxes import to_pixels
from gpt4roi.data.coco_file import CocoFile
from gpt4roi.data.dialogue import SampleList, dialogue_sample, shuffled_chunks
from gpt4roi.data.errors import DataError
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
from gpt4roi.data.label_questions import questions_about_labels
from gpt4roi.data.text_files import load_json, read_text
from gpt4roi.masks import as_rle, tight_box
from gpt4roi.regions import Region

LABELSTUDIO_LABELS = ("rectanglelabels", "polygonlabels", "ellipselabels", "labels")
YOLO_NAME_FILES = ("data.yaml", "dataset.yaml", "data.yml", "classes.txt", "obj.names")

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

Importer = Callable[[Source, Losses], Iterator[LabelledImage]]


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


def import_voc(source: Source, losses: Losses) -> Iterator[LabelledImage]:
    detections_from_xml_obj = _supervision("pascal_voc").detections_from_xml_obj
    for path in label_files(source.annotations, ".xml"):
        try:
            # The text is decoded already, so that what the file declares to be written in does not matter.
            root = ElementTree.fromstring(re.sub(r"^\s*<\?xml.*?\?>", "", read_text(path), flags=re.DOTALL))
        except ElementTree.ParseError as error:
            losses.refuse(path, f"not XML: {error}")
            continue
        image = find_image(source.images, root.findtext("filename") or path.stem, path.stem, losses, path, source.annotations)
        if image is None:
            continue
        size = image_size_wh(image)
        try:
            detections, classes = detections_from_xml_obj(root, [], size)
        except (ValueError, TypeError, AttributeError) as error:
            losses.refuse(path, str(error))
            continue
        labels = [classes[index] for index in detections.class_id]
        yield LabelledImage(image, size, usable_regions(detections.xyxy.tolist(), labels, size, losses))


def import_yolo(source: Source, losses: Losses) -> Iterator[LabelledImage]:
    yolo_annotations_to_detections = _supervision("yolo").yolo_annotations_to_detections
    names, key_points = yolo_names(source)
    for path in label_files(source.annotations, ".txt"):
        if path.name in YOLO_NAME_FILES or _is_no_yolo_label(path):
            continue
        # Label Studio writes the names of its labels as they stand in addresses, with its prefix of uploads.
        name = unquote(path.stem)
        image = find_image(source.images, name, _without_upload_prefix(name), losses, path, source.annotations)
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
        image = find_image(source.images, name, _without_upload_prefix(name), losses)
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


IMPORTERS: dict[str, Importer] = {
    "coco": import_coco,
    "csv": import_csv,
    "labelme": import_labelme,
    "labelstudio": import_labelstudio,
    "voc": import_voc,
    "yolo": import_yolo,
}


def import_samples(
    format_name: str,
    source: Source,
    *,
    roles: Sequence[str] = ("name",),
    max_regions: int = 20,
    plain_words: bool = False,
    skip_missing: bool = False,
    seed: int = 0,
) -> SampleList:
    """Conversations about the boxes of a label file.

    Args:
      format_name: a key of IMPORTERS.
      roles: keys of `label_questions.LABEL_ROLES` or `TEXT_ROLES`.
      max_regions: an image with more boxes becomes several samples.
      plain_words: class names are written with spaces for underscores.
      skip_missing: go on without labels whose image is not there; they are counted.
      seed: of the order of boxes and of templates.
    Raises:
      DataError: the importer's own; missing images, all at once; or nothing usable was found.
    """
    losses = Losses()
    images = list(IMPORTERS[format_name](source, losses))
    if losses.missing and not skip_missing:
        examples = ", ".join(losses.missing[:3])
        advice = "put them there, or go on without them (--skip-missing)"
        raise DataError(f"{len(losses.missing)} pictures are not in {source.images}, for example {examples}; {advice}", source.annotations)
    losses.left_out["pictures that are missing"] += len(losses.missing)
    for reason, (count, example) in losses.refused.items():
        losses.left_out[f"{reason}, for example {example}"] += count
    if plain_words:
        images = [LabelledImage(p.image, p.image_size_wh, [_plain(region) for region in p.regions]) for p in images]
    samples = SampleList(left_out=losses.left_out)
    all_labels = sorted({str(region.label) for image in images for region in image.regions})
    for image in images:
        size = image.image_size_wh
        if not image.regions:
            samples.left_out["pictures without a usable box"] += 1
        for part, chunk in enumerate(shuffled_chunks(image.regions, max_regions, seed, image.image.name)):
            sample_id = f"{image.image.stem}:{part}"
            exchanges = questions_about_labels(chunk, roles, size, all_labels, seed, sample_id)
            if exchanges:
                samples.append(dialogue_sample(image.image, chunk, exchanges, sample_id=sample_id, image_size_wh=size, seed=seed))
            else:
                samples.left_out["pictures with too few boxes for the questions"] += 1
    samples.left_out += Counter()  # forgets reasons that did not occur
    if not samples:
        reasons = "; ".join(f"{count} {reason}" for reason, count in samples.left_out.items())
        raise DataError(f"no labelled box was found{f' (left out: {reasons})' if reasons else ''}", source.annotations)
    return samples


def _plain(region: Region) -> Region:
    return Region(0, region.box_xyxy, str(region.label).replace("_", " "))


def _supervision(format_name: str) -> ModuleType:
    try:
        return import_module(f"supervision.dataset.formats.{format_name}")
    except ImportError as error:
        raise DataError(f"this format is read by the package supervision, which is missing ({error}); pip install supervision") from error


def _is_image_name(value: Any) -> bool:
    return isinstance(value, str) and _url_file_name(value).lower().endswith(IMAGE_SUFFIXES)


def _url_file_name(url: str) -> str:
    """`/data/upload/3/1a2b3c4d-cat.jpg`, `s3://bucket/cat.jpg`, `/data/local-files/?d=photos/cat.jpg` → the file's name."""
    parts = urlparse(url)
    local = parse_qs(parts.query).get("d")
    return Path(unquote(local[0] if local else parts.path)).name


def _without_upload_prefix(name: str) -> str:
    """Label Studio puts eight hexadecimal digits and a dash before the names of uploaded files."""
    prefix, dash, rest = name.partition("-")
    return rest if dash and len(prefix) == 8 and all(letter in "0123456789abcdef" for letter in prefix) else name
