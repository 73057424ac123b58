"""Stage 2 on features of pictures that the encoder had not seen (cross-fitting).

An encoder names the boxes that it was trained on nearly always rightly, those of a new photograph two times out of three. A language model
that learns to read the former trusts every feature and is lost on the latter. So stage 1 also fits one encoder for each fold of the
pictures, on all the others, and stage 2 reads each training picture with the encoder that does not know it. Answers are given with the
mean of them all.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from gpt4roi.models import GPT4RoIForConditionalGeneration, GPT4RoIProcessor
from gpt4roi.models.region_ensemble import RegionEnsemble
from gpt4roi.training.config import ConfigError
from gpt4roi.training.features import CachedFeaturesProcessor, FeatureCache

FOLDS_NAME = "folds.json"


def fold_of(picture: Path | str, folds: int) -> int:
    """Names that differ in the last digit of their number alone stay together: neighbours are often frames of one scene."""
    scene = re.sub(r"\d(?=\D*$)", "", Path(picture).stem)
    return int.from_bytes(hashlib.blake2b(scene.encode(), digest_size=4).digest(), "big") % folds


def fold_file(folder: Path, fold: int) -> Path:
    return folder / f"fold_{fold}.safetensors"


class CrossFittedProcessor(CachedFeaturesProcessor):
    """Finished features instead of pictures, each from the encoder that was fitted without its picture; `features` in the batch.

    Args:
      model: its own encoder and projector read what no fold knows, evaluation pictures for example. They must be frozen.
      folder: stage 1's output with `folds.json`, {picture: fold}, and the encoder and projector of each fold.
    Raises:
      ConfigError: the folder has no folds.
    """

    def __init__(
        self, processor: GPT4RoIProcessor, cache: FeatureCache, model: GPT4RoIForConditionalGeneration, folder: Path | str
    ) -> None:
        super().__init__(processor, cache)
        folder = Path(folder)
        if not (folder / FOLDS_NAME).is_file():
            raise ConfigError(f"cross_fitted: '{folder}' has no {FOLDS_NAME}; run stage 1 (objective: region_pretraining) with folds")
        self.fold_by_picture: dict[str, int] = json.loads((folder / FOLDS_NAME).read_text(encoding="utf-8"))
        self.own = (copy.deepcopy(model.multi_modal_projector).float().eval(), copy.deepcopy(model.region_encoder).float().eval())
        own = self.own[1]
        self.of_fold = []
        for fold in range(max(self.fold_by_picture.values()) + 1):
            projector, encoder = copy.deepcopy(self.own[0]), own.of_one() if isinstance(own, RegionEnsemble) else copy.deepcopy(own)
            state = load_file(fold_file(folder, fold))
            for name, part in (("multi_modal_projector.", projector), ("region_encoder.", encoder)):
                part.load_state_dict({key.removeprefix(name): value for key, value in state.items() if key.startswith(name)})
            self.of_fold.append((projector, encoder))

    def __call__(self, images: Any, conversations: Any, boxes: Any, labels: bool) -> Mapping[str, Any]:
        batch = dict(super().__call__(images, conversations, boxes, labels))
        if "vision_outputs" in batch:
            pictures = [str(image) for image in images if image is not None]
            image_features, levels = batch.pop("vision_outputs")
            batch["features"] = self._features(pictures, image_features, levels, batch.pop("boxes_xyxy_norm"))
        return batch

    @torch.no_grad()
    def _features(
        self, pictures: Sequence[str], image_features: Tensor, levels: Sequence[Tensor], boxes: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        of_images, of_regions = [], []
        for row, picture in enumerate(pictures):
            fold = self.fold_by_picture.get(picture)
            projector, encoder = self.own if fold is None else self.of_fold[fold]
            of_images.append(projector(image_features[row : row + 1]))
            of_regions.append(encoder([level[row : row + 1] for level in levels], [boxes[row]]))
        return torch.cat(of_images), torch.cat(of_regions)
