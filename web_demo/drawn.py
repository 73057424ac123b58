"""What the canvas sends with a question: read, checked, and given to the chat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gpt4roi.boxes import Box, BoxError, as_boxes, validate_box
from gpt4roi.regions import MAX_NUMBER, Region

MAX_REGIONS = 1000
MAX_LABEL = 60

Boxes = dict[int, Box]
# What tells one state of a region from another: number, box, label.
State = tuple[int, Box, str | None]


@dataclass(frozen=True)
class Drawn:
    """The regions of the canvas by number, in pixels of the picture; `labels` where there is one; which of them is selected, if any."""

    boxes: Boxes = field(default_factory=dict)
    labels: Mapping[int, str] = field(default_factory=dict)
    selected: int | None = None

    def state(self, number: int) -> State:
        return number, self.boxes[number], self.labels.get(number)


def parse_drawn(value: Any) -> Drawn:
    """What the canvas sent. It comes from a browser, so its form is checked; its geometry is not.

    Raises:
      BoxError: not `{"regions": [{"number": N, "box": [x0, y0, x1, y1]}, …]}` with different numbers from 1.
    """
    if value is None:
        return Drawn()
    items = value.get("regions") if isinstance(value, Mapping) else None
    if not isinstance(items, list):
        raise BoxError("the boxes did not arrive as a list of regions; reload the page")
    if len(items) > MAX_REGIONS:
        raise BoxError(f"there are {len(items)} boxes; at most {MAX_REGIONS} are taken")
    boxes: Boxes = {}
    labels = {}
    for item in items:
        number = item.get("number") if isinstance(item, Mapping) else None
        if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= MAX_NUMBER or number in boxes:
            raise BoxError("a region has no number of its own; reload the page")
        x0, y0, x1, y1 = as_boxes([item.get("box") or ()])[0].tolist()
        boxes[number] = x0, y0, x1, y1
        label = item.get("label")
        if isinstance(label, str) and label.strip():
            labels[number] = label.strip()[:MAX_LABEL]
    selected = value.get("selected")
    return Drawn(boxes, labels, selected if not isinstance(selected, bool) and selected in boxes else None)


def checked_drawn(value: Any, size_wh: tuple[int, int]) -> Drawn:
    """The canvas with its boxes clipped to a picture of this size.

    Raises:
      BoxError: naming the region, what is wrong with it and what to do.
    """
    drawn = parse_drawn(value)
    boxes = {number: validate_box(box, size_wh, f"<region{number}>") for number, box in drawn.boxes.items()}
    return Drawn(boxes, drawn.labels, drawn.selected)


def give_to(chat: Any, drawn: Drawn, known: dict[State, Region]) -> None:
    """Give the chat exactly the regions of the canvas, under the canvas's numbers.

    Args:
      known: every state that a region of this chat has had. One that comes back by undo comes back whole, with its mask and scores; the
        canvas has neither.
    """
    known.update({(region.number, region.box_xyxy, region.label): region for region in chat.regions.values()})
    for number in [number for number in chat.regions if number not in drawn.boxes]:
        chat.remove_region(number)
    for number, box in drawn.boxes.items():
        region = next((one for one in chat.regions.values() if one.number == number), None)
        before = known.get(drawn.state(number))
        if region is not None and (number, region.box_xyxy, region.label) == drawn.state(number):
            continue
        if before is not None:
            if region is not None:
                chat.regions.remove(number)
            fields = {name: getattr(before, name) for name in ("label", "mask", "points", "score", "runners_up", "origin", "step")}
            chat.regions.add(box, number=number, **fields)
            continue
        if region is None:
            chat.add_region(box, number=number)
        elif region.box_xyxy != box:
            chat.move_region(number, box)
        if chat.regions[number].label != drawn.labels.get(number):
            chat.label_region(number, drawn.labels.get(number))


def records(drawn: Drawn) -> list[dict[str, Any]]:
    """The JSON form of the regions, for as long as no chat has them."""
    return [Region(number, box, drawn.labels.get(number)).to_record() for number, box in sorted(drawn.boxes.items())]
