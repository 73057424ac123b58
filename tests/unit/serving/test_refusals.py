"""Whatever is sent: a sentence and a 4xx, never a 500."""

from __future__ import annotations

import base64
import contextlib
import io
import json

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.unit.image_bombs import png_header
from tests.unit.serving.conftest import data_url, question


def post(base_url: str, body) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(f"{base_url}/v1/chat/completions", content=content, headers={"Content-Type": "application/json"}, timeout=30)


def with_url(url: str) -> dict:
    body = question()
    body["messages"][0]["content"][0]["image_url"]["url"] = url
    return body


def with_part(part: dict) -> dict:
    body = question()
    body["messages"][0]["content"].insert(1, part)
    return body


def encoded(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def large() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (1100, 1000)).save(buffer, "PNG")
    return buffer.getvalue()


def cut() -> bytes:
    return base64.b64decode(data_url().partition(",")[2])[:2000]


UNSUPPORTED = {
    "presence_penalty": 0.5,
    "frequency_penalty": -1,
    "logit_bias": {"5": 100},
    "functions": [{"name": "f"}],
    "audio": {"voice": "x"},
    "modalities": ["text", "audio"],
    "logprobs": True,
    "top_logprobs": 3,
    "guided_json": {"type": "object"},
}

REFUSED = {
    "no JSON": (b"{", 400, "not valid JSON"),
    "deep JSON": (b"[" * 90_000, 400, "not valid JSON"),
    "NaN": (b'{"model": NaN}', 400, "not valid JSON"),
    "huge number": (b'{"seed": ' + b"9" * 5000 + b"}", 400, "not valid JSON"),
    "not UTF-8": (b'{"model": "\xff"}', 400, "not valid JSON"),
    "a list": ([], 400, "one JSON object"),
    "nothing": ({}, 400, "model"),
    "another model": (question(model="gpt-x"), 404, "no model 'gpt-x'"),
    "no messages": (question(messages=[]), 400, "messages"),
    "a strange role": (question(messages=[{"role": "wizard", "content": "hi"}]), 400, "role"),
    "the assistant last": (question(messages=[{"role": "assistant", "content": "hi"}]), 400, "question from the user"),
    "an empty question": (question(messages=[{"role": "user", "content": "  "}]), 400, "question from the user"),
    "content null": (question(messages=[{"role": "user", "content": None}]), 400, "question from the user"),
    "too many messages": (question(messages=[{"role": "user", "content": "hi"}] * 101), 400, "at most 100"),
    "long text": (question(text="a" * 50_000), 400, "at most 40000"),
    "long prompt": (question(text="a " * 3_000), 400, "tokens"),
    "a lone surrogate": (question(text="\ud800"), 400, "half a character"),
    "unknown region": (question(text="<region7>?"), 400, "<region7>"),
    "region without picture": (question(messages=[{"role": "user", "content": "What is <region1>?"}]), 400, "without a picture"),
    "no tokens": (question() | {"max_tokens": 0}, 400, "max_tokens"),
    "temperature": (question(temperature=9), 400, "temperature"),
    "infinite temperature": (
        b'{"model": "tiny", "temperature": 1e999, "messages": [{"role": "user", "content": "hi"}]}',
        400,
        "temperature",
    ),
    "n": (question(n=3), 400, "n is not supported"),
    **{f"field {name}": (question(**{name: value}), 400, f"{name} is not supported") for name, value in UNSUPPORTED.items()},
    "tools": (question(tools=[{}]), 400, "tools are not supported"),
    "too many stops": (question(stop=["a"] * 9), 400, "stop"),
    "two pictures": (with_part({"type": "image_url", "image_url": {"url": data_url(9)}}), 400, "one picture; 2 were given"),
    "no such part": (with_part({"type": "video"}), 400, "type"),
    "box of three": (with_part({"type": "region", "number": 2, "box": [1, 2, 3]}), 400, "box"),
    "box of words": (with_part({"type": "region", "number": 2, "box": ["a", 2, 3, 4]}), 400, "box"),
    "no box": (with_part({"type": "region", "number": 2}), 400, 'needs "box_xyxy"'),
    "a mask of another size": (with_part({"type": "region", "mask": {"size": [9, 9], "counts": "Q"}}), 400, "a mask's size"),
    "a broken mask": (with_part({"type": "region", "mask": {"size": [60, 80], "counts": "\x00\xff"}}), 400, "run lengths"),
    "regions that are none": (question(regions=[{"number": 1, "box_xyxy": "x"}]), 400, "regions[0].box_xyxy must be a list"),
    "two regions, one number": (question(regions=[{"number": 1, "box_xyxy": [0, 0, 9, 9]}]), 400, "given twice"),
    "a text that is none": (
        question(messages=[{"role": "user", "content": [{"type": "text", "text": 5}]}]),
        400,
        "messages[0].content[0].text must be a text",
    ),
    "an image_url that is none": (
        with_part({"type": "image_url", "image_url": 5}),
        400,
        "messages[0].content[1].image_url must be an object",
    ),
    "a part without a type": (with_part({"text": "x"}), 400, "messages[0].content[1] needs a type"),
    "half a model": (question(model="\ud800"), 400, "half a character"),
    "empty box": (with_part({"type": "region", "number": 2, "box": [5, 5, 5, 5]}), 400, "empty"),
    "region 0": (with_part({"type": "region", "number": 0, "box": [1, 2, 3, 4]}), 400, "number"),
    "a strange space": (with_part({"type": "region", "number": 2, "box": [1, 2, 3, 4], "space": "miles"}), 400, "space"),
    "one number, two boxes": (with_part({"type": "region", "number": 1, "box": [1, 2, 3, 4]}), 400, "given twice"),
    "absurd box": (question(box=(-1e300, 0, 1e300, 10)), 400, "<region1>"),
    "named empty box": (question(box=(5, 5, 5, 5)), 400, "empty"),
    "outside box": (question(box=(500, 500, 600, 600)), 400, "80 x 60"),
    "too many regions": (
        question(
            messages=[
                {
                    "role": "user",
                    "content": [{"type": "region", "number": i + 1, "box": [0, 0, 9, 9]} for i in range(101)]
                    + [{"type": "text", "text": "hi"}],
                }
            ]
        ),
        400,
        "at most 100",
    ),
    "a bomb": (with_url(encoded(png_header(60_000, 60_000))), 400, "million pixels"),
    "a large picture": (with_url(encoded(large())), 400, "1.1 million pixels; at most 1.0 million"),
    "a cut picture": (with_url(encoded(cut())), 400, "broken"),
    "no picture": (with_url(encoded(b"hello")), 400, "not a picture"),
    "an empty picture": (with_url("data:image/png;base64,"), 400, "picture"),
    "bad base64": (with_url("data:image/png;base64,@@@"), 400, "base64"),
    "no comma": (with_url("data:image/png"), 400, "comma"),
    "a remote picture": (with_url("http://127.0.0.1:1/x.png"), 400, "fetches none"),
    "a local file": (with_url("file:///etc/passwd"), 400, "fetches none"),
    "a broken URL": (with_url("http://[::1"), 400, "cannot be read"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_are_sentences(base_url, name):
    body, status, sentence = REFUSED[name]
    response = post(base_url, body)
    assert response.status_code == status, response.text
    assert sentence in response.json()["error"]["message"]


def test_a_body_that_is_too_large_is_refused_before_it_is_read(base_url):
    assert post(base_url, b" " * 2_100_000).status_code == 413
    chunks = (b" " * 100_000 for _ in range(40))
    # The server may refuse and close while we are still sending.
    with contextlib.suppress(httpx.WriteError):
        assert (
            httpx.post(
                f"{base_url}/v1/chat/completions", content=chunks, headers={"Content-Type": "application/json"}, timeout=30
            ).status_code
            == 413
        )


def test_unknown_paths_and_methods(base_url):
    for path in ("/v2/nothing", "/v1/responses", "/v1/completions", "/"):
        error = httpx.post(f"{base_url}{path}", json={}).json()["error"]
        assert error["code"] == 404 and "POST /v1/chat/completions" in error["message"]
    assert httpx.get(f"{base_url}/v1/chat/completions").json()["error"]["code"] == 405


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
TEXTS = st.text(max_size=30) | st.sampled_from(["<region1>", "<region2><region1>", "<image><region>", "<|im_end|>", "<region99999999999>"])
PARTS = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": TEXTS | JSON}),
    st.fixed_dictionaries({"type": st.just("image_url"), "image_url": st.fixed_dictionaries({"url": st.just(data_url()) | TEXTS}) | JSON}),
    st.fixed_dictionaries(
        {"type": st.just("region"), "number": st.integers(-1, 3) | JSON, "box": st.lists(st.floats() | st.integers(-5, 90), max_size=5)},
        optional={"space": st.sampled_from(["pixels", "unit", "thousandths", "x"])},
    ),
    JSON,
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "developer", "tool"]), "content": TEXTS | st.lists(PARTS, max_size=4) | JSON}
)
REQUESTS = st.fixed_dictionaries(
    {"model": st.just("tiny") | JSON, "messages": st.lists(MESSAGES, max_size=4) | JSON, "max_tokens": st.integers(1, 3)},
    optional={
        "temperature": st.floats(0, 2) | JSON,
        "top_p": st.floats(0, 1) | JSON,
        "seed": JSON,
        "stop": JSON,
        "stream": st.booleans() | JSON,
        "stream_options": JSON,
        "n": JSON,
        "tools": JSON,
    },
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(REQUESTS | JSON)
def test_no_request_whatever_is_a_server_error(base_url, body):
    response = post(base_url, body)
    assert response.status_code in (200, 400, 404), response.text
    assert "the answer failed" not in response.text


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.binary(max_size=300))
def test_no_bytes_whatever_are_a_server_error(base_url, data):
    assert post(base_url, data).status_code == 400
    assert post(base_url, with_url(encoded(data))).status_code == 400
