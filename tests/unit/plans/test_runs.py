"""Plans on a real photograph with the embedded model: results, evidence, replay, an edited step, failures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gpt4roi.chat import RegionChat
from gpt4roi.plans.actions import PlanError, parse_plan
from gpt4roi.plans.planner import plan_request
from gpt4roi.plans.record import Run, run_plan

IMAGE = Path(__file__).parents[3] / "docs" / "samples" / "cat.jpg"


@pytest.fixture(scope="module")
def loaded() -> RegionChat:
    return RegionChat.from_pretrained()


def run(loaded: RegionChat, output: Path, request: str = "", steps: list[dict[str, Any]] | None = None) -> Run:
    chat = loaded.new_session()
    chat.set_image(IMAGE)
    plan = plan_request(request, []) if steps is None else parse_plan({"version": 1, "steps": steps}, [])
    return run_plan(chat, IMAGE, plan, "embedded", output)


def test_a_request_is_answered_with_evidence_and_a_picture(loaded: RegionChat, tmp_path: Path) -> None:
    done = run(loaded, tmp_path, "pixelate every cat and tell me how many there are")
    assert done.reply == "Cat: pixelated. There is 1 cat."
    assert done.json["answer"]["number"] == 1
    assert all(segment["evidence"]["steps"] for segment in done.json["reply"]["segments"])
    (saved,) = done.json["images"]
    before, after = np.asarray(Image.open(IMAGE).convert("RGB")), np.asarray(Image.open(saved["path"]))
    assert after.shape == before.shape and (after != before).any()


def test_what_is_not_there_is_not_edited(loaded: RegionChat, tmp_path: Path) -> None:
    done = run(loaded, tmp_path, "blur the zebra")
    assert done.reply == "I found no zebra in the picture, so blur was skipped."
    assert done.json["images"] == []


def test_every_number_name_and_region_of_a_reply_is_in_the_results(loaded: RegionChat, tmp_path: Path) -> None:
    for request in ("how many cats are there", "find the cat", "how big is the cat", "the leftmost cat"):
        done = run(loaded, tmp_path, request)
        known = {region["number"] for region in done.json["regions"]}
        for segment in done.json["reply"]["segments"]:
            assert set(segment["evidence"]["regions"]) <= known


def test_replay_is_identical_and_an_edit_runs_only_what_depends_on_it(loaded: RegionChat, tmp_path: Path) -> None:
    done = run(loaded, tmp_path / "one", "blur the cat")
    done.save(tmp_path / "one" / "run.json")
    saved = Run.load(tmp_path / "one" / "run.json")
    assert json.dumps(saved.replay()) == json.dumps(done.json)
    again = saved.again(loaded.new_session(), tmp_path / "two", {"s2": {"action": "pixelate"}})
    assert [record.cached for record in again.steps] == [True, False]
    assert (again.images[0] != done.images[0]).any()
    fresh = saved.again(loaded.new_session(), tmp_path / "three", fresh=True)
    assert not any(record.cached for record in fresh.steps)
    assert (fresh.images[0] == done.images[0]).all()
    with pytest.raises(PlanError, match="no step 's9'"):
        saved.again(loaded.new_session(), tmp_path / "four", {"s9": {"color": "red"}})


def test_a_failing_step_ends_its_branch_alone(loaded: RegionChat, tmp_path: Path) -> None:
    steps = [
        {"id": "s1", "action": "find", "what": "flurb"},
        {"id": "s2", "action": "blur", "regions": "s1"},
        {"id": "s3", "action": "find", "what": "cat"},
        {"id": "s4", "action": "count", "regions": "s3"},
    ]
    done = run(loaded, tmp_path, steps=steps)
    assert [bool(record.error) for record in done.steps] == [True, True, False, False]
    assert done.steps[3].value.number == 1 and "flurb" in done.reply


def test_a_run_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[1]")
    for name, words in (("gone.json", "could not be read"), ("x.json", "no saved run")):
        with pytest.raises(PlanError, match=words):
            Run.load(tmp_path / name)
