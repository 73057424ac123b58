"""The engine under every chat: what is computed once is kept, and many conversations share one model."""

from __future__ import annotations

from gpt4roi.engine.engine import Engine, EngineBusyError, EngineClosedError, EngineSettings, PromptTooLongError
from gpt4roi.engine.generation import Generation, Sampling
from gpt4roi.engine.image import Picture, load_picture
from gpt4roi.engine.prompt import Prompt, build_prompt
from gpt4roi.engine.text_stream import TextStream

__all__ = [
    "Engine",
    "EngineBusyError",
    "EngineClosedError",
    "EngineSettings",
    "Generation",
    "Picture",
    "Prompt",
    "PromptTooLongError",
    "Sampling",
    "TextStream",
    "build_prompt",
    "load_picture",
]
