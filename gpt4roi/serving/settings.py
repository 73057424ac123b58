"""Limits of the server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ServerSettings:
    """What a client may ask for.

    api_key: required as `Authorization: Bearer …` where it is set. max_body_bytes: of one request. max_pixels: of an image, checked
    before it is decoded. max_regions, max_turns: of one conversation. max_text_characters: of all its texts together.
    max_prompt_tokens: of the rendered prompt. max_new_tokens: of an answer; more is refused. default_new_tokens: when the client names
    no number. timeout_s: from the request to the end of its answer. body_timeout_s: for sending the body. allowed_hosts: names of hosts
    that images may be fetched from; empty fetches none. decoded_bytes: budget of decoded images. log_texts: also log questions and
    answers.
    """

    model_name: str = "gpt4roi-embedded"
    api_key: str | None = None
    max_body_bytes: int = 20_000_000
    max_pixels: int = 25_000_000
    max_regions: int = 100
    max_turns: int = 100
    max_text_characters: int = 40_000
    max_prompt_tokens: int = 4096
    max_new_tokens: int = 1024
    default_new_tokens: int = 256
    timeout_s: float = 120.0
    body_timeout_s: float = 30.0
    allowed_hosts: tuple[str, ...] = ()
    decoded_bytes: int = 64 << 20
    log_texts: bool = False
