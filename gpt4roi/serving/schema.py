"""The request of `/v1/chat/completions`: the OpenAI fields that mean something here, and the `region` content part."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StrictBool, StrictInt


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


class RegionPart(_Part):
    """A numbered box on the conversation's image, named in texts as `<regionN>`."""

    type: Literal["region"]
    number: StrictInt = Field(ge=1, le=100_000, description="What texts call it: 2 is `<region2>`.")
    box: list[FiniteFloat] = Field(min_length=4, max_length=4, description="x0, y0, x1, y1.")
    space: Literal["pixels", "unit", "thousandths"] = "pixels"


ContentPart = Annotated[TextPart | ImagePart | RegionPart, Field(discriminator="type")]


class Message(_Part):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[ContentPart] | None = None


class StreamOptions(_Part):
    include_usage: StrictBool = False


class ChatRequest(_Part):
    """Unknown fields are ignored; those that would change the answer and are not supported are refused."""

    model: str
    messages: list[Message] = Field(min_length=1)
    max_tokens: StrictInt | None = Field(default=None, ge=1)
    max_completion_tokens: StrictInt | None = Field(default=None, ge=1)
    temperature: FiniteFloat | None = Field(default=None, ge=0, le=2, description="0, the default, takes the likeliest token.")
    top_p: FiniteFloat | None = Field(default=None, gt=0, le=1)
    seed: StrictInt | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = None
    stream: StrictBool | None = False
    stream_options: StreamOptions | None = None
    n: StrictInt | None = None
    logprobs: StrictBool | None = None
    tools: list[Any] | None = None


PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4//8/AAX+Av4N70a4AAAAAElFTkSuQmCC"
EXAMPLES: dict[str, dict[str, Any]] = {
    "two regions": {
        "summary": "A question about two boxes on a picture",
        "value": {
            "model": "gpt4roi-embedded",
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": PIXEL}},
                        {"type": "region", "number": 1, "box": [0, 0, 500, 1000], "space": "thousandths"},
                        {"type": "region", "number": 2, "box": [0.5, 0, 1, 1], "space": "unit"},
                        {"type": "text", "text": "Is <region1> left of <region2>?"},
                    ],
                }
            ],
        },
    },
    "text": {
        "summary": "Plain text, streamed",
        "value": {"model": "gpt4roi-embedded", "stream": True, "messages": [{"role": "user", "content": "What is the capital of France?"}]},
    },
}


def request_documentation() -> dict[str, Any]:
    """`requestBody` of the OpenAPI page; the body itself is read by hand so that every mistake gets a sentence."""
    schema = ChatRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "examples": EXAMPLES}}}}
