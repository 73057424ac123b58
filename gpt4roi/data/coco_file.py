"""The part of COCO-style json files that several data sets share: load, index by image, boxes in our form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gpt4roi.boxes import xywh_to_xyxy
from gpt4roi.data.dialogue import MIN_SIDE_PX, usable_box
from gpt4roi.data.errors import DataError
from gpt4roi.data.text_files import load_json

Box = tuple[float, float, float, float]


class CocoFile:
    """`images`, `annotations` and `categories` of a COCO-style file.

    Attributes:
      images: image id → image record (`file_name`, `width`, `height`, …).
      annotations: image id → its annotation records in file order.
      categories: category id → name.
    """

    def __init__(self, path: Path, *, needs: Mapping[str, tuple[str, ...]] | None = None, content: Any = None) -> None:
        """`needs`: further keys that every record under `images` or `annotations` must have; `content`: the file, if loaded already."""
        self.path = path
        content = load_json(path) if content is None else content
        if not isinstance(content, dict) or not isinstance(content.get("images"), list):
            raise DataError('a COCO-style file is an object with "images" and "annotations"', path)
        if not isinstance(content.get("annotations"), list):
            raise DataError('has no "annotations"; is it a test or image-info file?', path)
        for image in content["images"]:
            # LVIS v1 names its images by address alone: `http://images.cocodataset.org/train2017/000000000009.jpg`.
            if isinstance(image, dict) and "file_name" not in image and "coco_url" in image:
                image["file_name"] = str(image["coco_url"]).rsplit("/", 1)[-1]
        keys: dict[str, tuple[str, ...]] = {"images": ("id", "file_name"), "annotations": ("image_id", "bbox")}
        for section, more in (needs or {}).items():
            keys[section] += more
        for section, required in keys.items():
            for position, record in enumerate(content[section]):
                missing = [key for key in required if not isinstance(record, dict) or key not in record]
                if missing:
                    raise DataError(f'"{section}" needs {", ".join(missing)}; got {str(record)[:80]}', path, f"{section}[{position}]")
        self.images: dict[Any, dict[str, Any]] = self._by_id(content["images"], "images", ("id", "file_name"))
        categories = self._by_id(content.get("categories") or [], "categories", ("id", "name"))
        self.categories: dict[Any, str] = {key: str(category["name"]) for key, category in categories.items()}
        self.annotations: dict[Any, list[dict[str, Any]]] = {image_id: [] for image_id in self.images}
        for position, annotation in enumerate(content["annotations"]):
            if annotation["image_id"] not in self.images:
                raise DataError(f"names picture {annotation['image_id']}, which is not in the file", path, f"annotations[{position}]")
            self.annotations[annotation["image_id"]].append(annotation)

    def _by_id(self, records: Any, section: str, required: tuple[str, ...]) -> dict[Any, dict[str, Any]]:
        """Records by their id. An id that is given twice would silently move the boxes of one to the other.

        Raises:
          DataError: a record lacks a key, its id is no number or text, or another record has it.
        """
        found: dict[Any, dict[str, Any]] = {}
        places: dict[Any, int] = {}
        for position, record in enumerate(records if isinstance(records, list) else [records]):
            where = f"{section}[{position}]"
            missing = [key for key in required if not isinstance(record, dict) or record.get(key) is None]
            if missing:
                raise DataError(f'"{section}" needs {", ".join(missing)}; got {str(record)[:80]}', self.path, where)
            key = record["id"]
            if not isinstance(key, (int, str)) or isinstance(key, bool):
                raise DataError(f"an id is a number or a text; got {str(key)[:40]}", self.path, where)
            if key in found:
                raise DataError(
                    f"has the id {str(key)[:40]} of {section}[{places[key]}]; give every record an id of its own", self.path, where
                )
            found[key], places[key] = record, position
        return found

    def size_wh(self, image: Mapping[str, Any]) -> tuple[int, int] | None:
        return (int(image["width"]), int(image["height"])) if image.get("width") and image.get("height") else None

    def name(self, annotation: Mapping[str, Any]) -> str:
        """Category name by id, never by place in a list: ids have gaps (COCO ends at 90 with 80 names)."""
        category = annotation.get("category_id")
        if category not in self.categories:
            raise DataError(f"category {category} is not in the file's categories", self.path, f"annotation {annotation.get('id')}")
        return self.categories[category]

    def boxes(
        self, image: Mapping[str, Any], left_out: Counter[str], *, min_side: float = MIN_SIDE_PX
    ) -> Iterator[tuple[Box, dict[str, Any]]]:
        """(box x0, y0, x1, y1 in pixels clipped to the image, annotation) of what is neither a crowd nor too small."""
        size = self.size_wh(image)
        for annotation in self.annotations[image["id"]]:
            try:
                box_xyxy = xywh_to_xyxy([annotation["bbox"]])[0].tolist()
            except ValueError as error:
                raise DataError(str(error), self.path, f"annotation {annotation.get('id')}") from error
            box = usable_box(box_xyxy, size, min_side)
            if annotation.get("iscrowd"):
                left_out["crowd boxes"] += 1
            elif box is None:
                left_out[f"boxes under {min_side:g} px"] += 1
            else:
                yield box, annotation


def image_path(images: Path, file_name: str) -> Path:
    """`COCO_train2014_000000000009.jpg` or `000000000009.jpg`, whichever the folder has: COCO 2014 and 2017 name the same image so."""
    path = images / file_name
    stripped = images / Path(file_name).name.rsplit("_", 1)[-1]
    return stripped if stripped != path and stripped.is_file() and not path.is_file() else path
