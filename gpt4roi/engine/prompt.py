"""A conversation about an image as the engine computes it: token ids, and which box stands behind each region placeholder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gpt4roi.boxes import Box, normalise, validate_box
from gpt4roi.conversation import MENTION, Turn
from gpt4roi.engine.image import PreparedImage
from gpt4roi.masks import check_size
from gpt4roi.models import GPT4RoIProcessor
from gpt4roi.regions import Region


class RegionInput(NamedTuple):
    """What a region placeholder stands for: a box in [0, 1] of the image, and of its mask, if it has one, the COCO run lengths."""

    box_xyxy_norm: Box
    mask_counts: str | None


@dataclass(frozen=True)
class Prompt:
    """`input_ids` with their placeholders, and in the order of the region placeholders `regions`, what stands behind each."""

    input_ids: list[int]
    regions: list[RegionInput]
    image: PreparedImage | None


def build_prompt(
    processor: GPT4RoIProcessor,
    turns: Sequence[Turn],
    image: PreparedImage | None = None,
    regions: Mapping[int, Region] | None = None,
) -> Prompt:
    """The prompt whose continuation is the next answer.

    A region that earlier turns named and that has been removed since stays in them as words, without features. In the last turn
    every region that is named must exist.

    Args:
      turns: the conversation; its last turn is the question.
      regions: by number; boxes and masks in pixels of the image.
    Raises:
      ConversationError: the question names a region that is not there.
      BoxError: a box is empty or outside.
    """
    known = dict(regions or {})
    plain = processor.style.plain_mention

    def without_lost_mentions(turn: Turn) -> Turn:
        def words(match: object) -> str:
            number = int(match.group(1))  # type: ignore[attr-defined]
            return match.group(0) if number in known else plain.format(number=number)  # type: ignore[attr-defined]

        return Turn(turn.role, MENTION.sub(words, turn.content))

    kept = [without_lost_mentions(turn) for turn in turns[:-1]] + list(turns[-1:])
    encoded = processor.encode(kept, has_image=image is not None, known_numbers=list(known), add_generation_prompt=True)
    if image is None:
        return Prompt(encoded.input_ids, [], None)
    size = image.size_wh
    inputs: dict[int, RegionInput] = {}
    for number in set(encoded.region_numbers):
        region = known[number]
        x0, y0, x1, y1 = normalise([validate_box(region.box_xyxy, size, region.mention)], size)[0].tolist()
        inputs[number] = RegionInput((x0, y0, x1, y1), None if region.mask is None else check_size(region.mask, size)["counts"])
    return Prompt(encoded.input_ids, [inputs[number] for number in encoded.region_numbers], image)
