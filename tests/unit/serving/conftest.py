from __future__ import annotations

import base64
import contextlib
import io
import threading
import time

import numpy as np
import pytest
import uvicorn
from PIL import Image

from gpt4roi.engine import Engine, EngineSettings
from gpt4roi.serving.app import create_app
from gpt4roi.serving.connections import server_config
from gpt4roi.serving.settings import ServerSettings
from tests.unit.chat.tiny import tiny_model


def data_url(seed: int = 0, size_wh: tuple[int, int] = (80, 60)) -> str:
    pixels = np.random.default_rng(seed).integers(0, 255, (size_wh[1], size_wh[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def question(text: str = "What is <region1>?", box=(1, 1, 40, 40), seed: int = 0, **more) -> dict:
    parts = [
        {"type": "image_url", "image_url": {"url": data_url(seed)}},
        {"type": "region", "number": 1, "box": list(box)},
        {"type": "text", "text": text},
    ]
    return {"model": "tiny", "messages": [{"role": "user", "content": parts}], "max_tokens": 12, **more}


@contextlib.contextmanager
def running_server(engine: Engine, settings: ServerSettings):
    """The real application on a real socket; gives its base URL."""
    server = uvicorn.Server(server_config(create_app(engine, settings), settings, 20, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture(scope="session")
def tiny():
    return tiny_model()


@pytest.fixture(scope="session")
def engine(tiny):
    return Engine(*tiny, EngineSettings(precision="float32"))


@pytest.fixture(scope="session")
def base_url(engine):
    with running_server(
        engine, ServerSettings(model_name="tiny", max_new_tokens=1500, max_body_bytes=2_000_000, max_pixels=1_000_000)
    ) as url:
        yield url
