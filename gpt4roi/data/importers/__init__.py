"""Label files of common tools to labelled images, and those to samples in our format.

`supervision` reads YOLO and VOC, file by file: its loaders for whole data sets keep a full-size mask of every polygon in memory and cannot say
which file was wrong. COCO is read by the reader that training uses. What is not understood is counted, with the first example.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from gpt4roi.data.dialogue import SampleList, dialogue_sample, shuffled_chunks
from gpt4roi.data.errors import DataError
from gpt4roi.data.importers.coco import import_coco
from gpt4roi.data.importers.csv_files import import_csv
from gpt4roi.data.importers.labelme import import_labelme
from gpt4roi.data.importers.labelstudio import import_labelstudio
from gpt4roi.data.importers.voc import import_voc
from gpt4roi.data.importers.yolo import import_yolo
from gpt4roi.data.label_files import LabelledImage, Losses, Source
from gpt4roi.data.label_questions import questions_about_labels
from gpt4roi.regions import Region

__all__ = ["IMPORTERS", "Source", "import_samples"]

Importer = Callable[[Source, Losses], Iterator[LabelledImage]]


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
