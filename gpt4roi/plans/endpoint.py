"""Plans by any OpenAI-compatible endpoint: JSON by schema, one turn to repair what is wrong, then an honest failure."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Collection
from typing import Any

from gpt4roi.plans.actions import ACTIONS, MAX_STEPS, Plan, PlanError, parse_plan, plan_schema

TIMEOUT_S = 60.0
KEY = "OPENAI_API_KEY"
_INSTRUCTION = """Turn a request about a picture into a plan of at most {limit} steps with the ids s1, s2 … in order. Reply with JSON alone.
References are rN (region N that the user drew, written <regionN>; there are {drawn}) and sN (what an earlier step gave).
Noun phrases are English and singular. Plurals: find; one described thing: locate; ordinals and superlatives: find, then select; exceptions: combine with difference;
everything but a thing: invert true; a question or small talk: ask; what is not clear: ask_back; what no action can do: refuse. Actions:
{actions}"""


def plan_by_endpoint(url: str, model: str, request: str, regions: Collection[int]) -> Plan:
    """The plan of a request by another model. A key is taken from the environment (`OPENAI_API_KEY`).

    Args:
      url: of the API, such as `http://localhost:8000/v1`.
    Raises:
      PlanError: it does not answer, or its plan is still wrong after one repair.
    """
    if not request.strip():
        raise PlanError("the request is empty; say what is to be done")
    actions = "\n".join(f"- {name}: {(action.__doc__ or '').splitlines()[0]}" for name, action in ACTIONS.items())
    system = _INSTRUCTION.format(limit=MAX_STEPS, drawn=", ".join(f"r{n}" for n in regions) or "none", actions=actions)
    messages = [{"role": "system", "content": system}, {"role": "user", "content": request}]
    said = _complete(url, model, messages, regions)
    try:
        return _read(said, request, regions)
    except PlanError as error:
        messages += [
            {"role": "assistant", "content": said},
            {"role": "user", "content": f"That plan cannot run: {error}. Reply with the whole corrected plan."},
        ]
    try:
        return _read(_complete(url, model, messages, regions), request, regions)
    except PlanError as error:
        raise PlanError(
            f"'{model}' made no plan that can run, even after one repair ({error}); say it differently or use another model"
        ) from error


def _read(said: str, request: str, regions: Collection[int]) -> Plan:
    try:
        data = json.loads(said)
    except ValueError as error:
        raise PlanError(f"the reply is no JSON ({error})") from error
    if isinstance(data, dict):
        data.pop("request", None)
    return parse_plan(data, regions, request)


def _complete(url: str, model: str, messages: list[dict[str, str]], regions: Collection[int]) -> str:
    form = {"type": "json_schema", "json_schema": {"name": "plan", "schema": plan_schema(regions)}}
    body = {"model": model, "messages": messages, "temperature": 0, "response_format": form}
    key = os.environ.get(KEY)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    try:
        asked = urllib.request.Request(f"{url.rstrip('/')}/chat/completions", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(asked, timeout=TIMEOUT_S) as reply:
            said: Any = json.load(reply)["choices"][0]["message"]["content"]
    except urllib.error.HTTPError as error:
        detail = " ".join(error.read(300).decode(errors="replace").split())
        raise PlanError(
            f"the planner at '{url}' refused with status {error.code} ({detail}); check --planner-url and --planner-model"
        ) from error
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise PlanError(f"the planner at '{url}' gave no answer ({error}); check --planner-url and whether it runs") from error
    if not isinstance(said, str):
        raise PlanError(f"the planner at '{url}' answered without text; use a model that replies in JSON")
    return said
