"""The shipped tower and mask head on photographs that scikit-image brings along."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from safetensors import safe_open
from skimage import data
from torch import Tensor

from gpt4roi.models.embedded import ASSETS, PARTS_NAME, embedded_config
from gpt4roi.models.mask_head import MASK_HEAD_NAME, MaskHead, load_mask_head
from gpt4roi.models.vision_tower import VisionTower

SCALES = [[24], [32, 40], [96, 112], [320, 320]]


@cache
def shipped_tower() -> VisionTower:
    tower, prefix = VisionTower(embedded_config().vision_config), "vision_tower."
    with safe_open(str(ASSETS / PARTS_NAME), framework="pt") as file:
        names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
        tower.load_state_dict({name.removeprefix(prefix): file.get_tensor(name).float() for name in names}, strict=False)
    return tower.eval()


@cache
def shipped_head() -> MaskHead:
    return load_mask_head(ASSETS / MASK_HEAD_NAME)


def levels_of_image(rgb: np.ndarray) -> tuple[list[Tensor], tuple[int, int]]:
    """uint8[H, W, 3] to the tower's levels and the image's width and height."""
    height, width = embedded_config().vision_config.image_size_hw
    pixels = torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float() / 255
    pixels = torch.nn.functional.interpolate(pixels, size=(height, width), mode="bilinear", antialias=True, align_corners=False)
    with torch.inference_mode():
        levels = shipped_tower()((pixels - 0.5) / 0.5)[1]
    return levels, (rgb.shape[1], rgb.shape[0])


@cache
def tower_levels(name: str) -> tuple[list[Tensor], tuple[int, int]]:
    return levels_of_image(getattr(data, name)())
