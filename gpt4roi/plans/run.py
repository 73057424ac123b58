"""Run a plan: every step is a record, results are kept by all they depend on, a failing step ends its branch and the others go on."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from gpt4roi.errors import UserError
from gpt4roi.plans.actions import Plan, references
from gpt4roi.plans.scene import Scene
from gpt4roi.plans.tools import EDITING, TOOLS, VERSION
from gpt4roi.plans.values import StepRecord, Value

PLAN_SECONDS = 300.0


class Cancelled(Exception):
    """Somebody stopped the run."""


def run_steps(
    plan: Plan,
    scene: Scene,
    image_key: str,
    model: str,
    known: Mapping[str, StepRecord] | None = None,
    on_step: Callable[[StepRecord | None, str], None] = lambda record, step: None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> list[StepRecord]:
    """The records of all steps, in order.

    Args:
      image_key: SHA-256 of the picture. model: what answers, as part of every key.
      known: records of earlier runs by their key, whose results are taken without running.
      on_step: told (None, id) when a step begins and (record, id) when it has ended.
      is_cancelled: asked between steps.
    Raises:
      Cancelled: what was done so far is lost to the caller, not to the conversation.
    """
    records: list[StepRecord] = []
    values: dict[str, Value] = {}
    keys: dict[str, str] = {f"r{number}": _digest(list(region.box_xyxy), region.mask) for number, region in scene.regions.items()}
    current = image_key
    started = time.monotonic()
    for step in plan.steps:
        if is_cancelled():
            raise Cancelled
        on_step(None, step.id)
        arguments = step.arguments()
        inputs = [
            ref
            for name in ("regions", "to", "options", "context", "values", "image")
            for ref in references(getattr(step, name, None))
            if ref in keys
        ]
        looks_at = current if step.action in EDITING or step.action == "crop" else image_key
        key = _digest(step.action, VERSION, _without_references(step), [keys[ref] for ref in inputs], looks_at, model)
        begun = time.monotonic()
        failed = next((ref for ref in inputs if ref in values and any(r.id == ref and r.error for r in records)), None)
        earlier = (known or {}).get(key)
        if failed is not None:
            record = StepRecord(step.id, step.action, arguments, Value(), 0.0, key, "none", error=f"not run, because {failed} failed")
        elif begun - started > PLAN_SECONDS:
            record = StepRecord(
                step.id, step.action, arguments, Value(), 0.0, key, "none", error=f"not run: the plan took longer than {PLAN_SECONDS:g} s"
            )
        elif earlier is not None and earlier.error is None:
            record = replace(earlier, id=step.id, arguments=arguments, cached=True, seconds=0.0)
        else:
            record = _run(step, scene, values, key, arguments, begun)
        if record.value.images and record.error is None and step.action in EDITING:
            scene.image, current = _flat(record.value.images[-1]), key
            scene.edited[step.id] = scene.image
        values[step.id], keys[step.id] = record.value, key
        records.append(record)
        on_step(record, step.id)
    return records


def _run(step: Any, scene: Scene, values: Mapping[str, Value], key: str, arguments: dict[str, Any], begun: float) -> StepRecord:
    tool = f"{step.action} {VERSION}"
    empty = _nothing_to_edit(step, values)
    if empty is not None:
        return StepRecord(step.id, step.action, arguments, Value(), 0.0, key, tool, error=empty)
    try:
        value = TOOLS[step.action](step, scene, dict(values))
    except UserError as error:
        return StepRecord(step.id, step.action, arguments, Value(), time.monotonic() - begun, key, tool, error=str(error))
    return StepRecord(step.id, step.action, arguments, value, time.monotonic() - begun, key, tool)


def _nothing_to_edit(step: Any, values: Mapping[str, Value]) -> str | None:
    """An edit whose regions are empty is no success: what would be said is that nothing was found."""
    refs = references(getattr(step, "regions", None))
    if step.action not in EDITING | {"crop", "measure", "describe", "ask", "read_text", "classify"} or not refs:
        return None
    if any(ref[0] == "r" or values[ref].regions for ref in refs):
        return None
    return "skipped, because nothing was found"


def _flat(image: np.ndarray) -> np.ndarray:
    """Without transparency, on white, for the steps that follow."""
    if image.shape[2] == 3:
        return image
    share = image[..., 3:].astype(np.float32) / 255
    return (image[..., :3] * share + 255 * (1 - share) + 0.5).astype(np.uint8)


def _without_references(step: Any) -> dict[str, Any]:
    arguments = step.model_dump(by_alias=True, exclude={"id", "action", "gives"})
    return {name: value for name, value in arguments.items() if name not in ("regions", "to", "options", "context", "values", "image")} | {
        "to": step.to if isinstance(getattr(step, "to", None), str) and step.to.endswith("_half") else None
    }


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]
