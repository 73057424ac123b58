"""The request of `/v1/chat/completions`: the OpenAI fields that mean something here, and regions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, StrictBool, StrictInt

MAX_PARTS = 1_000
MAX_MESSAGES = 10_000


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore")


class TextPart(_Part):
    type: Literal["text"]
    text: str


class ImageUrl(_Part):
    url: str = Field(description="A data URL (`data:image/jpeg;base64,…`); http(s) only from hosts that the server was told to allow.")


class ImagePart(_Part):
    type: Literal["image_url"]
    image_url: ImageUrl


class RegionFields(BaseModel):
    """A numbered region of the newest image, named in texts as `<regionN>`; a box, a mask, or both."""

    model_config = ConfigDict(extra="allow")

    number: StrictInt | None = Field(default=None, description="What texts call it: 2 is `<region2>`; without it, its place in the list.")
    box_xyxy: list[FiniteFloat] | None = Field(default=None, description="x0, y0, x1, y1.")
    box: list[FiniteFloat] | None = Field(default=None, description="An older name of box_xyxy.")
    space: Literal["pixels", "unit", "thousandths"] = Field(default="pixels", description="Of the box: pixels, shares, or thousandths.")
    mask: dict[str, Any] | None = Field(default=None, description='COCO run lengths in pixels, `{"size": [h, w], "counts": "…"}`.')


class RegionPart(RegionFields):
    type: Literal["region"]


ContentPart = Annotated[TextPart | ImagePart | RegionPart, Field(discriminator="type")]


def _as_parts(content: Any) -> Any:
    """What clients send as content, as a list of parts: null, a text, one part, texts among parts, and the names of the newer API."""
    if content is None:
        return []
    items = content if isinstance(content, list) else [content]
    return [_as_part(item) for item in items[: MAX_PARTS + 1]]


def _as_part(item: Any) -> Any:
    if isinstance(item, str):
        return {"type": "text", "text": item}
    if not isinstance(item, Mapping):
        return item
    kind = item.get("type")
    if kind in ("input_text", "output_text", "refusal"):
        return {"type": "text", "text": item.get("text", item.get("refusal"))}
    if kind in ("image_url", "input_image"):
        url = item.get("image_url")
        return {"type": "image_url", "image_url": {"url": url} if isinstance(url, str) else url}
    return item


Content = Annotated[
    list[ContentPart],
    Field(fail_fast=True),
    Field(max_length=MAX_PARTS),
    BeforeValidator(_as_parts, json_schema_input_type=str | list[ContentPart] | None),
]


class Message(_Part):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Content = []


class StreamOptions(_Part):
    include_usage: StrictBool | None = False


class ChatRequest(BaseModel):
    """Fields that would change the answer and are not supported are refused by name; other unknown fields are ignored."""

    model_config = ConfigDict(extra="allow")

    model: str
    messages: Annotated[list[Message], Field(fail_fast=True)] = Field(min_length=1, max_length=MAX_MESSAGES)
    regions: Annotated[list[RegionFields], Field(fail_fast=True)] | None = Field(
        default=None, max_length=MAX_MESSAGES, description="Regions of the newest image, for clients that check content parts themselves."
    )
    max_tokens: int | None = Field(default=None, ge=1, description="More than the server gives is cut.")
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: FiniteFloat | None = Field(default=None, ge=0, le=2, description="0, the default, takes the likeliest token.")
    top_p: FiniteFloat | None = Field(default=None, gt=0, le=1)
    seed: StrictInt | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: str | Annotated[list[str], Field(fail_fast=True)] | None = None
    stream: StrictBool | None = False
    stream_options: StreamOptions | None = None
    response_format: dict[str, Any] | None = None
    tool_choice: Any = None


# Fields that would change the answer, and the values that change nothing. null never does.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "functions": ([],),
    "function_call": ("none",),
    "audio": (),
    "modalities": (["text"],),
    "prediction": (),
    "web_search_options": (),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "logit_bias": ({},),
    "top_k": (0, -1),
    "min_p": (0,),
    "min_tokens": (0,),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "guided_grammar": (),
    "structured_outputs": (),
}

PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4//8/AAX+Av4N70a4AAAAAElFTkSuQmCC"


def _example(summary: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"summary": summary, "value": {"model": "gpt4roi-embedded", "messages": [{"role": "user", "content": content}], **more}}


_IMAGE = {"type": "image_url", "image_url": {"url": PIXEL}}
EXAMPLES: dict[str, dict[str, Any]] = {
    "two regions": _example(
        "A question about two boxes on a picture",
        [
            _IMAGE,
            {"type": "region", "number": 1, "box_xyxy": [0, 0, 500, 1000], "space": "thousandths"},
            {"type": "region", "number": 2, "box_xyxy": [0.5, 0, 1, 1], "space": "unit"},
            {"type": "text", "text": "Is <region1> left of <region2>?"},
        ],
    ),
    "regions beside the messages": _example(
        "For clients that refuse content parts that they do not know",
        [_IMAGE, {"type": "text", "text": "What is <region1>?"}],
        regions=[{"number": 1, "box_xyxy": [0, 0, 1, 1]}],
    ),
    "regions in the text": _example(
        "For proxies that drop what they do not know: pixels in brackets after the name",
        [_IMAGE, {"type": "text", "text": "What is <region1>[0, 0, 1, 1]?"}],
    ),
    "text": _example("Plain text, streamed", "What is the capital of France?", stream=True),
}


def request_documentation() -> dict[str, Any]:
    """`requestBody` of the OpenAPI page; the body itself is read by hand so that every mistake gets a sentence."""
    schema = {"$ref": "#/components/schemas/ChatRequest"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "examples": EXAMPLES}}}}


def component_schemas() -> dict[str, Any]:
    """What `request_documentation` refers to, and what that refers to."""
    schema = ChatRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs"), "ChatRequest": schema}
