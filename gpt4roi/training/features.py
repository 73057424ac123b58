"""The frozen vision tower's outputs, computed once and read afterwards (`cache_features`).

One file a picture, named after the content of the picture, the tower's weights and the preprocessing, so that a changed one is never
confused with the old. Files appear whole or not at all (write, then rename): several ranks or runs may fill one folder at once.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from gpt4roi.images import open_picture
from gpt4roi.models import GPT4RoIForConditionalGeneration, GPT4RoIProcessor
from gpt4roi.models.processing_gpt4roi import number_boxes
from gpt4roi.training.hardware import is_bf16_fast


class FeatureCache:
    """Folder of tower outputs in float16.

    Args:
      folder: may be shared by runs, towers and processes.
      fingerprint: of tower and preprocessing, see `tower_fingerprint`.
    """

    def __init__(self, folder: Path | str, fingerprint: str) -> None:
        self.folder = Path(folder) / fingerprint
        self._keys: dict[tuple[str, int, int], str] = {}

    def path(self, picture: Path | str) -> Path:
        """Where this picture's features are or would be. Content decides; the file is read again only if its size or time changed."""
        status = os.stat(picture)
        known = (str(picture), status.st_size, status.st_mtime_ns)
        if known not in self._keys:
            self._keys[known] = hashlib.blake2b(Path(picture).read_bytes(), digest_size=16).hexdigest()
        key = self._keys[known]
        return self.folder / key[:2] / f"{key}.safetensors"

    def read(self, picture: Path | str) -> tuple[list[Tensor], tuple[int, int]] | None:
        """([image features float16[P, C], levels float16[C_l, h_l, w_l] …], picture's width and height); None if they are not there."""
        try:
            with safe_open(str(self.path(picture)), framework="pt") as file:
                names = sorted(file.keys(), key=int)
                size = json.loads(file.metadata()["image_size_wh"])
                return [file.get_tensor(name) for name in names], (size[0], size[1])
        except (FileNotFoundError, SafetensorError):
            return None

    def write(self, picture: Path | str, tensors: Sequence[Tensor], image_size_wh: tuple[int, int]) -> None:
        path = self.path(picture)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        named = {str(index): tensor.to(device="cpu", dtype=torch.float16).contiguous() for index, tensor in enumerate(tensors)}
        save_file(named, str(partial), metadata={"image_size_wh": json.dumps(list(image_size_wh))})
        os.replace(partial, path)

    @torch.inference_mode()
    def fill(
        self,
        pictures: Iterable[Path],
        model: GPT4RoIForConditionalGeneration,
        processor: GPT4RoIProcessor,
        batch_size: int = 8,
        show_progress: bool = True,
    ) -> int:
        """Compute what is missing; returns how many pictures were computed."""
        missing = [picture for picture in dict.fromkeys(pictures) if not self.path(picture).exists()]
        tower = model.vision_tower.eval()
        device = next(tower.parameters()).device
        # Kept in float16 anyway; twice as fast where the processor has bfloat16.
        low_precision = torch.autocast("cpu", torch.bfloat16, enabled=device.type == "cpu" and is_bf16_fast("cpu"))
        bar = tqdm(total=len(missing), desc="vision features", unit="picture", disable=not show_progress or not missing)
        for start in range(0, len(missing), batch_size):
            chunk = missing[start : start + batch_size]
            opened = [open_picture(picture) for picture in chunk]
            pixels = torch.stack([processor.image_processor(picture) for picture in opened]).to(device)
            with low_precision:
                image_features, levels = tower(pixels)
            for row, (path, picture) in enumerate(zip(chunk, opened, strict=True)):
                self.write(path, [image_features[row], *(level[row] for level in levels)], picture.size)
            bar.update(len(chunk))
        bar.close()
        return len(missing)


def tower_fingerprint(model: GPT4RoIForConditionalGeneration, processor: GPT4RoIProcessor) -> str:
    """What the features depend on beside the picture: the tower's config and weights, and how a picture becomes `pixel_values`."""
    digest = hashlib.blake2b(digest_size=12)
    preprocessing = {name: value for name, value in processor.to_dict().items() if name.startswith("image_") or name == "resize"}
    digest.update(json.dumps([model.config.vision_config.to_dict(), preprocessing], sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.vision_tower.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().to("cpu", torch.float32).reshape(-1).numpy().tobytes())
    return digest.hexdigest()


class CachedFeaturesProcessor:
    """A processor that reads a picture's features instead of the picture; for `RegionCollator`, with `vision_outputs` in the batch."""

    def __init__(self, processor: GPT4RoIProcessor, cache: FeatureCache) -> None:
        self.processor = processor
        self.cache = cache
        self.encode = processor.encode

    def __call__(self, images: Any, conversations: Any, boxes: Any, labels: bool) -> Mapping[str, Any]:
        encoded, rows, box_rows = [], [], []
        for conversation, image, sample_boxes in zip(conversations, images, boxes, strict=True):
            numbered = number_boxes(sample_boxes)
            one = self.processor.encode(conversation, has_image=image is not None, known_numbers=list(numbered))
            encoded.append(one)
            if image is None:
                continue
            found = self.cache.read(image)
            if found is None:
                raise FileNotFoundError(f"the features of '{image}' are gone from the cache; start again to compute them")
            tensors, image_size_wh = found
            rows.append(tensors)
            box_rows.append(self.processor.region_boxes(numbered, one.region_numbers, image_size_wh))
        batch: dict[str, Any] = self.processor.pad(encoded, "right", labels)
        if rows:
            image_features, *levels = [torch.stack(column).float() for column in zip(*rows, strict=True)]
            batch["vision_outputs"] = (image_features, levels)
            batch["boxes_xyxy_norm"] = box_rows
        return batch
