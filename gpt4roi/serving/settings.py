"""Limits of the server."""

from __future__ import annotations

from dataclasses import dataclass

from gpt4roi.images import MAX_PIXELS


@dataclass(frozen=True)
class ServerSettings:
    """What a client may ask for.

    api_key: required as `Authorization: Bearer …` where it is set. host: the address that is bound. allowed_origins: web pages of other
    origins that may ask (`https://a.example`, or `*`). max_body_bytes: of one request. max_bodies_bytes: of all requests that are being
    read or prepared, together. max_values: numbers, texts, lists and objects of one request. max_requests: requests under way; more get
    503. max_pixels: of an image, checked before it is decoded. max_regions, max_turns: of one conversation. max_text_characters: of all
    its texts together. max_prompt_tokens: of the rendered prompt. max_new_tokens: of an answer; what a client asks beyond it is cut.
    default_new_tokens: when the client names no number. timeout_s: from the request to the end of its answer. header_timeout_s,
    body_timeout_s: for sending head and body. fetch_timeout_s: for one image from an allowed host, in all. allowed_hosts: `name` or
    `name:port` of hosts that images may be fetched from; empty fetches none. decoded_bytes: budget of decoded images. log_texts: also log
    questions and answers.
    """

    model_name: str = "gpt4roi-embedded"
    api_key: str | None = None
    host: str = "127.0.0.1"
    allowed_origins: tuple[str, ...] = ()
    max_body_bytes: int = 20_000_000
    max_bodies_bytes: int = 400_000_000
    max_values: int = 100_000
    max_requests: int = 136
    max_pixels: int = MAX_PIXELS
    max_regions: int = 100
    max_turns: int = 100
    max_text_characters: int = 40_000
    max_prompt_tokens: int = 4096
    max_new_tokens: int = 1024
    default_new_tokens: int = 256
    timeout_s: float = 120.0
    header_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    fetch_timeout_s: float = 10.0
    allowed_hosts: tuple[str, ...] = ()
    decoded_bytes: int = 64 << 20
    log_texts: bool = False
