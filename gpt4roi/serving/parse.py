"""From a request's messages to a prompt and how it is answered."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from gpt4roi.boxes import to_pixels, validate_box
from gpt4roi.conversation import Turn, mentioned_numbers
from gpt4roi.engine import Engine, Prompt, Sampling, build_prompt
from gpt4roi.errors import UserError
from gpt4roi.regions import Region
from gpt4roi.serving.errors import ApiError
from gpt4roi.serving.images import ImageStore
from gpt4roi.serving.schema import ChatRequest, ImagePart, Message, RegionPart, TextPart
from gpt4roi.serving.settings import ServerSettings


@dataclass(frozen=True)
class Job:
    """What the engine is asked."""

    prompt: Prompt
    sampling: Sampling
    known_numbers: frozenset[int]
    stop_strings: list[str]
    question: str


def parse_request(body: bytes) -> ChatRequest:
    """JSON bytes to a request; every mistake is a 400 with one sentence."""
    try:
        fields = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "the body is not valid JSON") from error
    if not isinstance(fields, dict):
        raise ApiError(400, "the body must be one JSON object")
    try:
        return ChatRequest.model_validate(fields)
    except ValidationError as error:
        # Of the alternatives that were tried, the one that fitted furthest is what was meant.
        first = max(error.errors(include_url=False, include_input=False), key=lambda one: len(one["loc"]))
        place = ".".join(str(step) for step in first["loc"])
        raise ApiError(400, f"{place}: {first['msg']}", place) from error


def _refuse_constant(name: str) -> Any:
    raise UserError(f"{name} is not JSON")


def build_job(request: ChatRequest, engine: Engine, images: ImageStore, settings: ServerSettings) -> Job:
    """Check everything and render the prompt; blocking, for a worker thread.

    Raises:
      ApiError, ValueError: what is wrong, in one sentence.
    """
    _refuse_unsupported(request, settings)
    turns = [_turn(message) for message in request.messages]
    if turns[-1].role != "user" or not turns[-1].content.strip():
        raise ApiError(400, "the last message must be a question from the user", "messages")
    characters = sum(len(turn.content) for turn in turns)
    if characters > settings.max_text_characters:
        raise ApiError(400, f"the texts have {characters} characters; at most {settings.max_text_characters} are taken", "messages")
    parts = [part for message in request.messages if isinstance(message.content, list) for part in message.content]
    urls = list(dict.fromkeys(part.image_url.url for part in parts if isinstance(part, ImagePart)))
    if len(urls) > 1:
        raise ApiError(400, f"a conversation is about one picture; {len(urls)} were given", "messages")
    given = [part for part in parts if isinstance(part, RegionPart)]
    if len(given) > settings.max_regions:
        raise ApiError(400, f"{len(given)} regions were given; at most {settings.max_regions} are taken", "messages")
    if (given or any(mentioned_numbers(turn.content) for turn in turns if turn.role == "user")) and not urls:
        raise ApiError(400, "regions were named without a picture; add an image_url part", "messages")
    image = images.load(urls[0]) if urls else None
    regions: dict[int, Region] = {}
    for part in given:
        assert image is not None  # checked above
        box = validate_box(to_pixels(part.box, image.size_wh, part.space), image.size_wh, f"<region{part.number}>")
        if regions.setdefault(part.number, Region(part.number, box)).box_xyxy != box:
            raise ApiError(400, f"<region{part.number}> is given twice with different boxes; use another number", "messages")
    prompt = build_prompt(engine.processor, turns, image, regions)
    if len(prompt.input_ids) > settings.max_prompt_tokens:
        raise ApiError(400, f"the prompt has {len(prompt.input_ids)} tokens; at most {settings.max_prompt_tokens} are taken", "messages")
    stops = [request.stop] if isinstance(request.stop, str) else list(request.stop or [])
    sampling = Sampling(
        request.max_completion_tokens or request.max_tokens or settings.default_new_tokens,
        temperature=request.temperature or 0.0,
        top_p=request.top_p or 1.0,
        seed=request.seed,
    )
    return Job(prompt, sampling, frozenset(regions), [*engine.stop_strings, *stops], turns[-1].content)


def _refuse_unsupported(request: ChatRequest, settings: ServerSettings) -> None:
    if request.model != settings.model_name:
        raise ApiError(404, f"there is no model '{request.model[:80]}' here; there is '{settings.model_name}'", "model")
    if request.n not in (None, 1):
        raise ApiError(400, "one answer a request is given; leave n out", "n")
    if request.tools:
        raise ApiError(400, "tools are not supported", "tools")
    if request.logprobs:
        raise ApiError(400, "logprobs are not supported", "logprobs")
    wanted = request.max_completion_tokens or request.max_tokens
    if wanted is not None and wanted > settings.max_new_tokens:
        raise ApiError(400, f"max_tokens is {wanted}; at most {settings.max_new_tokens} are given", "max_tokens")
    if len(request.messages) > settings.max_turns:
        raise ApiError(400, f"{len(request.messages)} messages were given; at most {settings.max_turns} are taken", "messages")
    if isinstance(request.stop, list) and (len(request.stop) > 4 or not all(request.stop)):
        raise ApiError(400, "stop takes up to four strings that are not empty", "stop")
    if any(len(stop) > 100 for stop in ([request.stop] if isinstance(request.stop, str) else request.stop or [])):
        raise ApiError(400, "a stop string has at most 100 characters", "stop")


def _turn(message: Message) -> Turn:
    role = "system" if message.role == "developer" else message.role
    if isinstance(message.content, str):
        text = message.content
    else:
        parts = message.content or []
        if role != "user" and any(not isinstance(part, TextPart) for part in parts):
            raise ApiError(400, f"pictures and regions belong into user messages, not into a {message.role} message", "messages")
        text = "\n".join(part.text for part in parts if isinstance(part, TextPart))
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ApiError(400, "a text holds half a character (a lone surrogate); send whole characters", "messages") from error
    return Turn(role, text)
