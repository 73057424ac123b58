"""Region captioning on RefCOCOg and Visual Genome, with several references per region.

Data, any of:
- mdetr-style `finetune_refcocog_{val,test}.json`: one entry of `images` per expression; expressions of one box become its references;
- COCO-style with a caption per annotation (GRiT's and GLaMM's Visual Genome `test.json`): `annotations[].caption`;
- Visual Genome's `region_descriptions.json`: `[{"id", "regions": [{"region_id", "image_id", "x", "y", "width", "height", "phrase"}]}]`;
- JSONL `{"id", "image", "box_xyxy", "captions": […]}`.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

from gpt4roi.evaluation.captioning import bleu_of_totals, score_captions
from gpt4roi.evaluation.items import Box, EvaluationError, Figure, Item, cluster_of, figure_of_totals, mean_figure
from gpt4roi.evaluation.task import Request, Task, as_box, box_of_xywh, image_path
from gpt4roi.evaluation.tasks.rec import read_list

QUESTION = "Give a short description of <region1>."


@dataclasses.dataclass(frozen=True)
class _Region:
    key: str
    file_name: str
    box: Box
    captions: tuple[str, ...]


class RegionCaption(Task):
    """CIDEr, METEOR, BLEU-4 and ROUGE-L; each region is one "image" of pycocoevalcap."""

    name = "region_caption"
    max_new_tokens = 64
    protocol = (
        "pycocoevalcap with the region as image id; references of one box are merged; answers lower-cased, final full stop stripped, at most 64 "
        "tokens. CIDEr is 100 x CIDEr-D (up to 1000). Intervals of CIDEr keep the document frequencies of the full set."
    )

    def __init__(self, request: Request, java: bool | None = None) -> None:
        super().__init__(request)
        self._java = java
        self._notes: list[str] = []

    def items(self) -> list[Item]:
        data = read_list(self.request.data)
        try:
            regions = self._read(data)
        except (KeyError, TypeError, IndexError) as error:
            raise EvaluationError(f"{self.request.data} holds no region captions: {error!r}") from error
        captions = tuple(caption for region in regions for caption in region.captions[:1])
        return [
            Item(
                id=region.key,
                question=QUESTION,
                image=image_path(self.request, region.file_name),
                boxes_xyxy=(region.box,),
                references=region.captions,
                candidates=captions,
            )
            for region in regions
        ]

    def _read(self, data: Any) -> list[_Region]:
        if isinstance(data, dict):
            images = {image["id"]: image for image in data["images"]}
            if data["annotations"] and "caption" in data["annotations"][0]:
                rows = [
                    (str(a["id"]), images[a["image_id"]]["file_name"], box_of_xywh(a["bbox"]), (a["caption"],)) for a in data["annotations"]
                ]
            else:
                rows = [
                    (str(a["id"]), images[a["image_id"]]["file_name"], box_of_xywh(a["bbox"]), (images[a["image_id"]]["caption"],))
                    for a in data["annotations"]
                ]
        elif data and "regions" in data[0] and "phrase" in (data[0]["regions"] or [{"phrase": ""}])[0]:
            rows = [
                (
                    str(r["region_id"]),
                    f"{r.get('image_id', image['id'])}.jpg",
                    box_of_xywh((r["x"], r["y"], r["width"], r["height"])),
                    (r["phrase"],),
                )
                for image in data
                for r in image["regions"]
            ]
        else:
            rows = [(str(r.get("id", index)), r["image"], as_box(r["box_xyxy"]), tuple(r["captions"])) for index, r in enumerate(data)]
        merged: dict[tuple[str, Box], _Region] = {}
        for key, file_name, box, captions in rows:
            at = (file_name, box)
            merged[at] = (
                dataclasses.replace(merged[at], captions=(*merged[at].captions, *captions))
                if at in merged
                else _Region(key, file_name, box, captions)
            )
        return list(merged.values())

    def parse(self, item: Item, output: Any) -> Any | None:
        text = output.strip().lower().rstrip(".").strip() if isinstance(output, str) else ""
        return text or None

    def score(self, item: Item, parsed: Any | None) -> float:
        """ROUGE-L-like word overlap with the best reference, for the report's order; not a reported metric."""
        words = set((parsed or "").split())
        return max(
            (len(words & set(r.lower().split())) / max(len(words | set(r.lower().split())), 1) for r in item.references), default=0.0
        )

    def figures(self, items: list[Item], parsed: list[Any | None]) -> dict[str, Figure]:
        references = {item.id: [caption.lower().rstrip(".") for caption in item.references] for item in items}
        scores = score_captions(references, {item.id: value or "" for item, value in zip(items, parsed, strict=True)}, self._java)
        self._notes = scores.notes
        figures: dict[str, Figure] = {}
        for name in ("cider", "meteor", "rouge_l"):
            if name in scores.per_item:
                # The corpus figure is the official one; METEOR's is no mean of the items'.
                figures[name] = dataclasses.replace(mean_figure(list(scores.per_item[name]), items), value=100 * scores.corpus[name])
        clusters = [cluster_of(item) for item in items]
        for order in (1, 4):
            figures[f"bleu_{order}"] = figure_of_totals(scores.bleu, clusters, partial(bleu_of_totals, order=order), len(items))
        return figures

    def notes(self) -> list[str]:
        return self._notes
