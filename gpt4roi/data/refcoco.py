"""RefCOCO, RefCOCO+, RefCOCOg: one region, a referring expression as the answer.

Two published forms: MDETR's `finetune_refcoco{,+,g}_train.json` (https://github.com/ashkamath/mdetr, one "image" entry an expression) and
the original `refs(unc).p`, `refs(umd).p` … with `instances.json` beside it (https://github.com/lichengunc/refer).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpt4roi.data.coco_file import Box, CocoFile, image_path
from gpt4roi.data.dialogue import SampleList, dialogue_sample, usable_box
from gpt4roi.data.errors import DataError
from gpt4roi.data.safe_pickle import load_pickle
from gpt4roi.data.templates import Question
from gpt4roi.regions import Region

# What the expressions of each set are like: RefCOCO+ was collected with places forbidden, RefCOCOg has whole descriptions.
ROLES = {"refcoco": "refer", "refcoco+": "refer_by_looks", "refcocog": "describe"}


def read_refcoco(
    annotations: Path | str,
    images: Path | str,
    *,
    dataset: str,
    instances: Path | str | None = None,
    split: str | None = "train",
    seed: int = 0,
    min_words: int = 3,
) -> SampleList:
    """One sample an expression.

    Args:
      annotations: MDETR's json, or the original `refs(*).p`.
      images: folder of the COCO train2014 images (or of train2017: the number alone is tried too).
      dataset: refcoco, refcoco+ or refcocog; decides how is asked.
      instances: the original `instances.json`; the file beside `annotations` if not given. Only for `refs(*).p`.
      split: which part of `refs(*).p`; None = all. MDETR's files are split already.
      min_words: shorter expressions are left out, as in the published training.
    """
    if dataset not in ROLES:
        raise DataError(f"unknown RefCOCO data set '{dataset}'; use one of {', '.join(ROLES)}")
    path, folder = Path(annotations), Path(images)
    samples = SampleList()
    if path.suffix == ".json":
        expressions = _mdetr_expressions(path, samples)
    else:
        expressions = _original_expressions(path, Path(instances) if instances else path.parent / "instances.json", split, samples)
    for key, image, size, regions, text in expressions:
        if len(text.split()) < min_words:
            samples.left_out[f"expressions under {min_words} words"] += 1
            continue
        question = Question(ROLES[dataset], tuple(range(1, len(regions) + 1)))
        image_file = image_path(folder, image)
        sample_id = f"{dataset}:{path.stem}:{key}"
        samples.append(dialogue_sample(image_file, regions, [(question, text)], sample_id=sample_id, image_size_wh=size, seed=seed))
    return samples


Expression = tuple[Any, str, tuple[int, int] | None, list[Region], str]


def _mdetr_expressions(path: Path, samples: SampleList) -> Iterator[Expression]:
    file = CocoFile(path, needs={"images": ("caption",)})
    # Every entry is looked up by its own id: entries of one image follow each other with different captions.
    for entry_id, image in file.images.items():
        regions = [Region(0, box, image["caption"]) for box, _ in file.boxes(image, samples.left_out)]
        if regions:
            yield entry_id, image["file_name"], file.size_wh(image), regions, image["caption"].strip()
        else:
            samples.left_out["expressions without a usable box"] += 1


def _original_expressions(path: Path, instances: Path, split: str | None, samples: SampleList) -> Iterator[Expression]:
    refs = load_pickle(path)
    if not isinstance(refs, list) or not all(isinstance(ref, dict) for ref in refs):
        raise DataError("is not a list of references as published with refer", path)
    splits = {ref.get("split") for ref in refs}
    if split is not None and split not in splits:
        raise DataError(f"has no split '{split}'; it has {', '.join(sorted(map(str, splits)))}", path)
    file = CocoFile(instances, needs={"annotations": ("id",)})
    by_id = {annotation["id"]: annotation for group in file.annotations.values() for annotation in group}
    for position, ref in enumerate(refs):
        if split is not None and ref.get("split") != split:
            continue
        missing = [key for key in ("ref_id", "ann_id", "image_id", "sentences") if key not in ref]
        if missing:
            raise DataError(f"a reference needs {', '.join(missing)}", path, f"record {position}")
        annotation, image = by_id.get(ref["ann_id"]), file.images.get(ref["image_id"])
        if annotation is None or image is None:
            raise DataError(
                f"names annotation {ref['ann_id']} of picture {ref['image_id']}, absent from {instances}", path, f"record {position}"
            )
        x, y, width, height = annotation["bbox"]
        box: Box | None = usable_box((x, y, x + width, y + height), file.size_wh(image))
        for sentence in ref["sentences"]:
            if box is None:
                samples.left_out["expressions without a usable box"] += 1
                continue
            text = str(sentence.get("raw") or sentence.get("sent") or "").strip()
            regions = [Region(0, box, text)]
            yield f"{ref['ref_id']}:{sentence.get('sent_id')}", image["file_name"], file.size_wh(image), regions, text
