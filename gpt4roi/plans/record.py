"""A run of a plan: what happened, saved and replayed. A replay gives the same bytes and runs nothing; an edited step re-runs only what depends on it."""

from __future__ import annotations

import copy
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gpt4roi.chat import RegionChat
from gpt4roi.images import open_image
from gpt4roi.plans.actions import Plan, PlanError, parse_plan
from gpt4roi.plans.reply import answer_of, make_reply
from gpt4roi.plans.run import run_steps
from gpt4roi.plans.scene import Scene
from gpt4roi.plans.values import StepRecord, Value
from gpt4roi.regions import RegionSet

MODEL = "embedded"


@dataclass(frozen=True)
class Run:
    """A plan that ran. `json` is the contract's form (docs/plans.md); `folder` is where its pictures lie."""

    plan: Plan
    steps: tuple[StepRecord, ...]
    regions: RegionSet
    json: Mapping[str, Any]
    image: str

    @property
    def reply(self) -> str:
        return str(self.json["reply"]["text"])

    @property
    def images(self) -> list[np.ndarray]:
        return [image for record in self.steps for image in record.value.images]

    def save(self, path: str | Path) -> None:
        """Write the run, and its pictures beside it as PNG.

        Raises:
          PlanError: the disk is full or the folder cannot be written; no half-written file is left.
        """
        path = Path(path)
        try:
            stored = dict(self.json) | {
                "image": os.path.relpath(self.image, path.parent),
                "drawn": [r.to_record() for r in self.regions.values() if r.origin != "found"],
            }
            _write(path, (json.dumps(stored, ensure_ascii=False, indent=1) + "\n").encode())
        except OSError as error:
            raise PlanError(
                f"the run could not be saved as '{path}' ({error.strerror or error}); give another place with --output"
            ) from error

    @staticmethod
    def load(path: str | Path) -> SavedRun:
        """A run that was saved.

        Raises:
          PlanError: it is not there, or no run.
        """
        path = Path(path)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise PlanError(f"the run '{path}' could not be read ({error.strerror or error})") from error
        except ValueError as error:
            raise PlanError(f"'{path}' is no saved run: {str(error)[:80]}") from error
        if not isinstance(data, dict) or not isinstance(data.get("plan"), dict) or not isinstance(data.get("image"), str):
            raise PlanError(f"'{path}' is no saved run; gpt4roi do --output DIR writes one as DIR/run.json")
        return SavedRun(path, data)


@dataclass(frozen=True)
class SavedRun:
    """A run as it was saved."""

    path: Path
    data: Mapping[str, Any]

    def replay(self) -> dict[str, Any]:
        """What was printed then, as it was."""
        return {name: value for name, value in self.data.items() if name not in ("image", "drawn")}

    def again(self, chat: RegionChat, output: Path, edits: Mapping[str, Mapping[str, Any]] | None = None, fresh: bool = False) -> Run:
        """Run again, with some arguments of steps changed; steps that nothing changed for keep their results unless `fresh`.

        Raises:
          PlanError: an edit names no step or argument, or the picture is gone.
        """
        plan_json = copy.deepcopy(dict(self.data["plan"]))
        for step_id, changes in (edits or {}).items():
            step = next((one for one in plan_json["steps"] if one["id"] == step_id), None)
            if step is None:
                raise PlanError(f"there is no step {step_id!r}; there are {', '.join(one['id'] for one in plan_json['steps'])}")
            if "action" in changes and changes["action"] != step["action"]:
                for name in [name for name in step if name not in ("id", "regions")]:
                    del step[name]
            step.update(changes)
        image = self.path.parent / str(self.data["image"])
        start(chat, image, RegionSet.from_records(self.data.get("drawn", [])))
        plan = parse_plan(plan_json, list(chat.regions))
        return run_plan(chat, image, plan, str(self.data.get("planner", "given")), output, known={} if fresh else self._known(chat))

    def _known(self, chat: RegionChat) -> dict[str, StepRecord]:
        """Results that can be taken over: their regions are put into the conversation again."""
        numbers = {one["number"]: one for one in self.data.get("regions", [])}
        paths: dict[str, list[str]] = {}
        for one in self.data.get("images", []):
            paths.setdefault(one["step"], []).append(one["path"])
        known = {}
        for one in self.data["steps"]:
            output = one["output"]
            regions = None
            if "regions" in output:
                records = RegionSet.from_records([numbers[number] for number in output["regions"] if number in numbers])
                regions = tuple(records.values())
                for region in regions:
                    if region.number not in chat.regions:
                        chat.regions.add(
                            region.box_xyxy,
                            number=region.number,
                            label=region.label,
                            mask=region.mask,
                            score=region.score,
                            origin="found",
                            step=region.step,
                        )
            try:
                images = tuple(np.asarray(Image.open(path)) for path in paths.get(one["id"], []))
            except OSError:
                continue
            value = Value(
                regions,
                output.get("number"),
                output.get("text"),
                tuple(output["table"]) if "table" in output else None,
                output.get("scores", {}),
                images,
                output.get("yes"),
            )
            known[one["key"]] = StepRecord(
                one["id"], one["action"], one["arguments"], value, one["seconds"], one["key"], one["tool"], error=one["error"]
            )
        return known


def start(chat: RegionChat, image: str | Path, regions: RegionSet) -> None:
    """Set a picture and the regions that the user has drawn."""
    chat.set_image(image)
    for region in regions.values():
        chat.regions.add(region.box_xyxy, number=region.number, label=region.label, mask=region.mask)


def run_plan(
    chat: RegionChat, image: str | Path, plan: Plan, planner: str, output: Path, known: Mapping[str, StepRecord] | None = None,
    on_step: Callable[..., None] = lambda record, step: None,
) -> Run:  # fmt: skip
    """Run a plan on a conversation whose picture is set; pictures are written into `output`."""
    begun = time.perf_counter()
    scene = Scene(chat, np.asarray(open_image(image)))
    records = run_steps(plan, scene, chat.image_key, MODEL, known, on_step)
    segments = make_reply(plan, records, scene.size_wh)
    regions = list(chat.regions.values())
    images = _save_images(records, output)
    data = {
        "plan": plan.model_dump(),
        "planner": planner,
        "reply": {"text": " ".join(segment.text for segment in segments), "segments": [segment.to_json() for segment in segments]},
        "answer": answer_of(plan, records) | {"text": " ".join(segment.text for segment in segments)},
        "regions": [region.to_record() | {"origin": region.origin} for region in regions],
        "images": images,
        "steps": [record.to_json() for record in records],
        "timings": {"total_s": round(time.perf_counter() - begun, 3)},
    }
    return Run(plan, tuple(records), _copied(chat.regions), data, str(image))


def _copied(regions: RegionSet) -> RegionSet:
    return RegionSet.from_records(regions.to_records(), regions.image_size_wh)


def _save_images(records: list[StepRecord], output: Path) -> list[dict[str, Any]]:
    saved = []
    for record in records:
        for place, image in enumerate(record.value.images, 1):
            name = f"{record.id}_{record.action}{f'_{place}' if len(record.value.images) > 1 else ''}.png"
            path = (output / name).resolve()
            try:
                output.mkdir(parents=True, exist_ok=True)
                with tempfile.NamedTemporaryFile(dir=output, suffix=".png", delete=False) as file:
                    Image.fromarray(image).save(file, format="PNG")
                os.replace(file.name, path)
            except OSError as error:
                Path(file.name).unlink(missing_ok=True) if "file" in locals() else None
                raise PlanError(
                    f"the picture of {record.id} could not be written to '{output}' ({error.strerror or error}); free some space or give --output"
                ) from error
            saved.append({"step": record.id, "path": str(path), "width": int(image.shape[1]), "height": int(image.shape[0])})
    return saved


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.part")
    try:
        scratch.write_bytes(content)
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)
