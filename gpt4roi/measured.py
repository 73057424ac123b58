"""Answers that are measured and not guessed: the colour of regions, from the pixels under their outlines."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from torch import Tensor

from gpt4roi.colors import COLORS, color_phrase, mask_color_fractions
from gpt4roi.masks import decode
from gpt4roi.meaning import color_question
from gpt4roi.models.mask_head import MaskHead
from gpt4roi.regions import Region

# A colour is there where so much of the thing has it.
PRESENT_SHARE = 0.25


def measurable(asked: str, num_regions: int) -> tuple[str, ...] | None:
    """The colours that a question offers (`color_question`) if it can be measured; None for questions that are the language model's."""
    offered = color_question(asked)
    return None if num_regions == 0 or (offered and num_regions > 1) else offered


def color_answer(offered: Sequence[str], regions: Sequence[Region], colors: Callable[[Region], np.ndarray]) -> str:
    """The answer to a question about the colour of regions.

    Args:
      offered: from `measurable`.
      regions: those that are meant, at least one.
      colors: shares of `COLORS` in a region, float64[11].
    """
    shares = [colors(region) for region in regions]
    if len(regions) > 1:
        return ", ".join(f"{region.mention} is {color_phrase(share)}" for region, share in zip(regions, shares, strict=True)) + "."
    phrase = color_phrase(shares[0]).capitalize()
    if not offered:
        return f"{phrase}."
    best = max(offered, key=lambda name: shares[0][COLORS.index(name)])
    is_there = shares[0][COLORS.index(best)] >= PRESENT_SHARE
    if len(offered) > 1:
        return f"{best.capitalize()}." if is_there else f"{phrase}, so neither."
    return f"{'Yes' if is_there else 'No'}, it is {phrase.lower()}."


def region_colors(region: Region, rgb: np.ndarray, image_size_wh: tuple[int, int], head: MaskHead, levels: Sequence[Tensor]) -> np.ndarray:
    """Share of each of `COLORS` in a region, float64[11]; inside its mask, or inside the outline of what its box holds.

    `rgb`: uint8[h, w, 3], the whole image at any size.
    """
    mask = decode(region.mask or head.masks_of(levels, [region.box_xyxy], image_size_wh)[0])
    size = rgb.shape[1], rgb.shape[0]
    small = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_AREA).astype(bool)
    if not small.any():
        small = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
    return mask_color_fractions(rgb, small)
