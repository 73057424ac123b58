"""The model, loaded once in the background while the page is already open, and the line that forms in front of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

logger = logging.getLogger(__name__)

LONGEST_MESSAGE = 240

# What a loader reports: what it is doing, and which part of that is done (None where nobody can tell).
Progress = Callable[[str, float | None], None]
# Loads the model once and returns what makes a fresh RegionChat on it for every session.
LoadModel = Callable[[Progress], Callable[[], Any]]


@dataclass(frozen=True)
class LoadStatus:
    """`state` is loading, ready or failed; `message` a sentence for the page; `fraction` in [0, 1] or None."""

    state: str
    message: str
    fraction: float | None = None


def region_chat_loader(model: str | None) -> LoadModel:
    """Load `model` (a folder, a hub id, None for the embedded default); sessions share its weights, each with a chat of its own."""

    def load(progress: Progress) -> Callable[[], Any]:
        progress("Starting the model library", None)
        from gpt4roi.chat import RegionChat

        return RegionChat.from_pretrained(model, progress=progress).new_session

    return load


def short(error: Exception) -> str:
    """An error as one line for the page; the log has all of it (a weight mismatch alone can fill a screen)."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= LONGEST_MESSAGE else text[:LONGEST_MESSAGE].rstrip() + " …"


class ModelLoader:
    """Loads in a background thread; the page asks `status` and sessions ask `new_chat`."""

    def __init__(self, load: LoadModel) -> None:
        self._load = load
        self._status = LoadStatus("loading", "Loading the model")
        self._make_chat: Callable[[], Any] | None = None
        self._changed = threading.Condition()

    def start(self) -> None:
        threading.Thread(target=self._run, name="model-loader", daemon=True).start()

    @property
    def status(self) -> LoadStatus:
        return self._status

    def wait(self, seconds: float) -> LoadStatus:
        """The status as soon as loading has ended, at the latest after `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: self._status.state != "loading", timeout=seconds)
        return self._status

    def new_chat(self) -> Any:
        """A RegionChat for one session.

        Raises:
          RuntimeError: the model is not ready.
        """
        if self._make_chat is None:
            raise RuntimeError(f"the model is not ready: {self._status.message}")
        return self._make_chat()

    def _run(self) -> None:
        try:
            self._make_chat = self._load(lambda message, fraction: self._set(LoadStatus("loading", message, fraction)))
        except Exception as error:  # whatever it is, the page has to say it: this thread has no caller to raise to
            logger.exception("the model could not be loaded")
            self._set(LoadStatus("failed", f"The model could not be loaded: {short(error)}"))
        else:
            self._set(LoadStatus("ready", "Ready", 1.0))

    def _set(self, status: LoadStatus) -> None:
        with self._changed:
            self._status = status
            self._changed.notify_all()
