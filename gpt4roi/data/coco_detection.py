"""COCO detection (`instances_*.json`): one turn a box, the class name as the answer (GPT4RoI stage 1).

Files: https://cocodataset.org/#format-data. LVIS and other files of that form are read the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gpt4roi.data.coco_file import CocoFile, image_path
from gpt4roi.data.dialogue import SampleList, dialogue_sample, shuffled_chunks
from gpt4roi.data.errors import DataError
from gpt4roi.data.label_questions import LABEL_ROLES, questions_about_labels
from gpt4roi.regions import Region


def read_coco_detection(
    annotations: Path | str,
    images: Path | str,
    *,
    seed: int = 0,
    min_side: float = 32.0,
    max_regions: int = 20,
    roles: Sequence[str] = ("name",),
) -> SampleList:
    """Samples of a COCO detection file.

    Args:
      annotations: `instances_train2017.json` or the like.
      images: folder of the images.
      seed: of the order of the boxes.
      min_side: boxes with a shorter side, in pixels, are left out, as in the published stage 1; crowds always are.
      max_regions: an image with more boxes becomes several samples.
      roles: which questions are asked, see `label_questions`.
    """
    unknown = [role for role in roles if role not in LABEL_ROLES]
    if unknown:
        raise DataError(f"class labels cannot answer '{unknown[0]}'; the roles are {', '.join(LABEL_ROLES)}")
    file, folder = CocoFile(Path(annotations), needs={"annotations": ("category_id",)}), Path(images)
    names = [spoken(name) for name in file.categories.values()]
    samples = SampleList()
    for image_id, image in file.images.items():
        boxes = file.boxes(image, samples.left_out, min_side=min_side)
        regions = [Region(0, box, spoken(file.name(annotation))) for box, annotation in boxes]
        if not regions:
            samples.left_out["pictures without a usable box"] += 1
        size = file.size_wh(image)
        for part, chunk in enumerate(shuffled_chunks(regions, max_regions, seed, image_id)):
            sample_id = f"{file.path.stem}:{image_id}:{part}"
            exchanges = questions_about_labels(chunk, roles, size, names, seed, sample_id)
            path = image_path(folder, image["file_name"])
            samples.append(dialogue_sample(path, chunk, exchanges, sample_id=sample_id, image_size_wh=size, seed=seed))
    return samples


def spoken(class_name: str) -> str:
    """LVIS writes `ski_pole` and `traffic_light`; people do not."""
    return class_name.replace("_", " ")
