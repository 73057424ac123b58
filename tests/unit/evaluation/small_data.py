"""Small made-up files in each benchmark's published format; boxes and texts are invented."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gpt4roi.evaluation.task import Request

PEOPLE_IMAGE = "movie/one.jpg"


def _json(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def _jsonl(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def picture(folder: Path, name: str, size_wh: tuple[int, int] = (80, 60), seed: int = 0) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size_wh[1], size_wh[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def vcr_record(number: int, answer: int = 1, rationale: int = 2, **changes: Any) -> dict[str, Any]:
    return {
        "annot_id": f"val-{number}",
        "img_fn": PEOPLE_IMAGE,
        "metadata_fn": "movie/one.json",
        "objects": ["person", "dog", "person", "cup"],
        "question": ["Why", "is", [0, 2], "pointing", "?"],
        "answer_choices": [
            [[0], "likes", [1], "."],
            ["Casey", "asked", [2], "'", "s", "dog", "."],
            [[0, 2], "are", "lost", "."],
            ["Nobody", "is", "."],
        ],
        "rationale_choices": [["There", "is", [3], "."], [[2], "smiles", "."], [[0], "looks", "at", [1], "."], ["It", "rains", "."]],
        "answer_label": answer,
        "rationale_label": rationale,
        **changes,
    }


def vcr(folder: Path, records: list[dict[str, Any]] | None = None) -> Request:
    picture(folder, PEOPLE_IMAGE)
    boxes = [[5, 5, 30, 50, 0.9], [30, 30, 50, 55, 0.9], [50, 5, 75, 55, 0.8], [10, 40, 16, 46, 0.7]]
    _json(
        folder / "movie/one.json",
        {"boxes": boxes, "segms": [[]] * 4, "names": ["person", "dog", "person", "cup"], "width": 80, "height": 60},
    )
    chosen = records if records is not None else [vcr_record(number, number % 4, (number + 1) % 4) for number in range(8)]
    return Request(_jsonl(folder / "val.jsonl", chosen), images=folder)


def visual7w(folder: Path) -> Request:
    picture(folder, "v7w_1.jpg")
    boxes = [{"box_id": n, "image_id": 1, "name": "thing", "x": 5 * n, "y": 4, "width": 10 + n, "height": 20} for n in range(1, 9)]
    pairs = [{"qa_id": n, "question": f"Which thing is number {n}?", "answer": 1 + n % 8, "type": "which",
              "multiple_choices": [1 + (n + k) % 8 for k in (1, 2, 3)]} for n in range(40)]  # fmt: skip
    images = [{"image_id": 1, "filename": "v7w_1.jpg", "split": "test", "qa_pairs": pairs},
              {"image_id": 2, "filename": "v7w_2.jpg", "split": "train", "qa_pairs": pairs[:1]}]  # fmt: skip
    return Request(_json(folder / "dataset_v7w_pointing.json", {"dataset": "visual7w-pointing", "images": images, "boxes": boxes}))


def category_list(folder: Path) -> Request:
    """Osprey's `*_val_1k_category.json`."""
    names = ["dish_antenna", "mug:handle", "dog", "fire_truck", "truck"]
    pictures = []
    for number in range(8):
        picture(folder, f"{number}.jpg", seed=number)
        annotations = [{"bbox": [5 + k, 5, 20, 20], "segmentation": [[5, 5, 25, 5, 25, 25]]} for k in range(5)]
        pictures.append({"file_name": f"{number}.jpg", "height": 60, "width": 80, "categories": names, "annotations": annotations})
    return Request(_json(folder / "lvis_val_1k_category.json", pictures))


def coco_instances(folder: Path, num_images: int = 6) -> Request:
    categories = [{"id": i, "name": name, "supercategory": "x"} for i, name in ((1, "person"), (18, "dog"), (3, "car"), (63, "couch"))]
    images, annotations = [], []
    for number in range(num_images):
        picture(folder, f"{number:012d}.jpg", seed=number)
        images.append({"id": 100 + number, "file_name": f"{number:012d}.jpg", "width": 80, "height": 60})
        for k, category in enumerate(categories):
            x, y, w, h = 3.0 + 8 * k + number, 4.0 + 3 * k, 14.0 + 4 * k, 12.5 + 3 * number
            corners = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            annotations.append({"id": len(annotations) + 1, "image_id": 100 + number, "category_id": category["id"], "bbox": [x, y, w, h],
                                "area": w * h, "iscrowd": 0, "segmentation": corners})  # fmt: skip
    crowd = {"size": [60, 80], "counts": [0, 300, 60 * 80 - 300]}
    annotations.append(
        {"id": 900, "image_id": 100, "category_id": 1, "bbox": [0, 0, 5, 60], "area": 300, "iscrowd": 1, "segmentation": crowd}
    )
    data = {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories}
    return Request(_json(folder / "instances_val2017.json", data))


def panoptic(folder: Path) -> Request:
    """Two 8 x 8 pictures with void, two stuff segments, things and a crowd."""
    categories = [{"id": 7, "name": "road", "isthing": 0}, {"id": 11, "name": "sky;heaven", "isthing": 0},
                  {"id": 24, "name": "dog", "isthing": 1}, {"id": 26, "name": "car", "isthing": 1}]  # fmt: skip
    images, annotations = [], []
    for number in range(2):
        ids = np.zeros((8, 8), dtype=np.int64)
        ids[0:3], ids[3:6, 0:4], ids[3:6, 4:8], ids[6, 0:8] = 11000, 300, 70000 + number, 7000
        segments = [(11000, 11), (300, 24), (70000 + number, 26), (7000, 7)]
        rgb = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
        (folder / "panoptic_val").mkdir(exist_ok=True)
        Image.fromarray(rgb).save(folder / "panoptic_val" / f"{number}.png")
        picture(folder, f"{number}.jpg", (8, 8), number)
        images.append({"id": number, "file_name": f"{number}.jpg", "width": 8, "height": 8})
        info = []
        for segment_id, category in segments:
            ys, xs = np.nonzero(ids == segment_id)
            box = [int(xs.min()), int(ys.min()), int(xs.max() - xs.min() + 1), int(ys.max() - ys.min() + 1)]
            info.append({"id": segment_id, "category_id": category, "bbox": box, "area": len(xs), "iscrowd": 0})
        annotations.append({"image_id": number, "file_name": f"{number}.png", "segments_info": info})
    return Request(_json(folder / "panoptic_val.json", {"images": images, "annotations": annotations, "categories": categories}))


def refcoco(folder: Path) -> Request:
    """mdetr's shape: one entry of `images` per expression."""
    picture(folder, "COCO_train2014_000000000001.jpg")
    images = [{"id": n, "file_name": "COCO_train2014_000000000001.jpg", "width": 80, "height": 60, "caption": f"the {word} thing", "original_id": 1}
              for n, word in enumerate(("left", "right", "red", "big"))]  # fmt: skip
    annotations = [{"id": n, "image_id": n, "bbox": [5 * (n // 2), 10, 20, 30], "category_id": 1, "iscrowd": 0} for n in range(4)]
    return Request(_json(folder / "finetune_refcocog_val.json", {"images": images, "annotations": annotations}))


def refl4(folder: Path) -> Request:
    picture(folder, "o365.jpg", (640, 480))
    sides = (50, 200, 400)
    records = [{"id": n, "caption": f"Thing {n} stands in the very middle.", "bbox": [10.0, 10.0, float(side), float(side)], "bbox_area": side**2,
                "bbox_id": f"o365_{n}", "ori_category_id": ("o365_1", "refcoco_1")[n % 2], "image_id": "o365_9", "height": 480, "width": 640,
                "file_name": "o365.jpg", "is_rewrite": False, "split": "val"} for n, side in enumerate(sides * 2)]  # fmt: skip
    return Request(_jsonl(folder / "ref-l4-val.jsonl", records))


def regions(folder: Path) -> Request:
    labels = ("dog", "couch", "dog", "traffic light")
    records = []
    for number in range(5):
        picture(folder, f"{number}.jpg", seed=number)
        boxes = [{"box_xyxy": [4 + 5 * k, 6, 30 + 5 * k, 40], "label": label} for k, label in enumerate(labels)]
        records.append({"image": f"{number}.jpg", "regions": [*boxes, {"box_xyxy": [0, 0, 9, 9]}], "conversation": [], "source": "made up"})
    return Request(_jsonl(folder / "mine.jsonl", records))


def suite(folder: Path) -> Request:
    """The items schema of recipes/embedded/items.py."""
    questions = [
        ("name", "What is <region1>?", ["dog"]), ("name", "What can you see in <region1>?", ["couch", "sofa"]),
        ("yes_no", "Is <region1> a dog?", ["yes"]), ("yes_no", "Is <region1> a car?", ["no"]), ("yes_no", "Is <region1> a bus?", ["no"]),
        ("relation", "Is <region1> left or right of <region2>?", ["left", "to the left"]),
        ("relation", "Which is larger, <region1> or <region2>?", ["<region2>"]),
        ("colour", "What colour is <region1>?", ["brown", "black"]), ("refuse", "Who owns <region1>?", []),
    ]  # fmt: skip
    records = []
    for number in range(6):
        picture(folder, f"{number}.jpg", seed=number)
        for k, (kind, question, wanted) in enumerate(questions):
            answers = ["right"] if number % 3 == 0 and wanted[:1] == ["left"] else wanted
            records.append({"id": f"{number}-{k}", "image": f"{number}.jpg", "kind": kind, "question": question, "answers": answers,
                            "regions": [{"box_xyxy": [2, 2, 30, 30], "label": "dog"}, {"box_xyxy": [40, 2, 79, 50], "label": "couch"}],
                            "group": ["coco_all", "coco_big"] if number % 2 else "coco_all", "phrasing": ("seen", "unseen")[k % 2]})  # fmt: skip
    return Request(_jsonl(folder / "items.jsonl", records))


def captions(folder: Path) -> Request:
    picture(folder, "vg.jpg")
    texts = (
        ("a brown dog lying on the grass", "dog resting on green grass"),
        ("the large red bus at the stop",),
        ("a man in a blue shirt waving",),
    )
    records = [{"id": n, "image": "vg.jpg", "box_xyxy": [5 * n, 5, 20 + 5 * n, 40], "captions": list(text)} for n, text in enumerate(texts)]
    return Request(_jsonl(folder / "captions.jsonl", records))


MAKERS: dict[str, Callable[[Path], Request]] = {
    "embedded_suite": suite,
    "regions": regions,
    "vcr": vcr,
    "visual7w": visual7w,
    "lvis_referring": category_list,
    "paco_referring": category_list,
    "coco_classification": coco_instances,
    "region_caption": captions,
    "open_vocabulary": panoptic,
    "rec": refcoco,
    "refl4": refl4,
    "coco_detection": coco_instances,
}


def word_embedder(texts: Any) -> np.ndarray:
    """A stand-in for sentence embeddings: bags of letter pairs of the words, unit length; equal texts give equal vectors."""
    rows = np.zeros((len(texts), 997))
    for row, text in zip(rows, texts, strict=True):
        for word in ["", *text.lower().replace(".", " ").split()]:
            for pair in zip(f"^{word}", f"{word}$", strict=True):
                row[(ord(pair[0]) * 31 + ord(pair[1])) % 997] += 1
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
