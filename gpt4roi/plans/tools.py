"""One function for each action: from a step and what its references gave to a value. A plain dict; versions are part of every result's key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpt4roi.answers.places import centre, iou, order, overlap, place_words, stands
from gpt4roi.boxes import Box
from gpt4roi.colors import color_phrase
from gpt4roi.plans import edits
from gpt4roi.plans.actions import HALVES, PlanError, references
from gpt4roi.plans.scene import Scene
from gpt4roi.plans.values import Value
from gpt4roi.regions import Region

Inputs = dict[str, Value]
VERSION = "1"


def _regions(step: Any, scene: Scene, given: Inputs, name: str = "regions") -> list[Region]:
    """The regions that references name, each once, in order."""
    found: dict[int, Region] = {}
    for reference in references(getattr(step, name, None)):
        chosen = [scene.regions[int(reference[1:])]] if reference[0] == "r" else list(given[reference].regions or ())
        found.update({region.number: region for region in chosen})
    return list(found.values())


# Looking


def _find(step: Any, scene: Scene, given: Inputs) -> Value:
    return Value(regions=tuple(scene.find(step.what, step.id, step.image)))


def _locate(step: Any, scene: Scene, given: Inputs) -> Value:
    return Value(regions=tuple(scene.locate(step.phrase, step.id, step.image)))


def _ask(step: Any, scene: Scene, given: Inputs) -> Value:
    context = " ".join(text for reference in references(step.context) if (text := given[reference].text))
    answer = scene.ask(step.question if not context else f"{step.question} ({context})", _regions(step, scene, given), step.image)
    return Value(text=answer.text, scores=answer.scores, yes=_yes(answer.text), regions=answer.regions or None)


def _yes(text: str) -> bool | None:
    lowered = text.lower()
    return (
        True
        if lowered.startswith("yes")
        else False
        if lowered.startswith("no,") or lowered.startswith("no.") or lowered.startswith("no:")
        else None
    )


def _describe(step: Any, scene: Scene, given: Inputs) -> Value:
    regions = _regions(step, scene, given)
    question = "Describe " + (" and ".join(region.mention for region in regions) + "." if regions else "the picture.")
    answer = scene.ask(question, regions, step.image)
    return Value(text=answer.text, regions=answer.regions or None)


def _classify(step: Any, scene: Scene, given: Inputs) -> Value:
    regions = _regions(step, scene, given) or [scene.whole()]
    rows = [scene.classify(region, step.classes) for region in regions]
    best = [max(row, key=lambda name: row[name]) for row in rows]
    text = (
        "; ".join(f"{region.mention} is {name}" for region, name in zip(regions, best, strict=True))
        if len(best) > 1
        else f"It looks like {best[0]}."
    )
    return Value(text=text, scores=rows[0])


def _compare(step: Any, scene: Scene, given: Inputs) -> Value:
    numbers = [given[reference].number for reference in references(step.values)]
    if numbers:
        first, *rest = [number or 0 for number in numbers]
        text = (
            "There are as many of both." if all(number == first for number in rest) else f"{max(first, *rest)} against {min(first, *rest)}."
        )
        return Value(text=text, yes=all(first > number for number in rest))
    answer = scene.ask(step.question, _regions(step, scene, given), step.image)
    return Value(text=answer.text, regions=answer.regions or None, yes=_yes(answer.text))


def _read_text(step: Any, scene: Scene, given: Inputs) -> Value:
    found = [line for region in _regions(step, scene, given) or [None] for line in scene.read(region, step.id)]  # type: ignore[list-item]
    text = " ".join(region.label or "" for region in found)
    return Value(text=text, regions=tuple(found))


def _measure(step: Any, scene: Scene, given: Inputs) -> Value:
    width, height = scene.size_wh
    rows = []
    for region in _regions(step, scene, given):
        box = region.box_xyxy
        rows.append(
            {
                "region": region.number,
                "share": round(float(scene.mask(region).mean()), 4),
                "width": round(box[2] - box[0], 1),
                "height": round(box[3] - box[1], 1),
                "place": place_words(box, (width, height)),
                "color": color_phrase(scene.colors(region)),
            }
        )
    return Value(table=tuple(rows))


# Regions


def _select(step: Any, scene: Scene, given: Inputs) -> Value:
    regions = _regions(step, scene, given)
    boxes = [region.box_xyxy for region in regions]
    if step.by == "most_certain":
        ranked = sorted(range(len(regions)), key=lambda i: -(regions[i].score or 0.0))
    elif step.by == "nearest":
        anchors = _regions(step, scene, given, "to")
        ranked = sorted(range(len(regions)), key=lambda i: min((_distance(boxes[i], anchor.box_xyxy) for anchor in anchors), default=0.0))
    else:
        ranked = order(boxes, step.by, scene.size_wh) if regions else []
    chosen = ranked[: step.top] if step.top is not None else ranked[step.n - 1 : step.n]
    return Value(regions=tuple(regions[i] for i in chosen))


def _distance(a: Sequence[float], b: Sequence[float]) -> float:
    (ax, ay), (bx, by) = centre(a), centre(b)
    return ((ax - bx) ** 2 + (ay - by) ** 2) ** 0.5


def _filter(step: Any, scene: Scene, given: Inputs) -> Value:
    return Value(regions=tuple(region for region in _regions(step, scene, given) if scene.has(region, step.that) != step.invert))


def _relate(step: Any, scene: Scene, given: Inputs) -> Value:
    regions = _regions(step, scene, given)
    if step.to in HALVES:
        width, height = scene.size_wh
        inside = {
            "left_half": lambda x, y: x < width / 2, "right_half": lambda x, y: x >= width / 2,
            "top_half": lambda x, y: y < height / 2, "bottom_half": lambda x, y: y >= height / 2,
        }[step.to]  # fmt: skip
        return Value(regions=tuple(region for region in regions if inside(*centre(region.box_xyxy))))
    others = list(_regions(step, scene, given, "to"))
    if step.relation == "between":
        pair = [_regions_of(reference, scene, given) for reference in references(step.to)]
        kept = [r for r in regions if any(_is_between(r.box_xyxy, a.box_xyxy, b.box_xyxy) for a in pair[0] for b in pair[1])]
        return Value(regions=tuple(kept))
    kept = [r for r in regions if any(o.number != r.number and _stands(r.box_xyxy, o.box_xyxy, step.relation) for o in others)]
    if step.relation == "outside":
        kept = [r for r in regions if all(o.number != r.number and overlap(r.box_xyxy, o.box_xyxy) == 0 for o in others)]
    return Value(regions=tuple(kept))


def _regions_of(reference: str, scene: Scene, given: Inputs) -> list[Region]:
    return [scene.regions[int(reference[1:])]] if reference[0] == "r" else list(given[reference].regions or ())


def _is_between(box: Box, a: Box, b: Box) -> bool:
    (x, y), (ax, ay), (bx, by) = centre(box), centre(a), centre(b)
    along_x = abs(ax - bx) >= abs(ay - by)
    return min(ax, bx) < x < max(ax, bx) if along_x else min(ay, by) < y < max(ay, by)


def _stands(a: Box, b: Box, relation: str) -> bool:
    if relation == "on":
        return overlap(a, b) > 0 and centre(a)[1] <= b[3] and a[3] <= b[3] + 0.25 * (a[3] - a[1])
    if relation == "overlapping":
        return iou(a, b) > 0
    return stands(a, b, relation.replace("_", " ")) if relation != "outside" else overlap(a, b) == 0


def _combine(step: Any, scene: Scene, given: Inputs) -> Value:
    lists = [_regions_of(reference, scene, given) for reference in step.regions]
    first, rest = lists[0], lists[1:]

    def is_in(region: Region, others: Sequence[Region]) -> bool:
        # One thing found twice, under two phrases, has two boxes that nearly coincide.
        return any(region.number == other.number or iou(region.box_xyxy, other.box_xyxy) >= 0.6 for other in others)

    if step.how == "difference":
        return Value(regions=tuple(r for r in first if not any(is_in(r, others) for others in rest)))
    if step.how == "intersection":
        return Value(regions=tuple(r for r in first if all(is_in(r, others) for others in rest)))
    kept: list[Region] = []
    for region in (r for one in lists for r in one):
        if not is_in(region, kept):
            kept.append(region)
    return Value(regions=tuple(kept))


def _segment(step: Any, scene: Scene, given: Inputs) -> Value:
    return Value(regions=tuple(scene.outlined(region) for region in _regions(step, scene, given)))


def _count(step: Any, scene: Scene, given: Inputs) -> Value:
    regions = _regions(step, scene, given)
    return Value(number=len(regions), regions=tuple(regions))


# Editing


def _area(step: Any, scene: Scene, given: Inputs) -> np.ndarray:
    """Where an edit takes place: bool[h, w]; the whole image where no regions are named."""
    height, width = scene.image.shape[:2]
    if step.regions is None:
        return np.ones((height, width), bool)
    mask = np.zeros((height, width), bool)
    for region in _regions(step, scene, given):
        mask |= scene.mask(region)
    return ~mask if getattr(step, "invert", False) else mask


def _inside(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Any, Scene, Inputs], Value]:
    def run(step: Any, scene: Scene, given: Inputs) -> Value:
        mask = _area(step, scene, given)
        return _painted(scene, edits.blend(scene.image, change(scene.image), mask, fade=step.regions is not None), mask, step.action)

    return run


def _painted(scene: Scene, image: np.ndarray, mask: np.ndarray, what: str) -> Value:
    return Value(images=(edits.checked(scene.image, image, mask, what),))


def _brighten(step: Any, scene: Scene, given: Inputs) -> Value:
    mask = _area(step, scene, given)
    return _painted(
        scene, edits.blend(scene.image, edits.brightened(scene.image, step.amount), mask, step.regions is not None), mask, "brighten"
    )


def _highlight(step: Any, scene: Scene, given: Inputs) -> Value:
    mask = ~_area(step, scene, given)
    return _painted(scene, edits.blend(scene.image, edits.dimmed(scene.image), mask), mask, "highlight")


def _recolor(step: Any, scene: Scene, given: Inputs) -> Value:
    mask = _area(step, scene, given)
    return _painted(scene, edits.blend(scene.image, edits.recolored(scene.image, step.color, mask), mask), mask, "recolor")


def _remove(step: Any, scene: Scene, given: Inputs) -> Value:
    mask = _area(step, scene, given)
    return _painted(scene, edits.blend(scene.image, edits.filled(scene.image, mask), mask, fade=False), mask, "remove")


def _move(step: Any, scene: Scene, given: Inputs) -> Value:
    image, touched = edits.moved(scene.image, _area(step, scene, given), step.dx, step.dy, step.copy_, step.scale)
    return _painted(scene, image, touched, "move")


def _crop(step: Any, scene: Scene, given: Inputs) -> Value:
    return Value(images=tuple(scene.crop(region) for region in _regions(step, scene, given)))


def _cut_out(step: Any, scene: Scene, given: Inputs) -> Value:
    mask = _area(step, scene, given)
    return Value(images=(np.dstack([scene.image, (edits.soft(mask) * 255).astype(np.uint8)]),))


def _annotate(step: Any, scene: Scene, given: Inputs) -> Value:
    regions = _regions(step, scene, given)
    names = [f"{region.number} {region.label or ''}".strip() for region in regions]
    return Value(images=(edits.annotated(scene.image, [region.box_xyxy for region in regions], names),))


def _replace_background(step: Any, scene: Scene, given: Inputs) -> Value:
    thing = _area(step, scene, given)
    if step.with_ == "transparent":
        return _cut_out(step, scene, given)
    if step.with_ == "blur":
        ground = edits.blurred(scene.image)
    elif step.with_ in edits.RGB or (step.with_.startswith("#") and len(step.with_) == 7):
        ground = np.empty_like(scene.image)
        ground[:] = edits.color_rgb(step.with_)
    else:
        raise PlanError(
            f"a background of {step.with_!r} needs an image model, and none can be attached yet; use a color, blur or transparent"
        )
    return _painted(scene, edits.blend(scene.image, ground, ~thing), ~thing, "replace_background")


def _rotate(step: Any, scene: Scene, given: Inputs) -> Value:
    return Value(images=(scene.turned(step.angle),))


def _flip(step: Any, scene: Scene, given: Inputs) -> Value:
    return Value(images=(np.ascontiguousarray(scene.image[:, ::-1] if step.axis == "horizontal" else scene.image[::-1]),))


def _resize(step: Any, scene: Scene, given: Inputs) -> Value:
    return Value(images=(scene.scaled(step.scale),))


def _style(step: Any, scene: Scene, given: Inputs) -> Value:
    raise PlanError(f"the style {step.style!r} needs an image model, and none can be attached yet; use grayscale, blur or recolor")


def _external(step: Any, scene: Scene, given: Inputs) -> Value:
    raise PlanError(
        f"{step.action!r} needs an image model, and none can be attached yet; use the edits that need none, such as remove, move or recolor"
    )


# Talking


def _ask_back(step: Any, scene: Scene, given: Inputs) -> Value:
    return Value(text=step.question, regions=tuple(_regions(step, scene, given, "options")) or None)


def _refuse(step: Any, scene: Scene, given: Inputs) -> Value:
    return Value(text=step.reason)


TOOLS: dict[str, Callable[[Any, Scene, Inputs], Value]] = {
    "find": _find, "locate": _locate, "select": _select, "filter": _filter, "relate": _relate, "combine": _combine, "segment": _segment,
    "count": _count, "measure": _measure, "ask": _ask, "describe": _describe, "classify": _classify, "compare": _compare,
    "read_text": _read_text, "crop": _crop, "cut_out": _cut_out, "blur": _inside(edits.blurred), "pixelate": _inside(edits.pixelated),
    "grayscale": _inside(edits.gray), "highlight": _highlight, "brighten": _brighten, "recolor": _recolor, "annotate": _annotate,
    "remove": _remove, "move": _move, "rotate": _rotate, "flip": _flip, "resize": _resize, "replace_background": _replace_background,
    "style": _style, "edit": _external, "generate": _external, "ask_back": _ask_back, "refuse": _refuse,
}  # fmt: skip
# These take the current image and give the next one.
EDITING = frozenset(
    [
        "blur",
        "pixelate",
        "grayscale",
        "highlight",
        "brighten",
        "recolor",
        "annotate",
        "remove",
        "move",
        "rotate",
        "flip",
        "resize",
        "replace_background",
        "style",
        "edit",
        "generate",
        "cut_out",
    ]
)
