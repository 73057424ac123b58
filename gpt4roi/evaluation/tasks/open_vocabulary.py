"""Open-vocabulary recognition of ground-truth masks on Cityscapes and ADE20K-150, by the Osprey protocol: PQ, AP, mIoU.

Data: the panoptic JSON (`images`, `annotations[].segments_info`, `categories` with `isthing`), its PNGs in the folder of the JSON's name
without `.json`. `--classes FILE`: lines `idx:name,synonym,…` in the order of `categories` (`invalid_class_id` lines are skipped), as
Osprey's `cityscapes_with_prompt_eng.txt` and `ade20k_150_with_prompt_eng.txt`; without it the category names, split at `,` and `;`.
"""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gpt4roi.evaluation.average_precision import AveragePrecision, make_coco
from gpt4roi.evaluation.items import EvaluationError, Figure, Item, cluster_of, figure_of_totals
from gpt4roi.evaluation.panoptic import (
    Segment,
    assemble,
    ids_of_png,
    mean_iou,
    panoptic_counts,
    panoptic_quality,
    semantic_counts,
    void_probabilities,
)
from gpt4roi.evaluation.sentence_similarity import Embedder, MiniLM
from gpt4roi.evaluation.task import Request, Task, box_of_xywh, image_path

# Osprey, osprey/eval/eval_open_vocab_seg_detectron2.py@8bfdfe9.
QUESTION = "What is in <region1>? Using a short phrase."
TEMPLATE = "There is a {} in the scene."
MAX_REGIONS = 300
MAX_INSTANCES = 100
# Mean sigmoid of a binary mask's own pixels, by which the protocol scales every score.
MASK_SCORE = 1 / (1 + np.exp(-1))
IGNORED = 255
# What the classes of a void mask keep after the protocol's log(p + 1e-8): it is no instance of anything.
VOID_PROBABILITY = 1e-6


def read_classes(path: Path | None, categories: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Synonyms of each category, in the order of `categories`."""
    if path is None:
        return [tuple(name.strip() for name in category["name"].replace(";", ",").split(",")) for category in categories]
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        names = tuple(name.strip() for name in line.split(":", 1)[-1].split(",") if name.strip())
        if names and names[0] != "invalid_class_id":
            rows.append(names)
    if len(rows) != len(categories):
        raise EvaluationError(
            f"{path} has {len(rows)} classes, but the annotation file has {len(categories)} categories; they must correspond in order"
        )
    return rows


class OpenVocabulary(Task):
    """The model names every ground-truth region in free text; sentence similarity maps the text to a class."""

    name = "open_vocabulary"
    max_new_tokens = 24
    protocol = (
        "Osprey: every ground-truth panoptic region (at most 300 a picture, by id), its tight box as the prompt and its mask scored. Class = "
        "highest cosine (all-MiniLM-L6-v2) between the raw answer and 'There is a {} in the scene.' over a class's synonyms; softmax without "
        "temperature. PQ with stuff merged and the 0.8 rule; ap_osprey: the 100 best (mask, class) pairs before things are kept; ap_top1: the "
        "best class of each mask only; both COCO-style on masks. mIoU on the panoptic ground truth's classes. Greedy, where the original "
        "samples at T = 0.2."
    )

    def __init__(self, request: Request, embed: Embedder | None = None) -> None:
        super().__init__(request)
        self._embed = embed or MiniLM()

    def items(self) -> list[Item]:
        data = json.loads(self.request.data.read_text(encoding="utf-8"))
        try:
            categories = data["categories"]
            self._synonyms = read_classes(self.request.classes, categories)
            self._is_thing = [bool(category["isthing"]) for category in categories]
            self._label_of = {category["id"]: index for index, category in enumerate(categories)}
            self._images = {image["id"]: image for image in data["images"]}
            self._annotations = {annotation["image_id"]: annotation for annotation in data["annotations"]}
            names = tuple(synonyms[0] for synonyms in self._synonyms)
            items = []
            for image_id, annotation in self._annotations.items():
                image = self._images[image_id]
                for segment in _regions(annotation):
                    label = self._label_of[segment["category_id"]]
                    items.append(
                        Item(
                            id=f"{image_id}:{segment['id']}",
                            question=QUESTION,
                            image=image_path(self.request, image["file_name"]),
                            boxes_xyxy=(box_of_xywh(segment["bbox"]),),
                            references=self._synonyms[label],
                            candidates=names,
                            cluster=str(image_id),
                            extra={"image_id": image_id, "segment_id": segment["id"], "label": label},
                        )
                    )
            return items
        except (KeyError, TypeError) as error:
            raise EvaluationError(f"{self.request.data} is no panoptic annotation file: {error!r}") from error

    def parse(self, item: Item, output: Any) -> Any | None:
        """The raw answer: the protocol embeds it as it is."""
        return output if isinstance(output, str) and output.strip() else None

    def similarities(self, answers: list[str]) -> np.ndarray:
        """float[N, K]: highest cosine over each class's synonyms."""
        sentences = [TEMPLATE.format(name) for synonyms in self._synonyms for name in synonyms]
        cosines = self._embed(answers) @ self._embed(sentences).T
        ends = np.cumsum([len(synonyms) for synonyms in self._synonyms])
        return np.stack([cosines[:, end - len(names) : end].max(axis=1) for end, names in zip(ends, self._synonyms, strict=True)], axis=1)

    def score(self, item: Item, parsed: Any | None) -> float:
        return 0.0 if parsed is None else float(self.similarities([parsed])[0].argmax() == item.extra["label"])

    def figures(self, items: list[Item], parsed: list[Any | None]) -> dict[str, Figure]:
        num_classes = len(self._synonyms)
        similarities = self.similarities([value or "" for value in parsed])
        # An unparsable answer is void: its mask is no segment, no instance, and its pixels have no right class.
        probabilities = void_probabilities(similarities, np.array([float(value is None) for value in parsed]))
        by_image: dict[Any, list[int]] = {}
        for position, item in enumerate(items):
            by_image.setdefault(item.extra["image_id"], []).append(position)
        quality, overlap, references = [], [], []
        detections: dict[str, list[dict[str, Any]]] = {"osprey": [], "top1": []}
        for image_id, positions in by_image.items():
            scored = self._score_image(image_id, [items[p].extra["segment_id"] for p in positions], probabilities[positions])
            quality.append(scored.quality)
            overlap.append(scored.overlap)
            references += scored.references
            for protocol in detections:
                detections[protocol] += scored.detections[protocol]
        clusters = [cluster_of(items[positions[0]]) for positions in by_image.values()]
        figures: dict[str, Figure] = {}
        things = np.array(self._is_thing)
        for name, chosen in (("pq", np.ones_like(things)), ("pq_things", things), ("pq_stuff", ~things)):
            figures[name] = self._quality_figure(np.stack(quality)[:, chosen], clusters, len(items))
        coco = self._coco(list(by_image), references)
        for protocol, found in detections.items():
            figure = AveragePrecision(coco, found, "segm", list(by_image)).figures("mask", len(items), with_sizes=False)["mask_ap"]
            figures[f"ap_{protocol}"] = figure
        figures["miou"] = figure_of_totals(
            np.stack(overlap).reshape(len(overlap), -1), clusters, partial(_of_flat, mean_iou, (num_classes, 3)), len(items)
        )
        return figures

    def _quality_figure(self, counts: np.ndarray, clusters: list[str], n: int) -> Figure:
        if counts.shape[1] == 0:
            return Figure(None, n)
        return figure_of_totals(counts.reshape(len(counts), -1), clusters, partial(_of_flat, panoptic_quality, counts.shape[1:]), n)

    def _score_image(self, image_id: Any, segment_ids: list[int], probabilities: np.ndarray) -> _ImageScores:
        from pycocotools import mask as mask_utils

        num_classes = len(self._synonyms)
        annotation = self._annotations[image_id]
        ids = self._read_png(annotation["file_name"])
        segments = {s["id"]: Segment(self._label_of[s["category_id"]], bool(s.get("iscrowd"))) for s in annotation["segments_info"]}
        masks = [ids == segment_id for segment_id in segment_ids]
        predicted, predicted_segments = assemble(masks, probabilities, self._is_thing, ids.shape)  # type: ignore[arg-type]
        classes = probabilities[:, :-1]
        # Where no mask lies the protocol's argmax over zeros says class 0. A mask whose answer was unparsable is of no class: its
        # pixels must not be right by that accident.
        semantic = np.zeros(ids.shape, dtype=np.int64)
        for mask, row in zip(masks, probabilities, strict=True):
            semantic[mask] = row.argmax()
        truth = np.full(ids.shape, IGNORED, dtype=np.int64)
        encoded = {}
        for segment_id, segment in segments.items():
            truth[ids == segment_id] = segment.label
            encoded[segment_id] = mask_utils.encode(np.asfortranarray((ids == segment_id).astype(np.uint8)))
        references = [
            {"image_id": image_id, "category_id": segment.label, "segmentation": encoded[segment_id], "iscrowd": int(segment.is_crowd),
             "area": float(mask_utils.area(encoded[segment_id])), "bbox": mask_utils.toBbox(encoded[segment_id]).tolist()}
            for segment_id, segment in segments.items()
            if self._is_thing[segment.label]
        ]  # fmt: skip
        detections = {
            protocol: [
                {
                    "image_id": image_id,
                    "category_id": k,
                    "segmentation": encoded[segment_ids[q]],
                    "score": float(classes[q, k]) * MASK_SCORE,
                }
                for q, k in pairs
                if self._is_thing[k]
            ]
            for protocol, pairs in (("osprey", _best_pairs(classes)), ("top1", _best_class_of_each(probabilities)))
        }
        quality = panoptic_counts(ids, segments, predicted, predicted_segments, num_classes)
        return _ImageScores(quality, semantic_counts(truth, semantic, num_classes, IGNORED), references, detections)

    def _read_png(self, name: str) -> np.ndarray:
        path = self.request.data.with_suffix("") / name
        if not path.exists():
            raise EvaluationError(f"there is no panoptic picture {path}; the PNGs belong in the folder {self.request.data.with_suffix('')}")
        with Image.open(path) as image:
            return ids_of_png(np.asarray(image.convert("RGB")))

    def _coco(self, image_ids: list[Any], references: list[dict[str, Any]]) -> Any:
        things = [index for index, is_thing in enumerate(self._is_thing) if is_thing]
        return make_coco(
            {
                "info": {},
                "images": [{"id": i, "width": self._images[i]["width"], "height": self._images[i]["height"]} for i in image_ids],
                "annotations": [{**reference, "id": number + 1} for number, reference in enumerate(references)],
                "categories": [{"id": index, "name": self._synonyms[index][0]} for index in things],
            }
        )


@dataclasses.dataclass(frozen=True)
class _ImageScores:
    """What one image adds: panoptic counts [K, 4], semantic counts [K, 3], thing references, detections by AP protocol."""

    quality: np.ndarray
    overlap: np.ndarray
    references: list[dict[str, Any]]
    detections: dict[str, list[dict[str, Any]]]


def _regions(annotation: dict[str, Any]) -> list[dict[str, Any]]:
    """The segments that are asked about: by id, the first 300 ids counting void (id 0) where the image has it."""
    return sorted((segment for segment in annotation["segments_info"] if segment["id"] != 0), key=lambda segment: segment["id"])[
        :MAX_REGIONS
    ]


def _best_pairs(classes: np.ndarray) -> list[tuple[int, int]]:
    """The 100 best (mask, class) pairs of an image, over all classes: stuff pairs take places that things then miss."""
    flat = np.argsort(-classes, axis=None, kind="stable")[:MAX_INSTANCES]
    pairs = [(int(index) // classes.shape[1], int(index) % classes.shape[1]) for index in flat]
    return [(q, k) for q, k in pairs if classes[q, k] > VOID_PROBABILITY]


def _best_class_of_each(probabilities: np.ndarray) -> list[tuple[int, int]]:
    best = probabilities.argmax(axis=1)
    order = np.argsort(-probabilities.max(axis=1), kind="stable")
    return [(int(q), int(best[q])) for q in order if best[q] != probabilities.shape[1] - 1][:MAX_INSTANCES]


def _of_flat(combine: Any, shape: tuple[int, ...], totals: np.ndarray) -> np.ndarray:
    return combine(totals.reshape(len(totals), *shape))
