from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from gpt4roi.chat import RegionChat
from gpt4roi.engine import Engine, EngineSettings
from tests.unit.chat.tiny import tiny_model


@pytest.fixture(scope="session")
def tiny():
    return tiny_model()


@pytest.fixture
def image() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def chat(tiny, image) -> RegionChat:
    # Exact arithmetic: a random model's answers hang on the last bit.
    session = RegionChat(*tiny, Engine(*tiny, EngineSettings(precision="float32")))
    session.set_image(image)
    return session
