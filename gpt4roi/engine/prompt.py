"""A conversation about a picture as the engine computes it: token ids, and which box stands behind each region placeholder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gpt4roi.boxes import normalise, validate_box
from gpt4roi.conversation import MENTION, Turn
from gpt4roi.engine.image import Picture
from gpt4roi.models import GPT4RoIProcessor

UnitBox = tuple[float, float, float, float]


@dataclass(frozen=True)
class Prompt:
    """`input_ids` with their placeholders; `region_boxes`, one box in [0, 1] of the picture per region placeholder, in order."""

    input_ids: list[int]
    region_boxes: list[UnitBox]
    picture: Picture | None


def build_prompt(
    processor: GPT4RoIProcessor,
    turns: Sequence[Turn],
    picture: Picture | None = None,
    regions: Mapping[int, Sequence[float]] | None = None,
) -> Prompt:
    """The prompt whose continuation is the next answer.

    A region that earlier turns named and that has been removed since stays in them as words, without features. In the last turn
    every region that is named must exist.

    Args:
      turns: the conversation; its last turn is the question.
      regions: boxes by region number, in pixels of the picture.
    Raises:
      ConversationError: the question names a region that is not there.
      BoxError: a box is empty or outside.
    """
    boxes = dict(regions or {})
    plain = processor.style.plain_mention

    def without_lost_mentions(turn: Turn) -> Turn:
        def words(match: object) -> str:
            number = int(match.group(1))  # type: ignore[attr-defined]
            return match.group(0) if number in boxes else plain.format(number=number)  # type: ignore[attr-defined]

        return Turn(turn.role, MENTION.sub(words, turn.content))

    kept = [without_lost_mentions(turn) for turn in turns[:-1]] + list(turns[-1:])
    encoded = processor.encode(kept, has_image=picture is not None, known_numbers=list(boxes), add_generation_prompt=True)
    if picture is None:
        return Prompt(encoded.input_ids, [], None)
    size = picture.size_wh
    checked = {number: validate_box(boxes[number], size, f"<region{number}>") for number in set(encoded.region_numbers)}
    rows = normalise([checked[number] for number in encoded.region_numbers], size)
    return Prompt(encoded.input_ids, [(row[0], row[1], row[2], row[3]) for row in rows.tolist()], picture)
