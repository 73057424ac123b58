"""The server as a process of its own: SIGTERM lets the answer under way end, turns others away, and leaves with 0."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
import torch

from tests.unit.chat.tiny import tiny_model
from tests.unit.serving.conftest import question

ROOT = Path(__file__).parents[3]
START_S, END_S = 240, 120
TOKENS = 1500


@pytest.fixture
def server(tmp_path: Path):
    """A process and its base URL; its model never ends an answer by itself."""
    model, processor = tiny_model()
    with torch.no_grad():
        model.get_input_embeddings().weight[processor.tokenizer.eos_token_id] = 0
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    command = [sys.executable, "-m", "gpt4roi.cli", "serve", "--model", str(tmp_path), "--model-name", "tiny", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--max-new-tokens", str(TOKENS)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
    )
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    reader = threading.Thread(target=lambda: [lines.put(line) for line in process.stderr or ()], daemon=True)
    reader.start()
    try:
        yield process, _url(lines)
    finally:
        process.kill()
        process.wait()
        reader.join(5)


def _url(lines: queue.SimpleQueue[str]) -> str:
    deadline = time.monotonic() + START_S
    while True:
        found = re.search(r"running on (http://127\.0\.0\.1:\d+)", lines.get(timeout=max(deadline - time.monotonic(), 0.01)))
        if found:
            return found[1]


@pytest.mark.multiprocess
def test_sigterm_drains_and_leaves_with_0(server) -> None:
    process, url = server
    body = question() | {"max_tokens": TOKENS, "stream": True, "stream_options": {"include_usage": True}}
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=END_S) as stream:
        assert stream.status_code == 200
        lines = stream.iter_lines()
        next(lines)
        process.send_signal(signal.SIGTERM)
        assert _is_refused(url)
        assert process.poll() is None
        events = [line.removeprefix("data: ") for line in lines if line]
    assert events[-1] == "[DONE]"
    assert json.loads(events[-2])["usage"]["completion_tokens"] == TOKENS
    assert json.loads(events[-3])["choices"][0]["finish_reason"] == "length"
    assert process.wait(END_S) == 0


def _is_refused(url: str) -> bool:
    """Whether, soon after the signal, a new client finds nobody who listens (or is told that the server closes)."""
    deadline = time.monotonic() + END_S
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/healthz", timeout=END_S).status_code == 503:
                return True
        except httpx.TransportError:
            return True
        time.sleep(0.02)
    return False
