"""Regions: what a conversation can point at. The only place that hands out region numbers, and the one JSON form of a region.

`<region2>` is the region with number 2, whoever mentions it and wherever it stands in a list. The JSON form:

    {"number": 2, "box_xyxy": [x0, y0, x1, y1], "label": "dog", "mask": {"size": [h, w], "counts": "…"}, "points": [[x, y], …],
     "score": 0.9, "runners_up": [{"label": "cat", "score": 0.1}], "origin": "found", "step": "s1"}

All coordinates are pixels of the original image. `number` and `box_xyxy` are always written, the rest where it is known. On reading, an
absent number means position + 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

from gpt4roi import masks
from gpt4roi.boxes import Box, as_boxes, to_pixels, validate_box
from gpt4roi.errors import UserError
from gpt4roi.masks import Rle

Point = tuple[float, float]
Origin = Literal["drawn", "imported", "found"]
MAX_NUMBER = 100_000


class RegionError(UserError):
    """A region that cannot be used, or a number that does not exist."""


@dataclass(frozen=True)
class Region:
    """One numbered thing on one image.

    Iterating gives the four numbers of its box, so that a region stands wherever a box is taken.

    Attributes:
      number: what texts call it: 2 is `<region2>`.
      box_xyxy: x0, y0, x1, y1 in pixels of the original image.
      label: what it is, if somebody said so.
      mask: COCO run lengths in the same frame; None where the whole box is meant.
      points: what a person clicked or scribbled, x, y in pixels.
      score: probability of `label`; None when a person drew it.
      runners_up: the next best labels with their probabilities.
      origin: who made it: `drawn` by a person, `imported` from a file, `found` by a model.
      step: the plan step that found it.
    """

    number: int
    box_xyxy: Box
    label: str | None = None
    mask: Rle | None = None
    points: tuple[Point, ...] = ()
    score: float | None = None
    runners_up: tuple[tuple[str, float], ...] = ()
    origin: Origin = "drawn"
    step: str | None = None

    def __iter__(self) -> Iterator[float]:
        return iter(self.box_xyxy)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> float:
        return self.box_xyxy[index]

    @property
    def mention(self) -> str:
        """How texts name it: `<region2>`."""
        return f"<region{self.number}>"

    def to_record(self) -> dict[str, Any]:
        """The JSON form; coordinates to a thousandth of a pixel."""
        record: dict[str, Any] = {"number": self.number, "box_xyxy": [round(value, 3) for value in self.box_xyxy]}
        if self.label is not None:
            record["label"] = self.label
        if self.mask is not None:
            record["mask"] = dict(self.mask)
        if self.points:
            record["points"] = [[round(x, 3), round(y, 3)] for x, y in self.points]
        if self.score is not None:
            record["score"] = round(self.score, 4)
        if self.runners_up:
            record["runners_up"] = [{"label": label, "score": round(score, 4)} for label, score in self.runners_up]
        if self.origin != "drawn":
            record["origin"] = self.origin
        if self.step is not None:
            record["step"] = self.step
        return record


class RegionSet(Mapping[int, Region]):
    """The regions of one image by number, with their history.

    A number is never given twice, not even after its region was removed, and never shifts.

    Args:
      image_size_wh: width and height of the original image in pixels. Boxes are checked against it; None (a file whose image was not
        opened) checks form alone.
    """

    def __init__(self, image_size_wh: tuple[int, int] | None = None) -> None:
        self.image_size_wh = image_size_wh
        self._regions: dict[int, Region] = {}
        self._last_number = 0
        self._undo: list[dict[int, Region]] = []
        self._redo: list[dict[int, Region]] = []

    def __getitem__(self, number: int) -> Region:
        if number not in self._regions:
            drawn = ", ".join(region.mention for region in self.values()) or "none"
            raise RegionError(f"there is no <region{number}>; drawn so far: {drawn}")
        return self._regions[number]

    def __contains__(self, number: object) -> bool:
        return number in self._regions

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._regions))

    def __len__(self) -> int:
        return len(self._regions)

    # Changes; each can be undone

    def add(
        self,
        box: Sequence[float] | None = None,
        *,
        space: str = "pixels",
        number: int | None = None,
        label: str | None = None,
        mask: Rle | None = None,
        points: Sequence[Sequence[float]] = (),
        score: float | None = None,
        runners_up: Sequence[tuple[str, float]] = (),
        origin: Origin = "drawn",
        step: str | None = None,
    ) -> Region:
        """Add a region; returns it with its number.

        Args:
          box: x0, y0, x1, y1 in `space`; may be left out where `mask` is given, whose tight box is taken.
          number: the number that it shall have; by default the next one that no region has ever had.
        Raises:
          BoxError, MaskError: the box or mask cannot be used.
          RegionError: the number is taken, or there is neither box nor mask.
        """
        number = self._last_number + 1 if number is None else self._free(number)
        region = Region(
            number,
            self._checked_box(box, mask, space, number),
            label,
            mask,
            tuple((float(x), float(y)) for x, y in points),
            score,
            tuple(runners_up),
            origin,
            step,
        )
        return self._put(region)

    def add_found(self, regions: Iterable[Region]) -> list[Region]:
        """Take regions that a model found, numbered in one go in the order given; their own numbers are ignored. One undo takes all back."""
        kept = dict(self._regions)
        found = []
        for number, region in enumerate(regions, self._last_number + 1):
            box = self._checked_box(region.box_xyxy, region.mask, "pixels", number)
            kept[number] = replace(region, number=number, box_xyxy=box, origin="found")
            found.append(kept[number])
        if found:
            self._change(kept)
            self._last_number = found[-1].number
        return found

    def move(self, number: int, box: Sequence[float] | None = None, *, space: str = "pixels", mask: Rle | None = None) -> Region:
        """Give a region another box or mask. What belonged to the old place (label, score, points) is forgotten."""
        old = self[number]
        moved = Region(number, self._checked_box(box, mask, space, number), mask=mask)
        if (moved.box_xyxy, moved.mask) == (old.box_xyxy, old.mask):
            return old
        self._change({**self._regions, number: moved})
        return moved

    def outline(self, number: int, mask: Rle) -> Region:
        """Give a region a mask and keep all else."""
        region = replace(self[number], mask=mask)
        self._change({**self._regions, number: region})
        return region

    def label(self, number: int, label: str | None) -> Region:
        """Name a region as a person does: the name replaces the model's, with its score and runners-up."""
        named = replace(self[number], label=label, score=None, runners_up=())
        self._change({**self._regions, number: named})
        return named

    def remove(self, number: int) -> Region:
        """Take a region away. Its number is not given again."""
        removed = self[number]
        self._change({n: region for n, region in self._regions.items() if n != number})
        return removed

    def undo(self) -> bool:
        """Take the last change back; False where there is none."""
        return self._step(self._undo, self._redo)

    def redo(self) -> bool:
        """Make an undone change again; False where there is none."""
        return self._step(self._redo, self._undo)

    @property
    def can_undo(self) -> bool:
        return bool(self._undo)

    @property
    def can_redo(self) -> bool:
        return bool(self._redo)

    # The JSON form

    def to_records(self) -> list[dict[str, Any]]:
        """All regions in the order of their numbers."""
        return [region.to_record() for region in self.values()]

    @classmethod
    def from_records(cls, records: Sequence[Any], image_size_wh: tuple[int, int] | None = None) -> RegionSet:
        """Read the JSON form.

        Raises:
          RegionError, BoxError, MaskError: what is wrong with the first record that cannot be used.
        """
        regions = cls(image_size_wh)
        for position, record in enumerate(records):
            region = read_record(record, position)
            number = regions._free(region.number)
            regions._put(replace(region, box_xyxy=regions._checked_box(region.box_xyxy, region.mask, "pixels", number)))
        regions._undo.clear()
        return regions

    # Inside

    def _free(self, number: int) -> int:
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= MAX_NUMBER:
            raise RegionError(f"region numbers count from 1 to {MAX_NUMBER}; got {str(number)[:20]}")
        if number in self._regions:
            raise RegionError(f"<region{number}> exists already; move it instead, or use another number")
        return number

    def _checked_box(self, box: Sequence[float] | None, mask: Rle | None, space: str, number: int) -> Box:
        if mask is not None and self.image_size_wh is not None:
            masks.check_size(mask, self.image_size_wh)
        if box is None:
            if mask is None:
                raise RegionError(f"<region{number}> has neither a box nor a mask; give one of them")
            box, space = masks.tight_box(mask), "pixels"
        if self.image_size_wh is None:
            x0, y0, x1, y1 = as_boxes([list(box)])[0].tolist()
            return x0, y0, x1, y1
        return validate_box(to_pixels(list(box), self.image_size_wh, space), self.image_size_wh, f"<region{number}>")

    def _put(self, region: Region) -> Region:
        """Take a region that is checked, under its number."""
        self._change({**self._regions, region.number: region})
        self._last_number = max(self._last_number, region.number)
        return region

    def _change(self, regions: dict[int, Region]) -> None:
        self._undo.append(self._regions)
        self._redo.clear()
        self._regions = regions

    def _step(self, source: list[dict[int, Region]], target: list[dict[int, Region]]) -> bool:
        if not source:
            return False
        target.append(self._regions)
        self._regions = source.pop()
        return True


BOX_KEYS = ("bbox", "box", "bbox_xyxy", "xyxy", "box_xywh")


def read_record(record: Any, position: int) -> Region:
    """One region of the JSON form; its geometry is checked for form, not against an image.

    Args:
      position: of the record in its list, from 0; an absent number means position + 1.
    Raises:
      RegionError: one sentence about the first thing that is wrong.
    """
    name = f"region {position + 1} of the list"
    if not isinstance(record, Mapping):
        raise RegionError(f'{name} is {{"number", "box_xyxy": [x0, y0, x1, y1]}}; got {str(record)[:60]}')
    number = record.get("number", position + 1)
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= MAX_NUMBER:
        raise RegionError(f'{name}: "number" is a whole number from 1 to {MAX_NUMBER}; got {str(number)[:20]!r}')
    name = f"<region{number}>"
    mask = record.get("mask")
    if mask is not None:
        mask = masks.as_rle(mask, _size_of(mask, name))
    if "box_xyxy" not in record and mask is None:
        other = next((key for key in BOX_KEYS if key in record), None)
        raise RegionError(f'{name} needs "box_xyxy": [x0, y0, x1, y1] in pixels' + (f'; got "{other}"' if other else ""))
    label, step, origin = record.get("label"), record.get("step"), record.get("origin", "drawn")
    if origin not in get_args(Origin):
        raise RegionError(f'{name}: "origin" is one of {", ".join(get_args(Origin))}; got {str(origin)[:20]!r}')
    box = _numbers(record["box_xyxy"], 4) if "box_xyxy" in record else list(masks.tight_box(cast(Rle, mask)))
    if box is None:
        raise RegionError(f'{name}: "box_xyxy" is four numbers x0, y0, x1, y1; got {str(record["box_xyxy"])[:60]}')
    if box[2] <= box[0] or box[3] <= box[1]:
        raise RegionError(f"{name}: the box {box} is empty: x1 must be larger than x0 and y1 larger than y0 (is it x, y, width, height?)")
    points = record.get("points") or []
    read_points = [_numbers(point, 2) for point in points] if isinstance(points, list) else [None]
    if any(point is None for point in read_points):
        raise RegionError(f'{name}: "points" is a list of [x, y] in pixels; got {str(points)[:60]}')
    score = record.get("score")
    if score is not None and _numbers([score], 1) is None:
        raise RegionError(f'{name}: "score" is a number; got {str(score)[:20]!r}')
    return Region(
        number,
        (box[0], box[1], box[2], box[3]),
        None if label is None else str(label),
        mask,
        tuple((point[0], point[1]) for point in read_points if point is not None),
        None if score is None else float(score),
        _runners_up(record.get("runners_up"), name),
        origin,
        None if step is None else str(step),
    )


def _numbers(values: Any, count: int) -> list[float] | None:
    """`count` finite numbers as floats, or None. A whole number beyond float's range is not finite either."""
    if not isinstance(values, (list, tuple)) or len(values) != count:
        return None
    try:
        numbers = [float(value) for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]
    except OverflowError:
        return None
    return numbers if len(numbers) == count and all(math.isfinite(value) for value in numbers) else None


def _runners_up(value: Any, name: str) -> tuple[tuple[str, float], ...]:
    if value is None:
        return ()
    try:
        return tuple((str(one["label"]), float(one["score"])) for one in value)
    except (TypeError, KeyError, ValueError) as error:
        raise RegionError(f'{name}: "runners_up" is a list of {{"label", "score"}}; got {str(value)[:60]}') from error


def _size_of(mask: Any, name: str) -> tuple[int, int]:
    size = mask.get("size") if isinstance(mask, Mapping) else None
    numbers = _numbers(size, 2)
    if numbers is None or min(numbers) < 1:
        raise RegionError(f'{name}: "mask" is COCO run lengths {{"size": [height, width], "counts": text}}; got {str(mask)[:60]}')
    return int(numbers[1]), int(numbers[0])
