"""What a prompt's placeholders stand for: features of images and of regions, each computed once."""

from __future__ import annotations

import time
from collections.abc import Hashable

import numpy as np
import torch
from torch import Tensor

from gpt4roi.engine.byte_cache import ByteCache
from gpt4roi.engine.image import PreparedImage
from gpt4roi.engine.prompt import Prompt, RegionInput
from gpt4roi.masks import Rle, bins
from gpt4roi.models import GPT4RoIForConditionalGeneration, ImageFeatures


class FeatureCache:
    """Image features by the image's SHA-256, region features by (image, box, mask), each under its own budget of bytes."""

    def __init__(self, model: GPT4RoIForConditionalGeneration, image_bytes: int, region_bytes: int) -> None:
        self.model = model
        self.images: ByteCache[ImageFeatures] = ByteCache(image_bytes)
        self.regions: ByteCache[Tensor] = ByteCache(region_bytes)

    def image(self, prompt: Prompt, timings: dict[str, float]) -> ImageFeatures | None:
        """Features of the prompt's image; `timings` get `vision_s` and `image_cached`."""
        start = time.perf_counter()
        features, timings["image_cached"] = (None, 0) if prompt.image is None else self.of(prompt.image)
        timings["vision_s"] = time.perf_counter() - start
        return features

    def of(self, image: PreparedImage) -> tuple[ImageFeatures, bool]:
        """Features of an image, and whether they were kept."""
        kept = self.images.get(image.key)
        if kept is not None:
            return kept, True
        features = self.model.get_image_features(image.pixel_values[None].to(self.model.device))
        self.images.put(image.key, features, sum(part.nbytes for part in (features.image_features, *features.maps, *features.levels)))
        return features, False

    def boxes(self, prompt: Prompt, features: ImageFeatures | None, timings: dict[str, float]) -> Tensor | None:
        """float[R, D], one row per region placeholder; `timings` get `regions_s`, `regions_encoded` and `regions_cached`."""
        start = time.perf_counter()
        if features is None or prompt.image is None:
            timings.update(regions_s=0.0, regions_encoded=0, regions_cached=0)
            return None
        wanted = list(dict.fromkeys(prompt.regions))
        known = {region: self.regions.get((prompt.image.key, region)) for region in wanted}
        missing = [region for region in wanted if known[region] is None]
        if missing:
            boxes = torch.tensor([region.box_xyxy_norm for region in missing], dtype=torch.float32)
            computed = self.model.get_region_features(features, [boxes], self._bins(missing, prompt.image.size_wh))
            for region, row in zip(missing, computed, strict=True):
                # A row of its own: a view would keep all its neighbours alive.
                known[region] = row.clone()
                self.regions.put((prompt.image.key, region), known[region], row.nbytes)  # type: ignore[arg-type]
        timings.update(regions_s=time.perf_counter() - start, regions_encoded=len(missing), regions_cached=len(wanted) - len(missing))
        if not wanted:
            return None
        return torch.stack([known[region] for region in prompt.regions])  # type: ignore[misc]

    def _bins(self, regions: list[RegionInput], size_wh: tuple[int, int]) -> Tensor | None:
        """float32[R, s, s]: what the masks cover of the RoI bins, a box without one covers all; None where there is no mask."""
        if all(region.mask_counts is None for region in regions):
            return None
        width, height = size_wh
        size = self.model.config.region_config.roi_size
        rows = []
        for (x0, y0, x1, y1), counts in regions:
            mask: Rle | None = None if counts is None else {"size": [height, width], "counts": counts}
            rows.append(bins(mask, (x0 * width, y0 * height, x1 * width, y1 * height), size))
        return torch.from_numpy(np.stack(rows))

    def clear(self) -> None:
        self.images.clear()
        self.regions.clear()


def position_keys(prompt: Prompt, image_token_id: int, region_token_id: int) -> list[Hashable]:
    """What each position of the prompt was computed from: its token, its image, or its image and box."""
    keys: list[Hashable] = []
    regions = iter(prompt.regions)
    image = prompt.image.key if prompt.image is not None else ""
    for token in prompt.input_ids:
        if token == image_token_id:
            keys.append(image)
        elif token == region_token_id:
            keys.append((image, next(regions)))
        else:
            keys.append(token)
    return keys
