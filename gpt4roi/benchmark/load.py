"""Many clients at once against the real server on loopback."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from gpt4roi.benchmark.measures import resident_bytes
from gpt4roi.engine import Engine

CLIENTS = (1, 4, 16)
# Memory is looked at after every so many requests of a round.
MEMORY_EVERY = 100
PAINTS = ("red", "blue", "yellow", "green", "white", "black", "orange", "hotpink")


def two_coloured(index: int) -> Image.Image:
    """160 x 120, two thirds of one paint beside a third of another: no two of the first 16 are alike, nor should their answers be."""
    first, second = PAINTS[index % len(PAINTS)], PAINTS[(index + 1 + index // len(PAINTS)) % len(PAINTS)]
    image = Image.new("RGB", (160, 120), first)
    image.paste(second, (107, 0, 160, 120))
    return image


def body_of(index: int, tokens: int, model_name: str) -> bytes:
    """A question of its own: client `index` has its own image and box."""
    buffer = io.BytesIO()
    two_coloured(index).save(buffer, "JPEG")
    url = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    box = [2 + index, 5, 150 - index % 5, 110 - index % 7]
    parts = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "region", "number": 1, "box": box},
        {"type": "text", "text": "What color is <region1>?"},
    ]
    return json.dumps({"model": model_name, "max_tokens": tokens, "messages": [{"role": "user", "content": parts}]}).encode()


def post(port: int, body: bytes, timeout_s: float = 120.0) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


@contextlib.contextmanager
def server(engine: Engine, model_name: str) -> Iterator[int]:
    """The real application on a free port of loopback; gives the port."""
    import uvicorn

    from gpt4roi.serving.app import create_app
    from gpt4roi.serving.settings import ServerSettings

    running = uvicorn.Server(
        uvicorn.Config(create_app(engine, ServerSettings(model_name=model_name)), port=0, log_level="warning", timeout_graceful_shutdown=30)
    )
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        while not running.started:
            if not thread.is_alive():
                raise RuntimeError("the server did not start")
            time.sleep(0.02)
        yield running.servers[0].sockets[0].getsockname()[1]
    finally:
        running.should_exit = True
        thread.join(60)


def load(engine: Engine, requests: int = 48, tokens: int = 8, model_name: str = "load") -> dict[str, Any]:
    """Latency at 1, 4 and 16 clients, answers lost or mixed up, memory, and what happens past the queue's bound.

    Every round gives `memory_mb`: at its start (`0`), after each 100 requests, and at its end. The engine is closed afterwards.
    """
    bodies = [body_of(index, tokens, model_name) for index in range(16)]
    result: dict[str, Any] = {"clients": {}}
    with server(engine, model_name) as port:
        first = [_text(post(port, body)[1]) for body in bodies]
        # Compared with what every later request finds, the caches filled: in low precision a kept prefix may turn a near tie.
        alone = [_text(post(port, body)[1]) for body in bodies]
        result["distinct_answers"] = len(set(alone))
        result["changed_by_caches"] = sum(one != other for one, other in zip(first, alone, strict=True))
        for clients in CLIENTS:
            result["clients"][clients] = _round(port, bodies, alone, clients, requests)
        result["past_the_bound"] = _flood(port, engine, model_name)
        result["answers_after_the_flood"] = _text(post(port, bodies[0])[1]) == alone[0]
    return result


def _text(reply: dict[str, Any]) -> str:
    return reply["choices"][0]["message"]["content"] if "choices" in reply else json.dumps(reply)


def _round(port: int, bodies: list[bytes], alone: list[str], clients: int, requests: int) -> dict[str, Any]:
    jobs: queue.SimpleQueue[int] = queue.SimpleQueue()
    for index in range(requests):
        jobs.put(index % len(bodies))
    latencies: list[float] = []
    mixed: list[int] = []
    lost: list[int] = []
    memory_mb = {"0": resident_bytes() >> 20}
    counting = threading.Lock()

    def client() -> None:
        while True:
            try:
                index = jobs.get_nowait()
            except queue.Empty:
                return
            start = time.perf_counter()
            status, reply = post(port, bodies[index])
            taken = time.perf_counter() - start
            with counting:
                latencies.append(taken)
                if len(latencies) % MEMORY_EVERY == 0 or len(latencies) == requests:
                    memory_mb[str(len(latencies))] = resident_bytes() >> 20
            if status != 200:
                lost.append(status)
            elif _text(reply) != alone[index]:
                mixed.append(index)

    start = time.perf_counter()
    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - start
    p50, p90, p99 = (round(float(value), 4) for value in np.percentile(latencies, [50, 90, 99]))
    return {
        "requests": requests,
        "lost": len(lost),
        "other_than_alone": len(mixed),
        "p50_s": p50,
        "p90_s": p90,
        "p99_s": p99,
        "requests_per_s": round(requests / wall, 2),
        "memory_mb": memory_mb,
    }


def _flood(port: int, engine: Engine, model_name: str) -> dict[str, int]:
    """More at once than may run and wait: how many were answered, and how many were told to come again."""
    count = engine.settings.max_active + engine.settings.max_waiting + 8
    statuses: list[int] = []
    body = body_of(0, 32, model_name)
    threads = [threading.Thread(target=lambda: statuses.append(post(port, body)[0])) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {str(status): statuses.count(status) for status in sorted(set(statuses))} | {"sent": count}
