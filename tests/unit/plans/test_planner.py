"""Requests to plans: kinds of requests in words of this test's own. No model."""

from __future__ import annotations

import pytest

from gpt4roi.plans.actions import PlanError
from gpt4roi.plans.planner import plan_request


def said(request: str, regions: int = 0) -> str:
    """A plan in one line."""
    steps = plan_request(request, range(1, regions + 1)).model_dump()["steps"]
    return "; ".join(f"{s['action']} " + " ".join(f"{k}={v}" for k, v in s.items() if k not in ("id", "action")) for s in steps).strip()


@pytest.mark.parametrize(
    ("request_", "regions", "plan"),
    [
        ("blur every horse and tell me how many there are", 0, "find what=horse; blur regions=s1; count regions=s1"),
        ("Remove the lamp please", 0, "find what=lamp; remove regions=s1"),
        ("paint the door red", 0, "find what=door; recolor regions=s1 color=red"),
        ("make the sky darker", 0, "find what=sky; brighten regions=s1 amount=-0.2"),
        ("the third bottle from the left", 0, "find what=bottle; select regions=s1 by=leftmost n=3"),
        ("crop <region2>", 2, "crop regions=r2"),
        ("pixelate everything except the dog", 0, "find what=dog; pixelate regions=s1 invert=True"),
        ("keep the cup in color, the rest gray", 0, "find what=cup; grayscale regions=s1 invert=True"),
        (
            "how many chairs are to the left of the table?",
            0,
            "find what=chair; find what=table; relate regions=s1 relation=left_of to=s2; count regions=s3",
        ),
        ("read <region1>", 1, "read_text regions=r1"),
        ("move the ball to the right", 0, "find what=ball; move regions=s1 dx=0.1 dy=0.0"),
        ("mirror the picture", 0, "flip axis=horizontal"),
        ("¿cuántos gatos hay?", 0, "find what=cat; count regions=s1"),
        ("Entferne den Hund", 0, "find what=dog; remove regions=s1"),
        ("describe the picture", 0, "describe"),
        ("draw me a castle in the clouds", 0, "generate prompt=castle in the clouds"),
        ("make it look like monet", 0, "edit instruction=make it look like monet"),
        ("give her a scarf", 0, "edit instruction=give her a scarf"),
        ("undo that", 0, "ask question=undo that"),
    ],
)
def test_plans(request_: str, regions: int, plan: str) -> None:
    assert said(request_, regions) == plan


def test_what_cannot_be_done_or_is_not_clear() -> None:
    assert said("email this to my boss").startswith("refuse")
    assert said("cut it out").startswith("ask_back")
    assert said("blur <region3>", 1).startswith("ask_back")
    with pytest.raises(PlanError, match="empty"):
        plan_request("  ", [])


def test_what_no_pattern_reads_is_a_question() -> None:
    assert said("Would grandmother have liked <region1>?", 1) == "ask question=Would grandmother have liked <region1>? regions=r1"
