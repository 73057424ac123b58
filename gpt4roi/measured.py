"""Answers that are measured and not guessed: the colour of regions, from the pixels under their outlines."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from torch import Tensor

from gpt4roi.colors import COLORS, color_phrase, mask_color_fractions
from gpt4roi.engine import PreparedImage
from gpt4roi.masks import decode
from gpt4roi.meaning import color_question
from gpt4roi.models import GPT4RoIProcessor
from gpt4roi.models.mask_head import MaskHead
from gpt4roi.regions import Region

# A colour is there where so much of the thing has it.
PRESENT_SHARE = 0.25


def measured_answer(
    asked: str, regions: Sequence[Region], image: PreparedImage, processor: GPT4RoIProcessor, head: MaskHead, levels: Sequence[Tensor]
) -> str | None:
    """The answer to a question about the colour of regions; None for other questions, which are the language model's.

    Args:
      asked: the question with its regions named.
      regions: those that are meant, at least one.
      levels: the vision tower's, of the image.
    """
    offered = color_question(asked)
    if offered is None or (offered and len(regions) > 1):
        return None
    shares = [region_colors(region, image, processor, head, levels) for region in regions]
    if len(regions) > 1:
        return ", ".join(f"{region.mention} is {color_phrase(share)}" for region, share in zip(regions, shares, strict=True)) + "."
    phrase = color_phrase(shares[0]).capitalize()
    if not offered:
        return f"{phrase}."
    best = max(offered, key=lambda name: shares[0][COLORS.index(name)])
    is_there = shares[0][COLORS.index(best)] >= PRESENT_SHARE
    if len(offered) > 1:
        return f"{phrase}, so {best if is_there else 'neither'}."
    return f"{phrase}, so {'yes' if is_there else 'no'}."


def region_colors(
    region: Region, image: PreparedImage, processor: GPT4RoIProcessor, head: MaskHead, levels: Sequence[Tensor]
) -> np.ndarray:
    """Share of each of `COLORS` in a region, float64[11]; inside its mask, or inside the outline of what its box holds."""
    mask = region.mask or head.masks_of(levels, [region.box_xyxy], image.size_wh)[0]
    mean, std = np.array(processor.image_mean), np.array(processor.image_std)
    rgb = np.clip((image.pixel_values.permute(1, 2, 0).numpy() * std + mean) * 255 + 0.5, 0, 255).astype(np.uint8)
    small = cv2.resize(decode(mask).astype(np.uint8), (rgb.shape[1], rgb.shape[0]), interpolation=cv2.INTER_AREA).astype(bool)
    if not small.any():
        small = cv2.resize(decode(mask).astype(np.float32), (rgb.shape[1], rgb.shape[0]), interpolation=cv2.INTER_AREA) > 0
    return mask_color_fractions(rgb, small)
