"""What a prompt's placeholders stand for: features of images and of regions, each computed once."""

from __future__ import annotations

import time
from collections.abc import Hashable

import torch
from torch import Tensor

from gpt4roi.engine.byte_cache import ByteCache
from gpt4roi.engine.prompt import Prompt
from gpt4roi.models import GPT4RoIForConditionalGeneration, ImageFeatures


class FeatureCache:
    """Image features by the image's SHA-256, region features by (image, box), each under its own budget of bytes."""

    def __init__(self, model: GPT4RoIForConditionalGeneration, image_bytes: int, region_bytes: int) -> None:
        self.model = model
        self.images: ByteCache[ImageFeatures] = ByteCache(image_bytes)
        self.regions: ByteCache[Tensor] = ByteCache(region_bytes)

    def image(self, prompt: Prompt, timings: dict[str, float]) -> ImageFeatures | None:
        """Features of the prompt's image; `timings` get `vision_s` and `image_cached`."""
        start = time.perf_counter()
        features = None
        timings["image_cached"] = 0
        if prompt.image is not None:
            features = self.images.get(prompt.image.key)
            if features is not None:
                timings["image_cached"] = 1
            else:
                features = self.model.get_image_features(prompt.image.pixel_values[None].to(self.model.device))
                size = features.image_features.nbytes + sum(feature_map.nbytes for feature_map in features.maps)
                self.images.put(prompt.image.key, features, size)
        timings["vision_s"] = time.perf_counter() - start
        return features

    def boxes(self, prompt: Prompt, features: ImageFeatures | None, timings: dict[str, float]) -> Tensor | None:
        """float[R, D], one row per region placeholder; `timings` get `regions_s`, `regions_encoded` and `regions_cached`."""
        start = time.perf_counter()
        if features is None or prompt.image is None:
            timings.update(regions_s=0.0, regions_encoded=0, regions_cached=0)
            return None
        wanted = list(dict.fromkeys(prompt.region_boxes))
        known = {box: self.regions.get((prompt.image.key, box)) for box in wanted}
        missing = [box for box in wanted if known[box] is None]
        if missing:
            computed = self.model.get_region_features(features, [torch.tensor(missing, dtype=torch.float32)])
            for box, row in zip(missing, computed, strict=True):
                # A row of its own: a view would keep all its neighbours alive.
                known[box] = row.clone()
                self.regions.put((prompt.image.key, box), known[box], row.nbytes)  # type: ignore[arg-type]
        timings.update(regions_s=time.perf_counter() - start, regions_encoded=len(missing), regions_cached=len(wanted) - len(missing))
        if not wanted:
            return None
        return torch.stack([known[box] for box in prompt.region_boxes])  # type: ignore[misc]

    def clear(self) -> None:
        self.images.clear()
        self.regions.clear()


def position_keys(prompt: Prompt, image_token_id: int, region_token_id: int) -> list[Hashable]:
    """What each position of the prompt was computed from: its token, its image, or its image and box."""
    keys: list[Hashable] = []
    boxes = iter(prompt.region_boxes)
    image = prompt.image.key if prompt.image is not None else ""
    for token in prompt.input_ids:
        if token == image_token_id:
            keys.append(image)
        elif token == region_token_id:
            keys.append((image, next(boxes)))
        else:
            keys.append(token)
    return keys
