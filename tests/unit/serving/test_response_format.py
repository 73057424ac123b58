"""Answers in the form that was asked for, whatever the model would have said: this one is random."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.unit.serving.conftest import question

SCHEMA = {
    "type": "object",
    "properties": {
        "color": {"enum": ["red", "blue"]},
        "sure": {"type": "boolean"},
        "count": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["color", "sure", "count"],
    "additionalProperties": False,
}


def ask(base_url: str, wanted: Any, **more: Any) -> httpx.Response:
    body = question(response_format=wanted) | {"max_tokens": 200, **more}
    return httpx.post(f"{base_url}/v1/chat/completions", json=body, timeout=60)


@pytest.mark.parametrize("more", [{}, {"temperature": 1.5, "seed": 3}])
def test_a_schema_is_kept(base_url: str, more: dict[str, Any]) -> None:
    response = ask(base_url, {"type": "json_schema", "json_schema": {"name": "c", "strict": True, "schema": SCHEMA}}, **more)
    assert response.status_code == 200, response.text
    choice = response.json()["choices"][0]
    answer = json.loads(choice["message"]["content"])
    assert set(answer) == {"color", "sure", "count"} and answer["color"] in ("red", "blue") and 0 <= answer["count"] <= 99
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"] == json.dumps(answer, separators=(",", ":"))


def test_an_object_begins_as_one(base_url: str) -> None:
    assert ask(base_url, {"type": "json_object"}, max_tokens=20).json()["choices"][0]["message"]["content"].startswith("{")


def test_text_changes_nothing(base_url: str) -> None:
    assert ask(base_url, {"type": "text"}).json()["choices"] == ask(base_url, None).json()["choices"]


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ({"type": "xml"}, "text, json_object or json_schema"),
        ({"type": "json_schema"}, "json_schema"),
        ({"type": "json_schema", "json_schema": {"schema": 5}}, "json_schema"),
        ({"type": "json_schema", "json_schema": {"schema": {"type": "nothing"}}}, "cannot be kept"),
        ({"type": "json_schema", "json_schema": {"schema": {"description": "x" * 30_000}}}, "at most 20,000"),
        ("json", "must be an object"),
    ],
)
def test_forms_that_cannot_be_kept_are_refused(base_url: str, wanted: Any, sentence: str) -> None:
    response = ask(base_url, wanted)
    assert response.status_code == 400 and sentence in response.json()["error"]["message"]
