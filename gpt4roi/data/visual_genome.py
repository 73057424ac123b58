"""Visual Genome region descriptions: one turn a box, its phrase as the answer.

Two published forms: GRiT's COCO-style json with a `caption` a box (https://github.com/JialianW/GRiT, `VG_preprocessed_annotations`) and the
original `region_descriptions.json` with `image_data.json` (https://homes.cs.washington.edu/~ranjay/visualgenome/).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpt4roi.data.coco_file import CocoFile
from gpt4roi.data.dialogue import SampleList, dialogue_sample, shuffled_chunks, usable_box
from gpt4roi.data.errors import DataError
from gpt4roi.data.templates import Question
from gpt4roi.data.text_files import load_json
from gpt4roi.regions import Region


def read_visual_genome(
    annotations: Path | str,
    images: Path | str,
    *,
    image_data: Path | str | None = None,
    seed: int = 0,
    max_regions: int = 15,
) -> SampleList:
    """Samples with at most `max_regions` described boxes; an image with more becomes several samples.

    Args:
      annotations: GRiT's `train.json` or the original `region_descriptions.json` (told apart by content).
      images: the folder with the images, or with `VG_100K` and `VG_100K_2`.
      image_data: the original `image_data.json`; the file beside `annotations` if not given. Only for the original form.
      seed: of the order of the boxes.
    """
    path, folder = Path(annotations), Path(images)
    content = load_json(path)
    samples = SampleList()
    if isinstance(content, list):
        labelled = _original_images(content, path, Path(image_data) if image_data else path.parent / "image_data.json", folder, samples)
    else:
        labelled = _grit_images(content, path, folder, samples)
    for image_id, image, size, regions in labelled:
        if not regions:
            samples.left_out["pictures without a usable box"] += 1
        for part, chunk in enumerate(shuffled_chunks(regions, max_regions, seed, image_id)):
            roles = ["describe"] + ["describe_next"] * (len(chunk) - 1)
            exchanges = [(Question(role, (i + 1,)), str(region.label)) for i, (role, region) in enumerate(zip(roles, chunk, strict=True))]
            sample_id = f"vg:{path.stem}:{image_id}:{part}"
            samples.append(dialogue_sample(image, chunk, exchanges, sample_id=sample_id, image_size_wh=size, seed=seed))
    return samples


PreparedImage = tuple[Any, Path, tuple[int, int] | None, list[Region]]


def _grit_images(content: Any, path: Path, folder: Path, samples: SampleList) -> Iterator[PreparedImage]:
    file = CocoFile(path, needs={"annotations": ("caption",)}, content=content)
    for image_id, image in file.images.items():
        regions = [Region(0, box, annotation["caption"].strip()) for box, annotation in file.boxes(image, samples.left_out)]
        yield image_id, vg_image(folder, image["file_name"]), file.size_wh(image), [region for region in regions if region.label]


def _original_images(content: list[Any], path: Path, image_data: Path, folder: Path, samples: SampleList) -> Iterator[PreparedImage]:
    sizes: dict[Any, tuple[tuple[int, int], str]] = {}
    for position, entry in enumerate(load_json(image_data)):
        try:
            sizes[entry["image_id"]] = (int(entry["width"]), int(entry["height"])), str(entry["url"])
        except (KeyError, TypeError) as error:
            raise DataError(
                f"a picture needs image_id, width, height and url; missing {error}", image_data, f"record {position}"
            ) from error
    for position, entry in enumerate(content):
        try:
            image_id, described = entry["id"], entry["regions"]
            boxes = [(r["x"], r["y"], r["x"] + r["width"], r["y"] + r["height"], r["phrase"].strip()) for r in described]
        except (KeyError, TypeError) as error:
            raise DataError(
                f"a picture needs id and regions with x, y, width, height, phrase; missing {error}", path, f"record {position}"
            ) from error
        if image_id not in sizes:
            raise DataError(f"picture {image_id} is not in {image_data}", path, f"record {position}")
        size, url = sizes[image_id]
        regions = []
        for x0, y0, x1, y1, phrase in boxes:
            # Some boxes of Visual Genome leave their image or have no height.
            box = usable_box((x0, y0, x1, y1), size)
            if box is None or not phrase:
                samples.left_out["boxes without area inside the picture, or without words"] += 1
            else:
                regions.append(Region(0, box, phrase))
        yield image_id, vg_image(folder, "/".join(url.split("/")[-2:])), size, regions


def vg_image(folder: Path, file_name: str) -> Path:
    """The image under `VG_100K`, `VG_100K_2`, or all in one folder, as people keep them."""
    name = Path(file_name).name
    places = [folder / file_name, folder / name, folder / "VG_100K" / name, folder / "VG_100K_2" / name]
    return next((place for place in places if place.is_file()), places[0])
