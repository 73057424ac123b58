"""The engine's thread ends when it is told to: a thread killed by the interpreter inside PyTorch aborts the whole process."""

from __future__ import annotations

import threading

import pytest

from gpt4roi.chat import RegionChat
from gpt4roi.engine import Engine, EngineSettings


def engine_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "gpt4roi-engine"]


@pytest.mark.parametrize("in_the_middle", [False, True])
def test_stop_ends_the_thread(tiny, in_the_middle: bool) -> None:  # type: ignore[no-untyped-def]
    before = set(engine_threads())
    engine = Engine(*tiny, EngineSettings(precision="float32"))
    chat = RegionChat(*tiny, engine)
    pieces = chat.stream("hello", 200)
    if in_the_middle:
        next(pieces, None)
    else:
        list(pieces)
    engine.stop()
    assert set(engine_threads()) <= before
    assert engine.running_count == engine.waiting_count == 0
    if not in_the_middle:
        with pytest.raises(ValueError, match="shutting down"):
            chat.ask("and now?", 5)
