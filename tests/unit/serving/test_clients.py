"""Requests as other clients write them: every way to say the same thing gives the same answer."""

from __future__ import annotations

import base64
import copy

import httpx
import pytest

from tests.unit.serving.conftest import data_url, question


def ask(base_url: str, body: dict) -> dict:
    response = httpx.post(f"{base_url}/v1/chat/completions", json=body, timeout=30)
    assert response.status_code == 200, response.text
    return response.json()


def text_of(base_url: str, body: dict) -> str:
    return ask(base_url, body)["choices"][0]["message"]["content"]


def parts(body: dict) -> list:
    return body["messages"][0]["content"]


def changed(change) -> dict:
    body = copy.deepcopy(question())
    change(parts(body))
    return body


URL = data_url()
PACKED = URL.partition(",")[2]
BROKEN_LINES = "\n".join(PACKED[i : i + 76] for i in range(0, len(PACKED), 76))
MASK = {"size": [60, 80], "counts": None}


def image_as(part) -> dict:
    return changed(lambda p: p.__setitem__(0, part))


def region_as(part) -> dict:
    return changed(lambda p: p.__setitem__(1, part))


SAME = {
    "box_xyxy": region_as({"type": "region", "number": 1, "box_xyxy": [1, 1, 40, 40], "label": "dog", "origin": "drawn", "score": 0.5}),
    "no number": region_as({"type": "region", "box_xyxy": [1, 1, 40, 40]}),
    "beside the messages": changed(lambda p: p.pop(1)) | {"regions": [{"number": 1, "box_xyxy": [1, 1, 40, 40]}]},
    "in the text": changed(lambda p: (p.pop(1), p.__setitem__(1, {"type": "text", "text": "What is <region1>[1, 1, 40, 40]?"}))),
    "in the text with an end": changed(
        lambda p: (p.pop(1), p.__setitem__(1, {"type": "text", "text": "What is <region1>[1,1,40.0,40]</region1>?"}))
    ),
    "not named": changed(lambda p: p.__setitem__(2, {"type": "text", "text": "What is this?"})),
    "spoken": changed(lambda p: p.__setitem__(2, {"type": "text", "text": "What is <Region 1>?"})),
    "image_url as text": image_as({"type": "image_url", "image_url": URL}),
    "input_image": image_as({"type": "input_image", "image_url": URL, "detail": "auto"}),
    "input_text": changed(lambda p: p.__setitem__(2, {"type": "input_text", "text": "What is <region1>?"})),
    "a text among the parts": changed(lambda p: p.__setitem__(2, "What is <region1>?")),
    "line breaks": image_as({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{BROKEN_LINES}"}}),
    "no padding": image_as({"type": "image_url", "image_url": {"url": URL.rstrip("=")}}),
    "another alphabet": image_as(
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.urlsafe_b64encode(base64.b64decode(PACKED)).decode()}}
    ),
    "bare base64": image_as({"type": "image_url", "image_url": {"url": PACKED}}),
    "both lengths": question() | {"max_tokens": 900, "max_completion_tokens": 12},
    "a length that is no whole number": question() | {"max_tokens": 12.0},
    "nulls": question() | dict.fromkeys(("temperature", "top_p", "seed", "stop", "n", "tools", "response_format", "logit_bias", "user")),
    "neutral values": question()
    | {"presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {}, "n": 1, "logprobs": False, "top_logprobs": 0, "tools": []}
    | {"user": "u", "metadata": {}, "store": False, "stop": "", "parallel_tool_calls": True, "modalities": ["text"]},
    "tools that are not to be used": question(tools=[{"type": "function", "function": {"name": "w"}}], tool_choice="none"),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_question_in_other_words(base_url: str, name: str) -> None:
    assert text_of(base_url, SAME[name]) == text_of(base_url, question())


def test_a_region_that_no_text_names_is_not_dropped(base_url: str) -> None:
    def about(box: list) -> str:
        return text_of(base_url, question(text="What color is it?", box=box))

    without = changed(lambda p: (p.pop(1), p.__setitem__(1, {"type": "text", "text": "What color is it?"})))
    assert len({about([1, 1, 40, 40]), about([50, 30, 80, 60]), text_of(base_url, without)}) == 3


def test_an_image_alone_gets_the_default_question(base_url: str) -> None:
    alone = changed(lambda p: p.__delitem__(slice(1, None)))
    asked = changed(lambda p: (p.pop(1), p.__setitem__(1, {"type": "text", "text": "What is in the picture?"})))
    assert text_of(base_url, alone) == text_of(base_url, asked)


def test_the_newest_image_is_meant(base_url: str) -> None:
    body = question(seed=3)
    body["messages"] += [{"role": "assistant", "content": "A dog."}, *question(seed=4)["messages"]]
    assert text_of(base_url, body) == text_of(base_url, question(seed=4))


def test_the_same_image_with_every_turn_is_one(base_url: str) -> None:
    body = question()
    body["messages"] += [{"role": "assistant", "content": "A dog."}, *question(text="And why is it <region1>?")["messages"]]
    once = copy.deepcopy(body)
    once["messages"][2]["content"] = "And why is it <region1>?"
    assert text_of(base_url, body) == text_of(base_url, once)


def test_a_length_beyond_the_servers_is_cut(base_url: str) -> None:
    assert ask(base_url, question() | {"max_tokens": 10**9, "stop": None})["usage"]["completion_tokens"] <= 1500


def test_boxes_of_detectors_are_cut_at_the_edge_and_mistakes_are_not(base_url: str) -> None:
    inside = text_of(base_url, question(box=(40, 30, 80, 60)))
    assert text_of(base_url, question(box=(40, 30, 80.7, 60.5))) == inside
    unit = region_as({"type": "region", "number": 1, "box": [0.5, 0.5, 1.003, 1.0], "space": "unit"})
    assert text_of(base_url, unit) == inside
    wrong = httpx.post(f"{base_url}/v1/chat/completions", json=question(box=(40, 30, 90, 60)))
    assert wrong.status_code == 400 and "leaves the picture" in wrong.text


def test_a_mask_is_a_region(base_url: str) -> None:
    from gpt4roi import masks

    rle = masks.from_polygons([[40, 30, 80, 30, 80, 60, 40, 60]], (80, 60)) if hasattr(masks, "from_polygons") else None
    if rle is None:
        pytest.skip("no polygons")
    assert ask(base_url, region_as({"type": "region", "number": 1, "mask": dict(rle)}))["choices"]


def test_tool_messages_are_taken_as_text(base_url: str) -> None:
    messages = [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "w", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "Sunny."},
    ]
    assert ask(base_url, {"model": "tiny", "messages": messages, "max_tokens": 2})["choices"]


def test_models_tell_what_clients_ask(base_url: str) -> None:
    card = httpx.get(f"{base_url}/v1/models").json()["data"][0]
    assert card["max_model_len"] == 4096 and card["architecture"]["input_modalities"] == ["text", "image"]
