"""Referring object classification on LVIS and PACO: SS and S-IoU by the Osprey protocol, and Ferret's two-way choice.

Data: `lvis_val_1k_category.json` / `paco_val_1k_category.json` (a list of images with `file_name`, `height`, `width`, `categories`, one
name per entry of `annotations`, and `annotations[]` with `bbox` xywh), or a standard LVIS file (`images`, `annotations`, `categories` with
`synonyms`).
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import numpy as np

from gpt4roi.evaluation.items import EvaluationError, Figure, Item, mean_figure
from gpt4roi.evaluation.sentence_similarity import Embedder, MiniLM
from gpt4roi.evaluation.task import Request, Task, box_of_xywh, image_path

# Osprey, osprey/eval/lvis_paco_eval.py@8bfdfe9.
QUESTION = "What is the category of <region1>? Using only one word or phrase."
# Ferret (arXiv:2310.07704), section 5.1, with the region in place of its location.
TWO_WAY_QUESTION = "Is the object <region1> of the image a {} or a {}?"
_DENIED = re.compile(r"\b(?:not|no)\b[^,.;!?]*", re.IGNORECASE)


def reference_text(category: str) -> str:
    """PACO writes `mug:handle`, LVIS `dish_antenna`; both compare as words."""
    return category.replace("_", " ").replace(":", " ")


def prediction_text(output: str) -> str:
    """Osprey's clean-up: behind the first colon if there is one, then full stops, colons and commas to spaces."""
    text = output.strip()
    if ":" in text:
        text = text.split(":")[1]
    return text.replace(".", " ").replace(":", " ").replace(",", " ")


def semantic_iou(prediction: str, reference: str) -> float:
    """Overlap of the two sets of lower-cased words; 0 for two empty texts (the original divides by zero)."""
    a, b = set(prediction.lower().split()), set(reference.lower().split())
    return len(a & b) / len(a | b) if a | b else 0.0


def says(answer: str, names: tuple[str, ...]) -> bool:
    """One of the names is a substring of the answer after its denials ("not a …", "no …") are cut out."""
    text = _DENIED.sub(" ", answer.lower())
    return any(reference_text(name).lower() in text for name in names)


class Referring(Task):
    """SS and S-IoU (variant `describe`), or the choice between the right and one other category (`two_way`)."""

    variants = ("describe", "two_way")
    max_new_tokens = 24
    protocol = (
        "describe: SS = 100 x mean cosine of all-MiniLM-L6-v2 embeddings of answer and category (case kept), S-IoU = 100 x mean word-set "
        "overlap; Osprey's prompt and clean-up, but greedy where the original samples at T = 0.2; boxes as prompts. two_way: Ferret's "
        "question; the wrong category is another of the file, order and category drawn from --seed and the id; right if the category or a "
        "synonym is in the answer after denials are cut; two_way_exclusive also asks that the wrong one is not."
    )

    def __init__(self, request: Request, embed: Embedder | None = None) -> None:
        super().__init__(request)
        self._embed = embed or MiniLM()

    def items(self) -> list[Item]:
        data = json.loads(self.request.data.read_text(encoding="utf-8"))
        try:
            objects = list(self._per_image(data)) if isinstance(data, list) else list(self._standard(data))
        except (KeyError, TypeError) as error:
            raise EvaluationError(f"{self.request.data} is neither a 1k category list nor an LVIS file: {error!r}") from error
        names = sorted({names[0] for _, _, _, names in objects})
        return [self._item(item_id, file_name, bbox, own, names) for item_id, file_name, bbox, own in objects]

    def _per_image(self, data: list[dict[str, Any]]) -> Any:
        for image in data:
            for index, (category, annotation) in enumerate(zip(image["categories"], image["annotations"], strict=True)):
                yield f"{image['file_name']}:{index}", image["file_name"], annotation["bbox"], (category,)

    def _standard(self, data: dict[str, Any]) -> Any:
        files = {image["id"]: image.get("file_name") or image["coco_url"].rsplit("/", 1)[-1] for image in data["images"]}
        names = {category["id"]: tuple(dict.fromkeys([category["name"], *category.get("synonyms", [])])) for category in data["categories"]}
        for annotation in data["annotations"]:
            yield f"{annotation['id']}", files[annotation["image_id"]], annotation["bbox"], names[annotation["category_id"]]

    def _item(self, item_id: str, file_name: str, bbox: list[float], names: tuple[str, ...], all_names: list[str]) -> Item:
        shown = [reference_text(name) for name in names]
        question, candidates = QUESTION, tuple(reference_text(name) for name in all_names)
        extra: dict[str, Any] = {}
        if self.variant == "two_way":
            digest = hashlib.sha256(f"{self.request.seed}:{item_id}".encode()).digest()
            generator = np.random.default_rng(int.from_bytes(digest[:8], "little"))
            others = [reference_text(name) for name in all_names if name not in names]
            if not others:
                raise EvaluationError(f"{self.request.data} holds one category only; a two-way choice needs another")
            wrong = others[generator.integers(len(others))]
            pair = [shown[0], wrong] if generator.random() < 0.5 else [wrong, shown[0]]
            question, candidates = TWO_WAY_QUESTION.format(*pair), tuple(pair)
            extra["wrong"] = wrong
        return Item(
            id=item_id,
            question=question,
            image=image_path(self.request, file_name),
            boxes_xyxy=(box_of_xywh(bbox),),
            references=tuple(shown),
            candidates=candidates,
            extra=extra,
        )

    def parse(self, item: Item, output: Any) -> Any | None:
        """The cleaned text; the raw answer for the two-way choice. None when nothing is left."""
        if not isinstance(output, str):
            return None
        text = output if self.variant == "two_way" else prediction_text(output)
        return text if text.strip() else None

    def score(self, item: Item, parsed: Any | None) -> float:
        if parsed is None:
            return 0.0
        return float(says(parsed, item.references)) if self.variant == "two_way" else semantic_iou(parsed, item.references[0])

    def figures(self, items: list[Item], parsed: list[Any | None]) -> dict[str, Figure]:
        scores = [self.score(item, value) for item, value in zip(items, parsed, strict=True)]
        if self.variant == "two_way":
            exclusive = [
                float(score and value is not None and not self._says_wrong(item, value))
                for item, value, score in zip(items, parsed, scores, strict=True)
            ]
            return {"two_way": mean_figure(scores, items, chance=50.0), "two_way_exclusive": mean_figure(exclusive, items, chance=50.0)}
        predictions = self._embed([value or "" for value in parsed])
        references = self._embed([item.references[0] for item in items])
        similarity = (predictions * references).sum(axis=1)
        # An unparsable answer scores 0, not the similarity of an empty text.
        similar = [float(s) if value is not None else 0.0 for s, value in zip(similarity, parsed, strict=True)]
        return {"ss": mean_figure(similar, items), "s_iou": mean_figure(scores, items)}

    def _says_wrong(self, item: Item, answer: str) -> bool:
        # "fire truck" contains "truck": a wrong name inside the right one is no mention of it.
        text = answer.lower()
        for name in sorted(item.references, key=len, reverse=True):
            text = text.replace(name.lower(), " ")
        return says(text, (item.extra["wrong"],))


class LvisReferring(Referring):
    """LVIS val, 1,000 images, 4,004 objects."""

    name = "lvis_referring"


class PacoReferring(Referring):
    """PACO val, 1,000 images, 4,263 objects and parts."""

    name = "paco_referring"
