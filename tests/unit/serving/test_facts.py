"""The embedded default's eyes through the real API: what was found comes back as regions, streamed or not."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpt4roi.chat import RegionChat
from gpt4roi.serving.settings import ServerSettings
from tests.unit.serving.conftest import running_server

CAT = Path(__file__).parents[3] / "docs" / "samples" / "cat.jpg"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    chat = RegionChat.from_pretrained()
    with running_server(chat.engine, ServerSettings(model_name="embedded")) as address:
        yield address


def ask(url: str, text: str, **more: Any) -> bytes:
    image = "data:image/jpeg;base64," + base64.b64encode(CAT.read_bytes()).decode()
    parts = [{"type": "image_url", "image_url": {"url": image}}, {"type": "text", "text": text}]
    body = json.dumps({"model": "embedded", "messages": [{"role": "user", "content": parts}], **more}).encode()
    asked = urllib.request.Request(f"{url}/v1/chat/completions", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=120) as reply:
        return reply.read()


def test_what_is_found_comes_back_as_regions(url: str) -> None:
    message = json.loads(ask(url, "How many cats are there?"))["choices"][0]["message"]
    assert message["content"] == "One cat: <region1>."
    assert [(region["number"], region["label"], region["origin"]) for region in message["regions"]] == [(1, "cat", "found")]


def test_a_region_that_is_given_is_named_with_scores(url: str) -> None:
    reply = json.loads(ask(url, "What is this?", regions=[{"number": 1, "box": [20, 10, 400, 290]}]))
    message = reply["choices"][0]["message"]
    assert "cat" in message["content"].lower() and message["scores"]["cat"] > 0.5
    assert reply["usage"]["completion_tokens"] == 0


def test_a_streamed_fact_is_one_piece(url: str) -> None:
    lines = ask(url, "Is there a zebra?", stream=True).decode().strip().split("\n\n")
    pieces = [json.loads(line[6:])["choices"][0]["delta"].get("content", "") for line in lines if line != "data: [DONE]"]
    assert "".join(pieces) == "No, I see no zebra here." and lines[-1] == "data: [DONE]"
