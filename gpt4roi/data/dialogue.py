"""From questions and answers to a Sample: what every reader ends with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gpt4roi.conversation import Turn
from gpt4roi.data.sample import Sample
from gpt4roi.data.seeding import generator
from gpt4roi.data.templates import Question
from gpt4roi.regions import Region

MIN_SIDE_PX = 1.0


class SampleList(list[Sample]):
    """Samples, and a count of what the reader left out and why (`left_out`)."""

    def __init__(self, samples: Iterable[Sample] = (), left_out: Counter[str] | None = None) -> None:
        super().__init__(samples)
        self.left_out: Counter[str] = Counter() if left_out is None else left_out


def dialogue_sample(
    image: Path | None,
    regions: Sequence[Region],
    exchanges: Sequence[tuple[Question | str, str]],
    *,
    sample_id: str,
    image_size_wh: tuple[int, int] | None = None,
    seed: int = 0,
    extra: dict[str, Any] | None = None,
) -> Sample:
    """A sample of question-answer exchanges; a `Question` is put into words now and again in every epoch (`templates.worded`)."""
    turns: list[Turn] = []
    questions: list[Question | None] = []
    for question, answer in exchanges:
        asked = question if isinstance(question, Question) else None
        text = question if isinstance(question, str) else question.text(seed, 0, sample_id, len(turns))
        turns += [Turn("user", text), Turn("assistant", answer)]
        questions += [asked, None]
    return Sample(image, tuple(regions), tuple(turns), sample_id, image_size_wh, {**(extra or {}), "questions": tuple(questions)})


def usable_box(
    box_xyxy: Sequence[float], image_size_wh: tuple[int, int] | None, min_side: float = MIN_SIDE_PX
) -> tuple[float, float, float, float] | None:
    """The box in pixels clipped to the image; None if less than `min_side` pixels of width or height are left.

    Published files hold boxes that leave their image (Visual Genome) or have no area; a reader counts them as left out.
    """
    x0, y0, x1, y1 = (float(value) for value in box_xyxy)
    if image_size_wh is not None:
        width, height = image_size_wh
        x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
    # Written so that a coordinate which is not a number fails too.
    return (x0, y0, x1, y1) if x1 - x0 >= min_side and y1 - y0 >= min_side else None


def shuffled_chunks(items: Sequence[Any], max_items: int, *key: object) -> list[list[Any]]:
    """All items in an order that depends on the key alone, cut into pieces of at most `max_items`.

    Items travel whole, so a label can never part from its box, and nothing is lost to the limit.
    """
    order = generator("shuffle", *key).permutation(len(items))
    return [[items[i] for i in order[start : start + max_items]] for start in range(0, len(items), max_items)]
