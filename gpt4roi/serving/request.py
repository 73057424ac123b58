"""From a body's bytes to a request: every mistake is a 400 with one sentence that names the field, in the client's words."""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from gpt4roi.errors import UserError
from gpt4roi.serving.errors import ApiError
from gpt4roi.serving.schema import NEUTRAL, ChatRequest
from gpt4roi.serving.settings import ServerSettings

PART_TYPES = ("text", "image_url", "region")
# pydantic's kinds of error whose own words speak of Python or of our classes.
WORDS = {
    "missing": "is missing",
    "string_type": "must be a text",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "is too large a number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "union_tag_not_found": f"needs a type: one of {', '.join(PART_TYPES)}",
    "union_tag_invalid": f"has a type that is not known here; one of {', '.join(PART_TYPES)} is",
    "string_unicode": "holds half a character (a lone surrogate); send whole characters",
}


def parse_request(body: bytes, settings: ServerSettings) -> ChatRequest:
    """JSON bytes to a request; for a worker thread.

    Raises:
      ApiError: 400, 404 for another model's name.
    """
    # Reading JSON and checking it hold Python's lock; what is counted here bounds both.
    values = body.count(b",") + body.count(b"[") + body.count(b"{")
    if values > settings.max_values:
        raise ApiError(400, f"the body holds about {values} values; at most {settings.max_values} are taken")
    try:
        fields = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "the body is not valid JSON") from error
    if not isinstance(fields, dict):
        raise ApiError(400, "the body must be one JSON object")
    messages = fields.get("messages")
    if isinstance(messages, list) and len(messages) > settings.max_turns:
        raise ApiError(400, f"{len(messages)} messages were given; at most {settings.max_turns} are taken", "messages")
    try:
        request = ChatRequest.model_validate(fields)
    except ValidationError as error:
        # Of the alternatives that were tried, the one that fitted furthest is what was meant.
        first = max(error.errors(include_url=False, include_input=False), key=lambda one: len(one["loc"]))
        place = _place(first["loc"])
        words = WORDS.get(first["type"]) or first["msg"].replace("Input should", "must").replace("Value error, ", "")
        raise ApiError(400, f"{place} {words}" if place else f"the body {words}", place or None) from error
    _refuse_unsupported(request, settings)
    return request


def _refuse_constant(name: str) -> Any:
    raise UserError(f"{name} is not JSON")


def _place(steps: tuple[int | str, ...]) -> str:
    """`messages[0].content[1].image_url.url`: without the names of alternatives that pydantic puts between."""
    place, previous = "", None
    for position, step in enumerate(steps):
        if isinstance(step, int):
            place += f"[{step}]"
        elif (
            not (isinstance(previous, int) and "content" in steps[:position] and step in PART_TYPES)
            and step.isidentifier()
            and step != "str"
        ):
            place += f".{step}" if place else step
        previous = step
    return place


def _refuse_unsupported(request: ChatRequest, settings: ServerSettings) -> None:
    try:
        request.model.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ApiError(400, "model holds half a character (a lone surrogate); send whole characters", "model") from error
    if request.model != settings.model_name:
        raise ApiError(404, f"there is no model '{request.model[:80]}' here; there is '{settings.model_name}'", "model")
    more = request.model_extra or {}
    if more.get("tools") and request.tool_choice != "none":
        raise ApiError(400, 'tools are not supported: this model answers in text; leave them out, or send "tool_choice": "none"', "tools")
    for name, neutral in NEUTRAL.items():
        value = more.get(name)
        if value is not None and not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in neutral):
            raise ApiError(400, f"{name} is not supported and would change the answer; leave it out", name)
    if isinstance(request.stop, list) and len(request.stop) > 4:
        raise ApiError(400, "stop takes up to four strings", "stop")
    if any(len(stop) > 100 for stop in ([request.stop] if isinstance(request.stop, str) else request.stop or [])):
        raise ApiError(400, "a stop string has at most 100 characters", "stop")
