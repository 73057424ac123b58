"""Plans by an endpoint. The server is a stand-in that replies what a test says; nothing of a model is tested."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from gpt4roi.plans.actions import PlanError
from gpt4roi.plans.endpoint import plan_by_endpoint

GOOD = json.dumps({"version": 1, "steps": [{"id": "s1", "action": "find", "what": "dog"}, {"id": "s2", "action": "blur", "regions": "s1"}]})
BAD = json.dumps({"version": 1, "steps": [{"id": "s1", "action": "blur", "regions": "r9"}]})


class StandIn(HTTPServer):
    """Replies with `replies` in turn and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies: list[str] = []
        self.asked: list[Any] = []
        self.url = f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server: Any = self.server
        server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        content = server.replies.pop(0)
        status = 500 if content == "500" else 200
        body = json.dumps({"choices": [{"message": {"content": content}}]}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[StandIn]:
    standin = StandIn()
    thread = threading.Thread(target=standin.serve_forever, daemon=True)
    thread.start()
    yield standin
    standin.shutdown()
    standin.server_close()


def test_a_good_plan_is_taken(server: StandIn) -> None:
    server.replies = [GOOD]
    plan = plan_by_endpoint(server.url, "any", "blur the dog", [])
    assert [step.action for step in plan.steps] == ["find", "blur"] and plan.request == "blur the dog"
    assert server.asked[0]["response_format"]["type"] == "json_schema"


def test_one_repair_carries_the_error(server: StandIn) -> None:
    server.replies = [BAD, GOOD]
    assert len(plan_by_endpoint(server.url, "any", "blur the dog", [1]).steps) == 2
    assert "no region r9" in server.asked[1]["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("replies", "words"), [([BAD, BAD], "even after one repair"), (["no", "still no"], "no JSON"), (["500"], "status 500")]
)
def test_then_an_honest_failure(server: StandIn, replies: list[str], words: str) -> None:
    server.replies = replies
    with pytest.raises(PlanError, match=words):
        plan_by_endpoint(server.url, "any", "blur the dog", [])


def test_nobody_there() -> None:
    with pytest.raises(PlanError, match="gave no answer"):
        plan_by_endpoint("http://127.0.0.1:9/v1", "any", "blur the dog", [])
