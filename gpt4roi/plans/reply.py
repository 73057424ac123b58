"""The reply to a request: sentences that are made from results, each with its evidence. Numbers, names and references are never generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gpt4roi.answers.places import place_words
from gpt4roi.eyes.names import listed, plural, with_article
from gpt4roi.plans.actions import Plan, references
from gpt4roi.plans.tools import EDITING
from gpt4roi.plans.values import StepRecord
from gpt4roi.regions import Region

_DONE = {
    "blur": "blurred", "pixelate": "pixelated", "grayscale": "without color", "highlight": "highlighted", "brighten": "brightened",
    "recolor": "recolored", "annotate": "annotated", "remove": "removed", "move": "moved", "rotate": "turned", "flip": "mirrored",
    "resize": "scaled", "replace_background": "on another background", "style": "restyled", "edit": "edited", "generate": "made",
    "cut_out": "cut out", "crop": "cropped",
}  # fmt: skip


@dataclass(frozen=True)
class Segment:
    """One sentence and what it rests on. generated: the chat model wrote it."""

    text: str
    steps: tuple[str, ...]
    regions: tuple[int, ...] = ()
    score: float | None = None
    generated: bool = False

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"text": self.text, "evidence": {"steps": list(self.steps), "regions": list(self.regions)}}
        if self.score is not None:
            found["score"] = round(self.score, 4)
        if self.generated:
            found["generated"] = True
        return found


def make_reply(plan: Plan, records: Sequence[StepRecord], size_wh: tuple[int, int]) -> list[Segment]:
    """A sentence for each step that nobody else uses, and for what failed or was not found."""
    by_id = {record.id: record for record in records}
    used = {
        ref
        for step in plan.steps
        for name in ("regions", "to", "values", "context")
        for ref in references(getattr(step, name, None))
        if ref in by_id
    }
    segments = []
    for step in plan.steps:
        record = by_id[step.id]
        if record.error is not None:
            if not record.error.startswith("not run"):
                segments.append(Segment(_failed(step, record, by_id), (step.id,)))
            continue
        if (
            step.id in used
            and step.action not in ("count", "ask", "describe", "read_text", "classify", "measure", "compare")
            and not _is_empty(record)
        ):
            continue
        if step.id in used and _is_empty(record) and any(_uses(other, step.id) and by_id[other.id].error for other in plan.steps):
            continue  # The step that was skipped for it says so.
        segments.append(_said(step, record, by_id, size_wh))
    return segments or [Segment("Nothing was to be done.", ())]


def _uses(step: Any, name: str) -> bool:
    return any(name in references(getattr(step, part, None)) for part in ("regions", "to", "values", "context"))


def _is_empty(record: StepRecord) -> bool:
    return record.value.regions == () and record.value.text is None


def _what(step: Any, by_id: dict[str, StepRecord]) -> str:
    """How the regions of a step were called when they were looked for."""
    for reference in references(getattr(step, "regions", None)):
        record = by_id.get(reference)
        if record is None:
            return f"region {reference[1:]}"
        said = record.arguments.get("what") or record.arguments.get("phrase")
        if said:
            return str(said)
        found = _what(_Step(record.arguments), by_id)
        if found:
            return f"{record.arguments['that']} {found}" if record.action == "filter" else found
    return ""


class _Step:
    def __init__(self, arguments: Any) -> None:
        self.regions = arguments.get("regions")


def _failed(step: Any, record: StepRecord, by_id: dict[str, StepRecord]) -> str:
    if record.error == "skipped, because nothing was found":
        return f"I found no {_what(step, by_id) or 'such thing'} in the picture, so {step.action} was skipped."
    return f"{step.action}: {record.error}." if not str(record.error).endswith(".") else f"{step.action}: {record.error}"


def _said(step: Any, record: StepRecord, by_id: dict[str, StepRecord], size_wh: tuple[int, int]) -> Segment:
    value = record.value
    regions = tuple(region.number for region in value.regions or ())
    score = max((region.score or 0.0 for region in value.regions or ()), default=None)
    if step.action == "count":
        noun = _what(step, by_id) or "region"
        return Segment(
            f"There {'is' if value.number == 1 else 'are'} {value.number} {plural(noun, value.number or 0)}.", (step.id,), regions
        )
    if step.action in ("find", "locate", "select", "filter", "relate", "combine", "segment"):
        noun = step.what if step.action == "find" else step.phrase if step.action == "locate" else _what(step, by_id)
        return Segment(_regions_said(noun, value.regions or (), size_wh), (step.id,), regions, score)
    if step.action == "measure":
        rows = [f"<region{row['region']}> covers {100 * row['share']:.1f} % of the picture, {row['width']:g} x {row['height']:g} pixels, {row['place']}, {row['color']}" for row in value.table or ()]  # fmt: skip
        return Segment("; ".join(rows) + ".", (step.id,), tuple(row["region"] for row in value.table or ()))
    if step.action == "read_text":
        return Segment(f'It says "{value.text}".' if value.text else "I see no letters that I can read there.", (step.id,), regions)
    if step.action in EDITING or step.action == "crop":
        noun = _what(step, by_id)
        named = tuple(
            region.number for ref in references(getattr(step, "regions", None)) if ref in by_id for region in by_id[ref].value.regions or ()
        )
        drawn = tuple(int(ref[1:]) for ref in references(getattr(step, "regions", None)) if ref[0] == "r")
        who = (
            f"Everything but {noun}" if getattr(step, "invert", False) and noun else noun[:1].upper() + noun[1:] if noun else "The picture"
        )
        return Segment(f"{who}: {_DONE[step.action]}.", (step.id,), named + drawn)
    if step.action == "refuse":
        return Segment(step.reason, (step.id,))
    return Segment(
        value.text or "",
        (step.id,),
        regions,
        max(value.scores.values(), default=None),
        generated=step.action in ("ask", "describe", "compare"),
    )


def _regions_said(noun: str, regions: Sequence[Region], size_wh: tuple[int, int]) -> str:
    if not regions:
        return f"I found no {noun or 'such thing'} in the picture."
    if len(regions) == 1:
        name = regions[0].label or noun or "region"
        return f"{with_article(name).capitalize()} {place_words(regions[0].box_xyxy, size_wh)}: {regions[0].mention}."
    return f"{len(regions)} {plural(noun or 'region', len(regions))}: {listed(region.mention for region in regions)}."


def answer_of(plan: Plan, records: Sequence[StepRecord]) -> dict[str, Any]:
    """What the reply as a whole answers: the regions of the last step that gives some, the last number, yes or no."""
    regions: list[int] = []
    number: int | None = None
    yes: bool | None = None
    for record in records:
        if record.value.regions is not None and record.error is None:
            regions = [region.number for region in record.value.regions]
        number = record.value.number if record.value.number is not None else number
        yes = record.value.yes if record.value.yes is not None else yes
    last = plan.steps[-1]
    asks_whether = plan.request.lower().lstrip().startswith(("is ", "are ", "any ", "does ", "do ", "can you see"))
    if yes is None and asks_whether and last.action in ("find", "locate", "relate", "filter"):
        yes = bool(regions)
    return {"regions": regions, "number": number, "yes": yes}
