"""Prometheus metrics of one server, in a registry of its own."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gpt4roi.engine import Engine

logger = logging.getLogger(__name__)
SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """Counters of requests and tokens, histograms of latency, gauges of queue and caches."""

    def __init__(self, engine: Engine) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("gpt4roi_requests", "Requests by path and status.", ["path", "status"], registry=self.registry)
        self.tokens = Counter("gpt4roi_tokens", "Tokens: prompt, reused (of the prompt), new.", ["kind"], registry=self.registry)
        self.first_token = Histogram(
            "gpt4roi_first_token_seconds", "From question to first token.", registry=self.registry, buckets=SECONDS
        )
        self.answer = Histogram("gpt4roi_answer_seconds", "From question to the answer's end.", registry=self.registry, buckets=SECONDS)
        for name, text, read in (
            ("gpt4roi_waiting", "Questions in the queue.", lambda: engine.waiting_count),
            ("gpt4roi_running", "Answers being written.", lambda: engine.running_count),
            ("gpt4roi_picture_cache_bytes", "Picture features kept.", lambda: engine.features.images.used_bytes),
            ("gpt4roi_region_cache_bytes", "Region features kept.", lambda: engine.features.regions.used_bytes),
            ("gpt4roi_prefix_cache_bytes", "Keys and values kept.", lambda: engine.prefixes.used_bytes),
        ):
            Gauge(name, text, registry=self.registry).set_function(read)

    def record_answer(self, timings: Mapping[str, float]) -> None:
        for kind, name in (("prompt", "prompt_tokens"), ("reused", "reused_tokens"), ("new", "new_tokens")):
            self.tokens.labels(kind).inc(timings.get(name, 0))
        if "first_token_s" in timings:
            self.first_token.observe(timings["first_token_s"])
        self.answer.observe(timings.get("total_s", 0.0))

    def render(self) -> bytes:
        return generate_latest(self.registry)


class CountRequests:
    """Counts and logs every request with its route and status. Plain ASGI, so that a client's leaving reaches a streaming answer."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begin, status = time.perf_counter(), 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watch)
        finally:
            # Paths that are no route count as one: a scanner must not fill the memory with labels.
            path = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(path, str(status)).inc()
            logger.info("%s %s %d %.3f s", scope["method"], path, status, time.perf_counter() - begin)
