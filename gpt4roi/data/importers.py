"""Label files of common tools to labelled images, and those to samples in our format.

`supervision` reads YOLO, VOC and LabelMe, file by file: its loaders for whole data sets keep a full-size mask of every polygon in memory
and cannot say which file was wrong. COCO is read by the reader that training uses.
"""

from __future__ import annotations

import csv
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse
from xml.etree import ElementTree

import yaml

from gpt4roi.boxes import to_pixels
from gpt4roi.data.coco_file import CocoFile, load_json
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
from gpt4roi.regions import Region

YOLO_NAME_FILES = ("data.yaml", "dataset.yaml", "data.yml", "classes.txt", "obj.names")

# Accepted headings of a CSV; case does not matter, and the first complete set of corners counts.
CSV_CORNERS = (
    ("x0", "y0", "x1", "y1"),
    ("x1", "y1", "x2", "y2"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("left", "top", "right", "bottom"),
)
CSV_IMAGE = ("image", "filename", "file_name", "image_path", "path", "image_id")
CSV_LABEL = ("label", "class", "class_name", "name", "category", "caption", "description")

Importer = Callable[[Source, Losses], Iterator[LabelledImage]]


def import_coco(source: Source, losses: Losses) -> Iterator[LabelledImage]:
    file = CocoFile(source.annotations, needs={"annotations": ("category_id",)})
    for image in file.images.values():
        path = find_image(source.images, image["file_name"], Path(image["file_name"]).stem, losses)
        if path is not None:
            regions = [Region(0, box, file.name(annotation)) for box, annotation in file.boxes(image, losses.left_out)]
            yield LabelledImage(path, file.size_wh(image) or image_size_wh(path), regions)


def import_voc(source: Source, losses: Losses) -> Iterator[LabelledImage]:
    detections_from_xml_obj = _supervision("pascal_voc").detections_from_xml_obj
    for path in label_files(source.annotations, ".xml"):
        try:
            root = ElementTree.parse(path).getroot()
        except ElementTree.ParseError as error:
            raise DataError(f"not XML: {error}", path) from error
        image = find_image(source.images, root.findtext("filename") or path.stem, path.stem, losses)
        if image is None:
            continue
        size = image_size_wh(image)
        try:
            detections, classes = detections_from_xml_obj(root, [], size)
        except ValueError as error:
            raise DataError(str(error), path) from error
        labels = [classes[index] for index in detections.class_id]
        yield LabelledImage(image, size, usable_regions(detections.xyxy.tolist(), labels, size, losses))


def import_yolo(source: Source, losses: Losses) -> Iterator[LabelledImage]:
    yolo_annotations_to_detections = _supervision("yolo").yolo_annotations_to_detections
    names = yolo_names(source)
    for path in label_files(source.annotations, ".txt"):
        if path.name in YOLO_NAME_FILES:
            continue
        image = find_image(source.images, path.stem, path.stem, losses)
        if image is None:
            continue
        size = image_size_wh(image)
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        try:
            detections = yolo_annotations_to_detections(lines, size, with_masks=False)
        except ValueError as error:
            raise DataError(str(error), path) from error
        indices = [] if detections.class_id is None else detections.class_id.tolist()
        unknown = [index for index in indices if index not in names]
        if unknown:
            raise DataError(f"class {unknown[0]} has no name; the names are numbered {min(names)} to {max(names)}", path)
        yield LabelledImage(image, size, usable_regions(detections.xyxy.tolist(), [names[index] for index in indices], size, losses))


def yolo_names(source: Source) -> dict[int, str]:
    """Class names by number, from `names` of a data.yaml (list or mapping) or one a line of a text file."""
    near = (source.annotations, source.annotations.parent, source.annotations.parent.parent)
    places = [source.names] if source.names else [folder / name for folder in near for name in YOLO_NAME_FILES]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise DataError(
            f"YOLO labels need their class names: give data.yaml or classes.txt with --names (looked near {source.annotations})"
        )
    text = path.read_text(encoding="utf-8")
    if path.suffix not in (".yaml", ".yml"):
        return dict(enumerate(line.strip() for line in text.splitlines() if line.strip()))
    try:
        content = yaml.safe_load(text)
        names = content["names"]
        return {int(key): str(name) for key, name in (names.items() if isinstance(names, dict) else enumerate(names))}
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise DataError(f'has no usable "names" ({error})', path) from error


def import_labelme(source: Source, losses: Losses) -> Iterator[LabelledImage]:
    labelme = _supervision("labelme")
    for path in label_files(source.annotations, ".json"):
        content = load_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
            raise DataError('a LabelMe file is an object with "shapes"', path)
        image = find_image(source.images, str(content.get("imagePath") or path.stem), path.stem, losses)
        if image is None:
            continue
        size = image_size_wh(image)
        usable = [shape for shape in content["shapes"] if shape.get("shape_type", "polygon") in labelme.SUPPORTED_SHAPE_TYPES]
        losses.left_out["shapes that are neither rectangle nor polygon"] += len(content["shapes"]) - len(usable)
        classes = sorted({str(shape.get("label")) for shape in usable})
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                detections = labelme.labelme_shapes_to_detections(
                    usable, {name: i for i, name in enumerate(classes)}, size, with_masks=False
                )
        except (ValueError, KeyError) as error:
            raise DataError(str(error), path) from error
        labels = [] if detections.class_id is None else [classes[index] for index in detections.class_id]
        yield LabelledImage(image, size, usable_regions(detections.xyxy.tolist(), labels, size, losses))


def import_labelstudio(source: Source, losses: Losses) -> Iterator[LabelledImage]:
    """Label Studio's JSON export; boxes and polygons are in percent of the image. Cancelled annotations are left out."""
    tasks = load_json(source.annotations)
    if not isinstance(tasks, list):
        raise DataError('a Label Studio export is a list of tasks with "data" and "annotations"', source.annotations)
    for position, task in enumerate(tasks):
        try:
            data = task["data"]
            url = str(data.get("image") or next(value for value in data.values() if _is_image_name(value)))
            results = [result for one in task["annotations"] if not one.get("was_cancelled") for result in one["result"]]
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
            value = result.get("value", {})
            label = next((value[key][0] for key in ("rectanglelabels", "polygonlabels", "labels") if value.get(key)), None)
            if label is None or value.get("rotation") or not ("points" in value or {"x", "y", "width", "height"} <= value.keys()):
                losses.left_out["results that are no upright labelled box or polygon"] += 1
                continue
            points = value.get("points") or [[value["x"], value["y"]], [value["x"] + value["width"], value["y"] + value["height"]]]
            xs, ys = [point[0] * size[0] / 100 for point in points], [point[1] * size[1] / 100 for point in points]
            boxes.append([min(xs), min(ys), max(xs), max(ys)])
            labels.append(label)
        yield LabelledImage(image, size, usable_regions(boxes, labels, size, losses))


def import_csv(source: Source, losses: Losses) -> Iterator[LabelledImage]:
    """One box a line under a heading, see CSV_CORNERS. Lines of one image need not be together."""
    found: dict[str, list[tuple[list[float], str]]] = {}
    try:
        with open(source.annotations, encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            image_column, label_column, corners = _csv_columns(rows.fieldnames or [], source.annotations)
            for row in rows:
                texts = [row[corner] for corner in corners]
                try:
                    box = [float(text) for text in texts]
                except (TypeError, ValueError) as error:
                    raise DataError(f"a box is four numbers; got {texts}", source.annotations, f"line {rows.line_num}") from error
                found.setdefault((row[image_column] or "").strip(), []).append((box, (row[label_column] or "").strip()))
    except FileNotFoundError as error:
        raise DataError("there is no such file", source.annotations) from error
    for name, lines in found.items():
        image = find_image(source.images, name, Path(name).stem, losses)
        if image is None:
            continue
        size = image_size_wh(image)
        boxes = [to_pixels(box, size, source.space) for box, _ in lines]
        yield LabelledImage(image, size, usable_regions(boxes, [label for _, label in lines], size, losses))


def _csv_columns(fields: Sequence[str], path: Path) -> tuple[str, str, tuple[str, ...]]:
    """The names of the columns for image, label and the four corners."""
    lower = {name.strip().lower(): name for name in fields}
    image = next((lower[name] for name in CSV_IMAGE if name in lower), None)
    label = next((lower[name] for name in CSV_LABEL if name in lower), None)
    corners = next((names for names in CSV_CORNERS if all(name in lower for name in names)), None)
    if image is None or label is None or corners is None:
        raise DataError(f"the heading must be like image,x0,y0,x1,y1,label; it is {','.join(fields) or 'empty'}", path, "line 1")
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
