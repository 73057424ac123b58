"""Plans are valid as a whole or refused with one sentence."""

from __future__ import annotations

from typing import Any

import pytest

from gpt4roi.plans.actions import ACTIONS, PlanError, parse_plan, plan_schema
from gpt4roi.plans.tools import TOOLS

FIND: dict[str, Any] = {"id": "s1", "action": "find", "what": "dog"}


def test_every_action_has_a_tool() -> None:
    assert TOOLS.keys() == ACTIONS.keys()


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([], "1 to 8 steps"),
        ([{**FIND, "id": f"s{n}"} for n in range(1, 10)], "1 to 8 steps"),
        ([{"id": "s1", "action": "fly"}], "no action 'fly'"),
        ([{"id": "s1", "action": "blur", "regions": "s2"}], "no earlier step"),
        ([{"id": "s1", "action": "blur", "regions": "r7"}], "no region r7"),
        ([{"id": "s1", "action": "find"}], "'what'"),
        ([{**FIND, "wings": 2}], "'wings'"),
        ([{**FIND, "id": "s2"}], "has the id 's1'"),
        ([FIND, {"id": "s2", "action": "count", "regions": "s1"}, {"id": "s3", "action": "blur", "regions": "s2"}], "gives number"),
        ([FIND, {"id": "s2", "action": "select", "regions": "s1", "by": "nearest"}], "nearest"),
        ([{"id": "s1", "action": "recolor", "regions": "r1", "color": "teal"}], "color"),
        ([{"id": "s1", "action": "rotate", "angle": True}], "number"),
        (["blur"], "a step is"),
    ],
)
def test_bad_plans(steps: list[Any], words: str) -> None:
    with pytest.raises(PlanError, match=words):
        parse_plan({"version": 1, "steps": steps}, [1])


def test_a_plan_is_written_as_it_was_read() -> None:
    steps = [
        FIND,
        {"id": "s2", "action": "move", "regions": "s1", "dx": -0.1, "copy": True},
        {"id": "s3", "action": "replace_background", "regions": "s1", "with": "blue"},
    ]
    assert parse_plan({"version": 1, "steps": steps}, []).model_dump()["steps"] == steps


def test_the_schema_names_only_regions_that_exist() -> None:
    text = str(plan_schema([2, 5]))
    assert "r(?:2|5)" in text and "r(?:2|5)" not in str(plan_schema([]))
