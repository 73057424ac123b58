"""The vocabulary of plans: one pydantic model for each action, the only source of the JSON, of the grammar of decoding and of the tools.

References are `rN` (region N of the conversation) or `sN` (what an earlier step gave). A plan is valid as a whole or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from gpt4roi.errors import UserError

MAX_STEPS = 8
MAX_TEXT = 500
COLORS = ("black", "white", "gray", "grey", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
HALVES = ("left_half", "right_half", "top_half", "bottom_half")

Kind = Literal["regions", "number", "table", "text", "labels", "image", "question"]


class PlanError(UserError):
    """A plan that cannot be run, in one sentence."""


def _refuse_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT, pattern=r"\S")]
Reference = Annotated[str, Field(pattern=r"^[rs][1-9][0-9]{0,4}$")]
StepReference = Annotated[str, Field(pattern=r"^s[1-9][0-9]?$")]
References = Reference | Annotated[list[Reference], Field(min_length=1)]
Count = Annotated[int, BeforeValidator(_refuse_bool), Field(ge=1, le=1000)]
Share = Annotated[float, BeforeValidator(_refuse_bool), Field(ge=-1, le=1, allow_inf_nan=False)]
Factor = Annotated[float, BeforeValidator(_refuse_bool), Field(gt=0, le=8, allow_inf_nan=False)]
Angle = Annotated[float, BeforeValidator(_refuse_bool), Field(ge=-360, le=360, allow_inf_nan=False)]
Color = Annotated[str, Field(pattern=rf"^(?:{'|'.join(COLORS)}|#[0-9a-fA-F]{{6}})$")]


class Step(BaseModel):
    """What all steps have: an id, `s1`, `s2` … in order. `gives` is what later steps may name it for."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, frozen=True)
    id: StepReference

    gives: Literal["regions", "number", "table", "text", "labels", "image", "question"] = Field(exclude=True, default="regions", init=False)

    def arguments(self) -> dict[str, Any]:
        """Its arguments as JSON has them: those that were given."""
        found = self.model_dump(by_alias=True, exclude_unset=True, exclude={"id", "action", "gives"})
        return {name: value for name, value in found.items() if value is not None}


class Looking(Step):
    """An action that looks at the picture the user gave, or at an edited one that `image` names."""

    image: StepReference | None = None


def _gives(kind: Kind) -> Any:
    return Field(exclude=True, default=kind, init=False)


class Find(Looking):
    """Every thing that a noun phrase names, with scores; none is a result too."""

    action: Literal["find"]
    what: Text


class Locate(Looking):
    """The one thing that is described."""

    action: Literal["locate"]
    phrase: Text


class Select(Step):
    """Order regions and take the first, the n-th, or so many from the front."""

    action: Literal["select"]
    regions: References
    by: Literal[
        "leftmost", "rightmost", "topmost", "bottommost", "largest", "smallest", "tallest", "widest", "middle", "nearest", "most_certain"
    ]
    n: Count = 1
    top: Count | None = None
    to: Reference | None = None


class Filter(Step):
    """Keep the regions that have a property."""

    action: Literal["filter"]
    regions: References
    that: Text
    invert: bool = False


class Relate(Step):
    """Keep the regions that stand so to another, or in a half of the picture."""

    action: Literal["relate"]
    regions: References
    relation: Literal["left_of", "right_of", "above", "below", "inside", "outside", "near", "on", "between", "overlapping"]
    to: Literal["left_half", "right_half", "top_half", "bottom_half"] | References


class Combine(Step):
    """Union, difference or intersection of two lists of regions or more."""

    action: Literal["combine"]
    regions: Annotated[list[Reference], Field(min_length=2)]
    how: Literal["union", "difference", "intersection"]


class Segment(Step):
    """Outline each region."""

    action: Literal["segment"]
    regions: References


class CountStep(Step):
    """How many regions."""

    action: Literal["count"]
    regions: References
    gives: Kind = _gives("number")


class Measure(Looking):
    """Share of the picture, size, place and dominant color of each region."""

    action: Literal["measure"]
    regions: References
    gives: Kind = _gives("table")


class Ask(Looking):
    """Ask about regions, or about the picture."""

    action: Literal["ask"]
    question: Text
    regions: References | None = None
    context: StepReference | list[StepReference] | None = None
    gives: Kind = _gives("text")


class Describe(Looking):
    """A caption of regions, or of the picture."""

    action: Literal["describe"]
    regions: References | None = None
    gives: Kind = _gives("text")


class Classify(Looking):
    """Pick from the user's classes, with scores."""

    action: Literal["classify"]
    regions: References | None = None
    classes: Annotated[list[Text], Field(min_length=2, max_length=200)]
    gives: Kind = _gives("labels")


class Compare(Looking):
    """Two regions or more, or two counts, together."""

    action: Literal["compare"]
    regions: References | None = None
    values: StepReference | list[StepReference] | None = None
    question: Text
    gives: Kind = _gives("text")


class ReadText(Looking):
    """Letters; its regions are the lines."""

    action: Literal["read_text"]
    regions: References | None = None


class Crop(Step):
    """One picture file for each region."""

    action: Literal["crop"]
    regions: References
    gives: Kind = _gives("image")


class CutOut(Step):
    """The things alone, on transparency."""

    action: Literal["cut_out"]
    regions: References
    gives: Kind = _gives("image")


class Inside(Step):
    """A change inside the regions, or outside them with `invert`; without regions of the whole picture."""

    regions: References | None = None
    invert: bool = False
    gives: Kind = _gives("image")


class Blur(Inside):
    """Blur."""

    action: Literal["blur"]


class Pixelate(Inside):
    """Pixelate."""

    action: Literal["pixelate"]


class Grayscale(Inside):
    """Take the color out."""

    action: Literal["grayscale"]


class Highlight(Step):
    """Dim the rest, or with `invert` the regions."""

    action: Literal["highlight"]
    regions: References
    invert: bool = False
    gives: Kind = _gives("image")


class Brighten(Inside):
    """Brighten; a negative amount darkens."""

    action: Literal["brighten"]
    amount: Share = 0.2


class Recolor(Step):
    """Change the hue and keep the shading."""

    action: Literal["recolor"]
    regions: References
    color: Color
    gives: Kind = _gives("image")


class Annotate(Step):
    """Draw boxes, outlines, numbers and labels."""

    action: Literal["annotate"]
    regions: References
    gives: Kind = _gives("image")


class Remove(Step):
    """Fill from the surroundings."""

    action: Literal["remove"]
    regions: References
    gives: Kind = _gives("image")


class Move(Step):
    """Take out, fill, paste elsewhere; dx and dy in shares of the picture, right and down."""

    action: Literal["move"]
    regions: References
    dx: Share = 0.1
    dy: Share = 0.1
    copy_: bool = Field(default=False, alias="copy")
    scale: Factor = 1
    gives: Kind = _gives("image")


class Rotate(Step):
    """Turn the whole picture, degrees clockwise."""

    action: Literal["rotate"]
    angle: Angle
    gives: Kind = _gives("image")


class Flip(Step):
    """Mirror the whole picture."""

    action: Literal["flip"]
    axis: Literal["horizontal", "vertical"]
    gives: Kind = _gives("image")


class Resize(Step):
    """Scale the whole picture."""

    action: Literal["resize"]
    scale: Factor
    gives: Kind = _gives("image")


class ReplaceBackground(Step):
    """Everything but the regions becomes a color, blurred, transparent, or what words say."""

    action: Literal["replace_background"]
    regions: References
    with_: Text = Field(alias="with")
    gives: Kind = _gives("image")


class Style(Step):
    """A built-in artistic style."""

    action: Literal["style"]
    style: Text
    regions: References | None = None
    gives: Kind = _gives("image")


class Edit(Step):
    """An external editing model."""

    action: Literal["edit"]
    instruction: Text
    regions: References | None = None
    gives: Kind = _gives("image")


class Generate(Step):
    """An external generating model."""

    action: Literal["generate"]
    prompt: Text
    gives: Kind = _gives("image")


class AskBack(Step):
    """The request is ambiguous: ask which is meant."""

    action: Literal["ask_back"]
    question: Text
    options: References | None = None
    gives: Kind = _gives("question")


class Refuse(Step):
    """No action here can do it."""

    action: Literal["refuse"]
    reason: Text
    gives: Kind = _gives("text")


ACTIONS: dict[str, type[Step]] = {
    get_args(model.model_fields["action"].annotation)[0]: model
    for model in (
        Find, Locate, Select, Filter, Relate, Combine, Segment, CountStep, Measure, Ask, Describe, Classify, Compare, ReadText, Crop, CutOut,
        Blur, Pixelate, Grayscale, Highlight, Brighten, Recolor, Annotate, Remove, Move, Rotate, Flip, Resize, ReplaceBackground, Style, Edit,
        Generate, AskBack, Refuse,
    )
}  # fmt: skip
_ANY: TypeAdapter[Step] = TypeAdapter(
    Annotated[
        Find | Locate | Select | Filter | Relate | Combine | Segment | CountStep | Measure | Ask | Describe | Classify | Compare | ReadText | Crop
        | CutOut | Blur | Pixelate | Grayscale | Highlight | Brighten | Recolor | Annotate | Remove | Move | Rotate | Flip | Resize
        | ReplaceBackground | Style | Edit | Generate | AskBack | Refuse,
        Field(discriminator="action"),
    ]
)  # fmt: skip


class Plan(BaseModel):
    """Steps that run in order; only earlier steps can be named, so that no circle is possible."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    version: Literal[1] = 1
    request: str = ""
    steps: tuple[Any, ...]

    def model_dump(self, **options: Any) -> dict[str, Any]:  # type: ignore[override]
        """The JSON form of the contract."""
        steps = [{"id": step.id, "action": step.action, **step.arguments()} for step in self.steps]
        return {"version": 1, "request": self.request, "steps": steps}


def parse_plan(data: Any, regions: Collection[int], request: str = "") -> Plan:
    """Read and check a plan.

    Args:
      data: the JSON form.
      regions: numbers of the conversation's regions.
    Raises:
      PlanError: the first thing that is wrong.
    """
    if not isinstance(data, Mapping):
        raise PlanError(f'a plan is {{"version": 1, "steps": […]}}; got {str(data)[:60]}')
    unknown = [str(name) for name in data if name not in ("version", "request", "steps")]
    if unknown:
        raise PlanError(f'a plan has "version", "request" and "steps"; it has no "{unknown[0][:40]}"')
    if data.get("version", 1) != 1 or isinstance(data.get("version"), bool):
        raise PlanError(f"this program reads plans of version 1; got {str(data['version'])[:20]}")
    said = data.get("request", request)
    if not isinstance(said, str):
        raise PlanError(f'"request" is text; got {str(said)[:40]}')
    raw = data.get("steps")
    if not isinstance(raw, list) or not 1 <= len(raw) <= MAX_STEPS:
        count = len(raw) if isinstance(raw, list) else "none"
        raise PlanError(f"a plan has 1 to {MAX_STEPS} steps; got {count}")
    steps: list[Step] = []
    for position, one in enumerate(raw, 1):
        steps.append(_step(one, f"s{position}", {step.id: step for step in steps}, regions))
    return Plan(request=said or request, steps=tuple(steps))


def _step(raw: Any, where: str, earlier: Mapping[str, Step], regions: Collection[int]) -> Step:
    if not isinstance(raw, Mapping):
        raise PlanError(f'{where}: a step is {{"id", "action", …}}; got {str(raw)[:60]}')
    action = raw.get("action")
    if not isinstance(action, str) or action not in ACTIONS:
        raise PlanError(f"{where}: there is no action {str(action)[:40]!r}; the actions are {', '.join(ACTIONS)}")
    if raw.get("id") != where:
        raise PlanError(f"step {where[1:]} has the id {where!r}; got {str(raw.get('id'))[:20]!r}")
    try:
        step = _ANY.validate_python(dict(raw), strict=False)
    except ValidationError as error:
        first = error.errors()[0]
        name = next((str(part) for part in first["loc"] if part not in (action,) and not isinstance(part, int)), "")
        name = name if name in raw or first["type"] == "missing" else next((n for n in raw if n in str(first["loc"])), name)
        raise PlanError(f"{where}: {action}{f', {name!r}' if name else ''}: {first['msg']}; got {str(raw.get(name))[:60]}") from error
    _check_references(step, where, earlier, regions)
    return step


def _check_references(step: Step, where: str, earlier: Mapping[str, Step], regions: Collection[int]) -> None:
    for name, wanted in (
        ("regions", "regions"),
        ("to", "regions"),
        ("options", "regions"),
        ("context", "text"),
        ("values", "number"),
        ("image", "image"),
    ):
        for reference in references(getattr(step, name, None)):
            if reference in HALVES:
                continue
            if reference[0] == "r":
                if int(reference[1:]) not in regions:
                    drawn = ", ".join(f"r{number}" for number in regions) or "none"
                    raise PlanError(f"{where}: there is no region {reference}; there are {drawn}")
                continue
            if reference not in earlier:
                raise PlanError(f"{where}: {reference} is no earlier step; a step can use only those before it")
            source = earlier[reference]
            if not _fits(source, wanted):
                raise PlanError(f"{where}: {name!r} takes {wanted}, and {reference} ({source.action}) gives {source.gives}")  # type: ignore[attr-defined]
    if isinstance(step, Select) and (step.by == "nearest") != (step.to is not None):
        raise PlanError(f'{where}: "to" says what "nearest" is measured from; both stand together')
    if isinstance(step, Relate) and step.to in HALVES and step.relation != "inside":
        raise PlanError(f'{where}: a half of the picture goes with the relation "inside"; got {step.relation!r}')
    if isinstance(step, Relate) and step.relation == "between" and len(references(step.to)) != 2:
        raise PlanError(f'{where}: "between" takes two references in "to"; got {len(references(step.to))}')
    if isinstance(step, Compare) and step.regions is None and step.values is None:
        raise PlanError(f'{where}: compare takes "regions" or "values"')


def _fits(source: Step, wanted: str) -> bool:
    if wanted == "text":  # What was read, answered or measured may be the context of a question.
        return source.gives in ("text", "number", "table", "labels") or isinstance(source, ReadText)
    return source.gives == wanted


def references(value: Any) -> list[str]:
    """One reference, a list of them, or none, as a list."""
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def plan_schema(regions: Collection[int]) -> dict[str, Any]:
    """JSON schema of a plan's steps whose references are limited to these regions and to steps; for tools and for the grammar of decoding."""
    numbers = "|".join(str(number) for number in sorted(regions))
    pattern = rf"^(?:s[1-8]{f'|r(?:{numbers})' if numbers else ''})$"
    schema = _ANY.json_schema(by_alias=True)

    def limited(node: Any) -> Any:
        if isinstance(node, dict):
            found = {key: limited(value) for key, value in node.items() if key not in ("default", "title", "discriminator")}
            if found.get("pattern", "").startswith("^[rs]"):
                found["pattern"] = pattern
            return found
        return [limited(item) for item in node] if isinstance(node, list) else node

    inner = limited(schema)
    definitions = inner.pop("$defs", {})
    steps = {"type": "array", "minItems": 1, "maxItems": MAX_STEPS, "items": inner}
    return {"type": "object", "properties": {"steps": steps}, "required": ["steps"], "additionalProperties": False, "$defs": definitions}


def mentioned_regions(text: str) -> list[int]:
    """Numbers of the regions that a request names as `<regionN>`."""
    return [int(number) for number in re.findall(r"<region(\d+)>", text)]
