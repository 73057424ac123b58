"""Eyes on one picture: everything that was looked up about it, computed when first asked for and kept."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from gpt4roi.boxes import Box
from gpt4roi.engine import PreparedImage
from gpt4roi.eyes.finder import Candidates, all_candidates, find_names, other_things
from gpt4roi.eyes.names import Names, names
from gpt4roi.eyes.recogniser import Fusion, Reading
from gpt4roi.models import GPT4RoIForConditionalGeneration
from gpt4roi.models.embedded import ASSETS
from gpt4roi.models.eyes_net import EyesNet, Witnesses, detector_levels
from gpt4roi.models.int8 import dequantized
from gpt4roi.models.mask_head import has_mask_head
from gpt4roi.models.ssd_heads import Detections, class_scores_at

WEIGHTS = ASSETS / "eyes.safetensors"
# Pictures whose looked-up facts are kept.
KEPT = 8


@dataclass(frozen=True)
class Guess:
    """A name for a box with its probability, the next best ones, and the finer kind if one stands out."""

    name: str
    score: float
    runners_up: tuple[tuple[str, float], ...]
    kind: str | None = None


class Eyes:
    """Detector and recogniser on the embedded default's own vision tower. One object serves all conversations of a model."""

    def __init__(self, model: GPT4RoIForConditionalGeneration) -> None:
        self.model = model
        self.names: Names = names()
        stored = load_file(WEIGHTS)
        with safe_open(str(WEIGHTS), framework="pt") as file:
            num_names = json.loads(file.metadata()["names"])
        state = dequantized(stored)
        self.fusion = Fusion.new(self.names)
        self.fusion.load_state_dict({name[len("fusion.") :]: value for name, value in state.items() if name.startswith("fusion.")})
        self.net = EyesNet(model.vision_tower.tower, num_names, model.config.text_config.hidden_size)
        self.net.load_state_dict({name: value for name, value in state.items() if not name.startswith("fusion.")})
        self.fusion.eval()
        self.net.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._sights: OrderedDict[str, Sight] = OrderedDict()
        self._lock = threading.Lock()

    def sight(self, image: PreparedImage, levels: Sequence[Tensor]) -> Sight:
        """The picture as it was seen before, or anew. `levels`: the vision tower's, of the image."""
        with self._lock:
            found = self._sights.pop(image.key, None) or Sight(self, image, levels)
            self._sights[image.key] = found
            while len(self._sights) > KEPT:
                self._sights.popitem(last=False)
            return found


class Sight:
    """One picture. Boxes are in pixels of the original image."""

    def __init__(self, eyes: Eyes, image: PreparedImage, levels: Sequence[Tensor]) -> None:
        self.eyes = eyes
        self.names = eyes.names
        self.size_wh = image.size_wh
        self.rgb: np.ndarray = image.rgb
        self.levels = levels
        self._readings: dict[Box, Reading] = {}
        self._lock = threading.RLock()

    # Naming

    def readings(self, boxes: Sequence[Box]) -> list[Reading]:
        """What each box shows."""
        with self._lock, torch.inference_mode():
            missing = [box for box in dict.fromkeys(boxes) if box not in self._readings]
            if missing:
                for box, reading in zip(missing, self._read(missing), strict=True):
                    self._readings[box] = reading
            return [self._readings[box] for box in boxes]

    def guess(self, box: Box, among: Sequence[int] | None = None) -> Guess:
        """The best name of a box.

        Args:
          among: numbers of names to choose from, as a question that says "which animal" does; None for all.
        """
        scored = self.scores(box, among)
        best, *rest = sorted(scored.items(), key=lambda item: -item[1])[:6]
        ranked = tuple((self.names[index], score) for index, score in rest if score >= 0.02)
        return Guess(self.names[best[0]], best[1], ranked, self._kind(box, best[0]))

    def scores(self, box: Box, among: Sequence[int] | None = None) -> dict[int, float]:
        """Probability of names in a box; of `among` they sum to one, as somebody who asks "which animal" knows that it is one."""
        reading = self.readings([box])[0]
        common = {index: float(p) for index, p in zip(self.names.common, reading.probabilities, strict=True)}
        if among is None:
            return common
        chosen = {index: self._probability(reading, index, common) for index in among}
        total = sum(chosen.values())
        return {index: value / total for index, value in chosen.items()} if total > 0 else chosen

    def probability(self, box: Box, ids: Sequence[int]) -> float:
        """That the box shows one of the names; kinds of common names count with their share."""
        reading = self.readings([box])[0]
        common = {index: float(p) for index, p in zip(self.names.common, reading.probabilities, strict=True)}
        return min(1.0, sum(self._probability(reading, index, common) for index in dict.fromkeys(ids)))

    def _probability(self, reading: Reading, index: int, common: dict[int, float]) -> float:
        entry = self.names.entries[index]
        if entry.of is None:
            return common[index]
        kinds = [i for number in self.names.kinds_of(entry.of) for i in self.names.entries[number].imagenet]
        whole = float(reading.kinds[[*kinds, *self.names.entries[entry.of].imagenet]].sum())
        share = float(reading.kinds[list(entry.imagenet)].sum()) / max(whole, 1e-6)
        return common[entry.of] * share

    def _kind(self, box: Box, index: int) -> str | None:
        """A finer name that clearly leads: the ImageNet head is asked, and believed when it is sure."""
        if self.names.entries[index].of is not None:
            return None
        kinds = self.readings([box])[0].kinds
        scored = {number: float(kinds[list(self.names.entries[number].imagenet)].sum()) for number in self.names.kinds_of(index)}
        best = max(scored, key=lambda number: scored[number], default=None)
        return self.names[best] if best is not None and scored[best] >= 0.5 else None

    def _read(self, boxes: Sequence[Box]) -> list[Reading]:
        norm = self._normalised(boxes)
        net, model = self.eyes.net, self.eyes.model
        maps = model.region_encoder.fuse_levels(self.levels)
        region = model.region_encoder.pool_regions(maps, [norm])
        witnesses: Witnesses = net.witnesses(self.rgb, detector_levels(self.levels), class_scores_at(self._whole, norm), region, norm)
        areas = ((norm[:, 2] - norm[:, 0]) * (norm[:, 3] - norm[:, 1])).clamp(1e-4, 1)
        joined = self.eyes.fusion(witnesses, areas).softmax(-1)
        return [Reading(p, k) for p, k in zip(joined, witnesses.imagenet.softmax(-1), strict=True)]

    # Finding

    @cached_property
    def _whole(self) -> Detections:
        return self.eyes.net.detect(self.rgb)

    @cached_property
    def candidates(self) -> Candidates:
        """Boxes of the detector's classes and boxes of anything, from the whole picture and its parts, without doubles."""
        with self._lock, torch.inference_mode():
            return all_candidates([self._whole, *self.eyes.net.detect_parts(self.rgb)])

    @cached_property
    def rough(self) -> Tensor:
        """Names of the candidates of anything at first sight, without a crop of each: float32[M, common names]."""
        with self._lock, torch.inference_mode():
            boxes = self.candidates.anything
            net, model = self.eyes.net, self.eyes.model
            maps = model.region_encoder.fuse_levels(self.levels)
            region = model.region_encoder.pool_regions(maps, [boxes])
            witnesses = net.rough_witnesses(self.levels, class_scores_at(self._whole, boxes), region, boxes)
            areas = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).clamp(1e-4, 1)
            return self.eyes.fusion(witnesses, areas).softmax(-1)

    def find(self, ids: Sequence[int], threshold: float | None = None) -> list[tuple[Box, int, float]]:
        """Boxes that show one of the names, the surest first: (box, name, score). None is a result too."""
        return find_names(self, ids, threshold)

    def other_things(self) -> list[tuple[Box, int, float]]:
        """Boxes of names that the detector does not know, where the reader is sure: (box, name, score)."""
        return other_things(self)

    def pixels(self, boxes_xyxy_norm: Tensor) -> list[Box]:
        """Boxes in pixels of the original image, as plain numbers to a tenth."""
        width, height = self.size_wh
        scaled = boxes_xyxy_norm.clamp(0, 1) * torch.tensor([width, height, width, height])
        return [(round(a, 1), round(b, 1), round(c, 1), round(d, 1)) for a, b, c, d in scaled.tolist()]

    def _normalised(self, boxes: Sequence[Box]) -> Tensor:
        width, height = self.size_wh
        return (torch.tensor([list(box) for box in boxes]) / torch.tensor([width, height, width, height])).clamp(0, 1).float()


_eyes: dict[int, tuple[Any, Eyes]] = {}
_eyes_lock = threading.Lock()


def has_eyes(model: GPT4RoIForConditionalGeneration) -> bool:
    """Whether the shipped eyes fit this model's tower."""
    return WEIGHTS.exists() and has_mask_head(model)


def eyes_of(model: GPT4RoIForConditionalGeneration) -> Eyes:
    """The shipped eyes on this model's tower; loaded once."""
    with _eyes_lock:
        kept = _eyes.get(id(model))
        if kept is None or kept[0] is not model:
            kept = model, Eyes(model)
            _eyes.clear()
            _eyes[id(model)] = kept
        return kept[1]
