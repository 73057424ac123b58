"""The official client over a real socket."""

from __future__ import annotations

import concurrent.futures
import threading
import time

import httpx
import openai
import pytest

from gpt4roi.chat import RegionChat
from gpt4roi.engine import Engine, EngineSettings, load_picture
from gpt4roi.serving.images import read_data_url
from gpt4roi.serving.settings import ServerSettings
from tests.unit.serving.conftest import data_url, question, running_server


@pytest.fixture
def client(base_url):
    with openai.OpenAI(base_url=f"{base_url}/v1", api_key="unused", max_retries=0) as client:
        yield client


def expected_text(engine, seed=0, box=(1, 1, 40, 40), text="What is <region1>?", tokens=12) -> str:
    chat = RegionChat(engine.model, engine.processor, engine)
    chat.set_image(read_data_url(data_url(seed)))
    chat.add_region(box)
    return chat.ask(text, tokens).text


def test_models(client):
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "gpt4roi"


def test_an_answer_is_that_of_the_chat(client, engine):
    completion = client.chat.completions.create(**question())
    assert completion.choices[0].message.content == expected_text(engine)
    assert completion.choices[0].finish_reason == "length"
    assert completion.usage.completion_tokens == 12
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + 12


def test_streaming_gives_the_same_text_and_usage(client, engine):
    chunks = list(client.chat.completions.create(**question(), stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == expected_text(engine)
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].usage.completion_tokens == 12


def test_a_second_turn_reuses_the_first(client):
    first = question(seed=5)
    answer = client.chat.completions.create(**first)
    assert answer.usage.prompt_tokens_details.cached_tokens < answer.usage.prompt_tokens - 1
    first["messages"] += [
        {"role": "assistant", "content": answer.choices[0].message.content},
        {"role": "user", "content": "And why, <region1>?"},
    ]
    second = client.chat.completions.create(**first)
    assert second.usage.prompt_tokens_details.cached_tokens > answer.usage.prompt_tokens - 15
    assert second.usage.model_extra["gpt4roi"]["picture_cached"] == 1


def test_spaces_of_boxes_mean_the_same_box(client):
    answers = set()
    for box, space in (((8, 6, 40, 30), "pixels"), ((0.1, 0.1, 0.5, 0.5), "unit"), ((100, 100, 500, 500), "thousandths")):
        body = question(box=box)
        body["messages"][0]["content"][1]["space"] = space
        answers.add(client.chat.completions.create(**body).choices[0].message.content)
    assert len(answers) == 1


def test_concurrent_clients_get_their_own_answers(client, engine):
    jobs = [(seed, (1 + seed, 1, 40 + seed, 50)) for seed in range(12)]
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        futures = [pool.submit(client.chat.completions.create, **question(seed=seed, box=box)) for seed, box in jobs]
        answers = [future.result().choices[0].message.content for future in futures]
    assert answers == [expected_text(engine, seed, box) for seed, box in jobs]
    assert len(set(answers)) > 8


def test_leaving_a_stream_frees_the_place(client, engine):
    stream = client.chat.completions.create(**question() | {"max_tokens": 1500}, stream=True)
    next(iter(stream))
    stream.close()
    deadline = time.monotonic() + 10
    while engine.running_count and time.monotonic() < deadline:
        time.sleep(0.01)
    assert engine.running_count == 0


def test_a_full_queue_is_429_with_retry_after(tiny):
    engine = Engine(*tiny, EngineSettings(max_active=1, max_waiting=0))
    with running_server(engine, ServerSettings(model_name="tiny", max_new_tokens=1500)) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)
        stream = client.chat.completions.create(**question() | {"max_tokens": 1500}, stream=True)
        next(iter(stream))
        with pytest.raises(openai.RateLimitError, match="waiting already") as refused:
            client.chat.completions.create(**question())
        assert int(refused.value.response.headers["Retry-After"]) >= 1
        stream.close()
        client.close()


def test_the_key_is_asked_for(tiny):
    # Engines of their own: a server closes its engine when it stops.
    with running_server(Engine(*tiny), ServerSettings(model_name="tiny", api_key="s3cret")) as url:
        assert httpx.get(f"{url}/healthz").status_code == 200
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic s3cret"}):
            for path in ("/v1/models", "/metrics"):
                assert httpx.get(url + path, headers=headers).status_code == 401
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0).chat.completions.create(**question())
        right = openai.OpenAI(base_url=f"{url}/v1", api_key="s3cret", max_retries=0)
        assert right.chat.completions.create(**question()).usage.completion_tokens == 12


def test_answers_that_take_too_long_are_504_and_freed(tiny):
    engine = Engine(*tiny)
    # A random model may stop by itself; here it must go on.
    engine.end_ids = frozenset()
    with running_server(engine, ServerSettings(model_name="tiny", timeout_s=0.05, max_new_tokens=1500)) as url:
        response = httpx.post(f"{url}/v1/chat/completions", json=question() | {"max_tokens": 1500}, timeout=30)
        assert response.status_code == 504
        assert "longer than" in response.json()["error"]["message"]
        deadline = time.monotonic() + 10
        while engine.running_count and time.monotonic() < deadline:
            time.sleep(0.01)
        assert engine.running_count == 0


def test_shutting_down_lets_answers_end(tiny):
    engine = Engine(*tiny, EngineSettings(precision="float32"))
    texts: list[str] = []
    with running_server(engine, ServerSettings(model_name="tiny", max_new_tokens=1500)) as url:

        def ask():
            reply = httpx.post(f"{url}/v1/chat/completions", json=question() | {"max_tokens": 200}, timeout=60)
            texts.append(reply.json()["usage"]["completion_tokens"])

        thread = threading.Thread(target=ask)
        thread.start()
        while not engine.running_count:
            time.sleep(0.001)
    thread.join(30)
    assert texts and texts[0] > 0


def test_metrics_and_health_and_docs(client, base_url):
    client.chat.completions.create(**question())
    assert httpx.get(f"{base_url}/healthz").json()["status"] == "ok"
    metrics = httpx.get(f"{base_url}/metrics").text
    for name in ("gpt4roi_requests_total", "gpt4roi_first_token_seconds_bucket", "gpt4roi_prefix_cache_bytes", "gpt4roi_waiting"):
        assert name in metrics
    document = httpx.get(f"{base_url}/openapi.json").json()
    content = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]
    assert "two regions" in content["examples"]


def test_the_documented_examples_work(base_url):
    document = httpx.get(f"{base_url}/openapi.json").json()
    content = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]
    for example in content["examples"].values():
        body = example["value"] | {"model": "tiny", "max_tokens": 3, "stream": False}
        assert httpx.post(f"{base_url}/v1/chat/completions", json=body).status_code == 200


def test_load_picture_is_decoded_once(engine):
    from gpt4roi.serving.images import PictureStore

    store = PictureStore(engine.processor, ServerSettings())
    assert store.load(data_url(3)) is store.load(data_url(3))
    assert store.load(data_url(3)).key == load_picture(read_data_url(data_url(3)), engine.processor).key
