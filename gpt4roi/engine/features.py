"""What a prompt's placeholders stand for: features of pictures and of regions, each computed once."""

from __future__ import annotations

import time
from collections.abc import Hashable

import torch
from torch import Tensor

from gpt4roi.engine.byte_cache import ByteCache
from gpt4roi.engine.prompt import Prompt
from gpt4roi.models import GPT4RoIForConditionalGeneration, PictureFeatures


class FeatureCache:
    """Picture features by the picture's SHA-256, region features by (picture, box), each under its own budget of bytes."""

    def __init__(self, model: GPT4RoIForConditionalGeneration, picture_bytes: int, region_bytes: int) -> None:
        self.model = model
        self.pictures: ByteCache[PictureFeatures] = ByteCache(picture_bytes)
        self.regions: ByteCache[Tensor] = ByteCache(region_bytes)

    def picture(self, prompt: Prompt, timings: dict[str, float]) -> PictureFeatures | None:
        """Features of the prompt's picture; `timings` get `vision_s` and `picture_cached`."""
        start = time.perf_counter()
        features = None
        timings["picture_cached"] = 0
        if prompt.picture is not None:
            features = self.pictures.get(prompt.picture.key)
            if features is not None:
                timings["picture_cached"] = 1
            else:
                features = self.model.get_picture_features(prompt.picture.pixel_values[None].to(self.model.device))
                size = features.image_features.nbytes + sum(feature_map.nbytes for feature_map in features.maps)
                self.pictures.put(prompt.picture.key, features, size)
        timings["vision_s"] = time.perf_counter() - start
        return features

    def boxes(self, prompt: Prompt, features: PictureFeatures | None, timings: dict[str, float]) -> Tensor | None:
        """float[R, D], one row per region placeholder; `timings` get `regions_s`, `regions_encoded` and `regions_cached`."""
        start = time.perf_counter()
        if features is None or prompt.picture is None:
            timings.update(regions_s=0.0, regions_encoded=0, regions_cached=0)
            return None
        wanted = list(dict.fromkeys(prompt.region_boxes))
        known = {box: self.regions.get((prompt.picture.key, box)) for box in wanted}
        missing = [box for box in wanted if known[box] is None]
        if missing:
            computed = self.model.get_region_features(features, [torch.tensor(missing, dtype=torch.float32)])
            for box, row in zip(missing, computed, strict=True):
                # A row of its own: a view would keep all its neighbours alive.
                known[box] = row.clone()
                self.regions.put((prompt.picture.key, box), known[box], row.nbytes)  # type: ignore[arg-type]
        timings.update(regions_s=time.perf_counter() - start, regions_encoded=len(missing), regions_cached=len(wanted) - len(missing))
        if not wanted:
            return None
        return torch.stack([known[box] for box in prompt.region_boxes])  # type: ignore[misc]

    def clear(self) -> None:
        self.pictures.clear()
        self.regions.clear()


def position_keys(prompt: Prompt, image_token_id: int, region_token_id: int) -> list[Hashable]:
    """What each position of the prompt was computed from: its token, its picture, or its picture and box."""
    keys: list[Hashable] = []
    boxes = iter(prompt.region_boxes)
    picture = prompt.picture.key if prompt.picture is not None else ""
    for token in prompt.input_ids:
        if token == image_token_id:
            keys.append(picture)
        elif token == region_token_id:
            keys.append((picture, next(boxes)))
        else:
            keys.append(token)
    return keys
