"""LLaVA-Instruct-150K: dialogues about a picture, optionally with boxes from a detector as regions.

Files: `llava_instruct_150k.json`, a list of `{"id", "image", "conversations": [{"from": "human" | "gpt", "value"}]}`
(https://huggingface.co/datasets/liuhaotian/LLaVA-Instruct-150K). Detections: a json or pickle list of `{"filename", "pred_bboxes"
float[N, 5] = x0, y0, x1, y1 in [0, 1] of the picture and score, "labels" int[N]}`, with the class names in a file of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gpt4roi.boxes import as_boxes
from gpt4roi.data.coco_file import image_path
from gpt4roi.data.dialogue import SampleList, dialogue_sample
from gpt4roi.data.errors import DataError
from gpt4roi.data.images import upright_size_wh
from gpt4roi.data.safe_pickle import load_pickle
from gpt4roi.data.seeding import generator
from gpt4roi.data.templates import Question
from gpt4roi.data.text_files import load_json
from gpt4roi.regions import Region

ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}


@dataclass(frozen=True)
class Detections:
    """Boxes of one picture, best first: `boxes_xyxy_norm` float64[N, 4] in [0, 1], `labels` class names."""

    boxes_xyxy_norm: np.ndarray
    labels: tuple[str, ...]


def read_llava_instruct(
    annotations: Path | str,
    images: Path | str,
    *,
    detections: Path | str | None = None,
    class_names: Path | str | None = None,
    min_score: float = 0.3,
    min_side: float = 0.02,
    max_regions: int = 20,
    detection_share: float = 0.5,
    yes_no_share: float = 0.25,
    seed: int = 0,
) -> SampleList:
    """One sample a dialogue.

    Args:
      annotations: `llava_instruct_150k.json` or any file of its form; entries without `image` are text chats.
      images: folder of the pictures (COCO train2017).
      detections: what a detector found, see the module's text; the pictures are then opened for their size.
      class_names: names in order of label, a json list or one a line. Needed with detections.
      min_score, min_side: detections with a lower score, or a side below this share of the picture, are left out.
      max_regions: the best detections that are shown.
      detection_share: of the dialogues that have detections, how many are shown them.
      yes_no_share: of the dialogues that show detections, how many also get a right and a wrong "is it a …?" at the end.
      seed: decides which, together with the dialogue's id.
    """
    path, folder = Path(annotations), Path(images)
    content = load_json(path)
    if not isinstance(content, list):
        raise DataError('a LLaVA file is a list of {"image", "conversations"}', path)
    names = read_class_names(Path(class_names)) if class_names else None
    if detections is not None and names is None:
        raise DataError("detections need class_names, the file that names their labels", detections)
    found = read_detections(Path(detections), names or (), min_score, min_side) if detections is not None else {}
    samples = SampleList()
    for position, entry in enumerate(content):
        exchanges = _dialogue(entry, path, position)
        if not exchanges:
            samples.left_out["dialogues without an answer"] += 1
            continue
        image = image_path(folder, entry["image"]) if entry.get("image") else None
        # Dialogues of one picture share its id in the published file, so the place in the file makes ours unique.
        sample_id = f"llava:{path.stem}:{position}"
        random = generator(seed, sample_id)
        shown = found.get(Path(entry["image"]).name.rsplit("_", 1)[-1]) if image is not None else None
        regions: list[Region] = []
        size = None
        if image is not None and shown is not None and len(shown.labels) and random.random() < detection_share:
            size = _image_size_wh(image)
            regions = _regions(shown, size, max_regions)
            numbers = tuple(range(1, len(regions) + 1))
            notes = tuple(str(region.label) for region in regions)
            text, answer = exchanges[0]
            exchanges[0] = Question("about_detected", numbers, {"text": str(text)}, notes), answer
            if random.random() < yes_no_share:
                exchanges += _yes_no(regions, names or (), random)
        samples.append(dialogue_sample(image, regions, exchanges, sample_id=sample_id, image_size_wh=size, seed=seed))
    return samples


def _dialogue(entry: Any, path: Path, position: int) -> list[tuple[Question | str, str]]:
    """Pairs of question and answer; the picture's own mark is taken out, our processor puts it where it belongs."""
    where = f"record {position}"
    if not isinstance(entry, dict) or not isinstance(entry.get("conversations"), list):
        raise DataError('an entry needs "conversations"', path, where)
    pairs: list[tuple[Question | str, str]] = []
    question: str | None = None
    for turn in entry["conversations"]:
        role = ROLES.get(turn.get("from", "")) if isinstance(turn, dict) else None
        if role is None or not isinstance(turn.get("value"), str):
            raise DataError(f'a turn is {{"from": "human" or "gpt", "value": text}}; got {str(turn)[:80]}', path, where)
        text = turn["value"].replace("<image>", "").strip()
        if role == "user":
            question = text
        elif question is None:
            raise DataError("an answer comes before any question", path, where)
        else:
            pairs.append((question, text))
            question = None
    return pairs


def _image_size_wh(image: Path) -> tuple[int, int]:
    try:
        with Image.open(image) as opened:
            return upright_size_wh(opened)
    except OSError as error:
        raise DataError(f"the size of a picture with detections is needed, but it cannot be read ({error})", image) from error


def _regions(detections: Detections, size_wh: tuple[int, int], max_regions: int) -> list[Region]:
    boxes = np.clip(detections.boxes_xyxy_norm[:max_regions], 0, 1) * np.array([*size_wh, *size_wh])
    return [Region(0, (x0, y0, x1, y1), label) for (x0, y0, x1, y1), label in zip(boxes.tolist(), detections.labels, strict=False)]


def _yes_no(regions: Sequence[Region], names: Sequence[str], random: np.random.Generator) -> list[tuple[Question | str, str]]:
    """A question whose answer is yes and one whose answer is no. They go into this sample alone; nothing stored grows."""
    right, wrong = (int(random.integers(len(regions))) for _ in range(2))
    seen = {region.label for region in regions}
    absent = [name for name in names if name not in seen]
    label = str(regions[right].label)
    pairs: list[tuple[Question | str, str]] = [(Question("yes_no", (right + 1,), {"word": label}), "Yes.")]
    if absent:
        word = absent[int(random.integers(len(absent)))]
        pairs.append((Question("yes_no", (wrong + 1,), {"word": word}), "No."))
    return pairs if random.random() < 0.5 else pairs[::-1]


def read_class_names(path: Path) -> tuple[str, ...]:
    """Class names in order of label: a json list of names, or one a line."""
    if path.suffix == ".json":
        content = load_json(path)
    else:
        try:
            content = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except OSError as error:
            raise DataError(f"cannot be read ({error})", path) from error
    if not isinstance(content, list) or not all(isinstance(name, str) for name in content):
        raise DataError("class names are a list of names", path)
    return tuple(name.replace("_", " ") for name in content)


def read_detections(path: Path, names: Sequence[str], min_score: float, min_side: float) -> dict[str, Detections]:
    """Detections by picture name (COCO's split prefix taken off), filtered, best first.

    Raises:
      DataError: a label that has no name. A list of names that is one short shifts every name after the gap, unseen; so every label must
        have a name, and the message tells both numbers.
    """
    content = load_json(path) if path.suffix == ".json" else load_pickle(path)
    if not isinstance(content, list):
        raise DataError('detections are a list of {"filename", "pred_bboxes", "labels"}', path)
    found = {}
    for position, entry in enumerate(content):
        try:
            scored = np.asarray(entry["pred_bboxes"], dtype=np.float64).reshape(-1, 5)
            labels = np.asarray(entry["labels"], dtype=np.int64).reshape(-1)
            file_name = str(entry["filename"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"an entry needs filename, pred_bboxes [N, 5] and labels [N]: {error}", path, f"record {position}") from error
        if len(labels) != len(scored):
            raise DataError(f"{len(scored)} boxes but {len(labels)} labels", path, f"record {position}")
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(names):
            raise DataError(f"label {labels.max()} has no name: there are {len(names)} class names", path, f"record {position}")
        sides = scored[:, 2:4] - scored[:, 0:2]
        keep = np.flatnonzero((scored[:, 4] > min_score) & (sides > min_side).all(axis=1))
        best = keep[np.argsort(-scored[keep, 4], kind="stable")]
        found[Path(file_name).name.rsplit("_", 1)[-1]] = Detections(as_boxes(scored[best, :4]), tuple(names[i] for i in labels[best]))
    return found
