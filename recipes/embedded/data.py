#!/usr/bin/env python
"""Turn the development photographs into the embedded default's labelled regions: train.jsonl, dev.jsonl and val.jsonl.

    python -m recipes.embedded.data DATA_DIR OUTPUT_DIR

DATA_DIR holds COCO-style sets (`SET/instances_{train,val}.json`, `SET/images/`) named in SETS. `dev` is a slice cut from train by a
hash of the image's name, for choosing; `val` is reported once. Neither images nor annotations enter this repository.
One line: {"image", "regions": [{"box_xyxy", "label", "colours"}], "conversation": [], "source", "captions"}.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from gpt4roi.boxes import xywh_to_xyxy
from gpt4roi.colors import COLORS, color_fractions
from gpt4roi.images import open_image

SETS = ("coco_small", "caltech101", "groceries", "tiny300", "indoor")
# One name for one thing across the sets; the sets' own spellings are synonyms in evaluation.
RENAMED = {
    "motorbike": "motorcycle", "cellphone": "cell phone", "car (side view)": "car", "water lilly": "water lily", "diningtable": "dining table",
    "pottedplant": "potted plant", "pictureframe": "picture frame", "tincan": "tin can", "coffeetable": "coffee table", "windowblind": "window blind",
    "tvmonitor": "tv", "sofa": "couch", "wastecontainer": "waste container",
}  # fmt: skip
DEV_SHARE = 0.06


def is_dev(name: str) -> bool:
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 16**8 < DEV_SHARE


def read_set(root: Path, name: str, split: str) -> list[dict[str, Any]]:
    data = json.loads((root / name / f"instances_{split}.json").read_text(encoding="utf-8"))
    names = {category["id"]: category["name"] for category in data["categories"]}
    captions: dict[int, list[str]] = {}
    captions_file = root / name / f"captions_{split}.json"
    if captions_file.exists():
        for annotation in json.loads(captions_file.read_text(encoding="utf-8"))["annotations"]:
            captions.setdefault(annotation["image_id"], []).append(annotation["caption"].strip())
    by_image: dict[int, list[dict[str, Any]]] = {}
    for annotation in data["annotations"]:
        if not annotation.get("iscrowd"):
            by_image.setdefault(annotation["image_id"], []).append(annotation)
    records = []
    for image in tqdm(data["images"], desc=f"{name} {split}", unit="picture"):
        annotations = by_image.get(image["id"], [])
        if not annotations and image["id"] not in captions:
            continue
        path = root / name / "images" / Path(image["file_name"]).name
        rgb = np.asarray(open_image(path))
        regions = []
        for annotation in annotations:
            box = [round(value, 1) for value in xywh_to_xyxy([annotation["bbox"]])[0].tolist()]
            if box[2] - box[0] < 1 or box[3] - box[1] < 1:
                continue
            label = names[annotation["category_id"]]
            colours = color_fractions(rgb, (box[0], box[1], box[2], box[3]))
            regions.append(
                {"box_xyxy": box, "label": RENAMED.get(label, label), "colours": [round(share, 3) for share in colours.tolist()]}
            )
        record = {"image": str(path), "size_wh": [rgb.shape[1], rgb.shape[0]], "source": name, "regions": regions, "conversation": []}
        record["captions"] = captions.get(image["id"], [])
        records.append(record)
    return records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("output_dir", type=Path)
    args = parser.parse_args()
    args.output_dir.mkdir(parents=True, exist_ok=True)
    splits: dict[str, list[dict[str, Any]]] = {"train": [], "dev": [], "val": []}
    for name in SETS:
        for record in read_set(args.data_dir.resolve(), name, "train"):
            splits["dev" if is_dev(Path(record["image"]).name) else "train"].append(record)
        splits["val"] += read_set(args.data_dir.resolve(), name, "val")
    for split, records in splits.items():
        with open(args.output_dir / f"{split}.jsonl", "w", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)
        regions = [region for record in records for region in record["regions"]]
        dominant = Counter(COLORS[int(np.argmax(region["colours"]))] for region in regions)
        print(
            f"{split}: {len(records)} pictures, {len(regions)} regions, {len({r['label'] for r in regions})} labels; colours {dict(dominant.most_common())}"
        )


if __name__ == "__main__":
    main()
