"""What one browser tab owns: its picture, its conversation, its chat engine. Nothing of it is shared and nothing of it is on disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gpt4roi.regions import Region
from web_demo.drawn import State
from web_demo.images import Picture


@dataclass
class Session:
    """One tab.

    `chat` is the RegionChat of the picture on show, made when the first question about it is answered: pictures may be opened and
    boxes drawn while the model still loads.
    """

    picture: Picture | None = None
    chat: Any = None
    # Every state of its regions so far: what undo brings back is known again.
    known: dict[State, Region] = field(default_factory=dict)
    # What the last search found and nobody has taken or rejected yet, by the key that the page knows it by.
    candidates: dict[int, Region] = field(default_factory=dict)
    # A picture that waits for the user to agree that it starts a new conversation.
    waiting_picture: Picture | None = None
    # The question that is being answered; None when idle.
    open_question: str | None = None
    stop_requested: bool = False

    @property
    def busy(self) -> bool:
        return self.open_question is not None

    @property
    def exchanges(self) -> list[Any]:
        """What was said, as `gpt4roi.chat.Exchange`s."""
        return list(self.chat.exchanges) if self.chat is not None else []

    def show(self, picture: Picture) -> None:
        """A new picture is a new conversation."""
        self.picture = picture
        self.chat = None
        self.known, self.candidates = {}, {}
        self.waiting_picture = None

    def stop(self) -> None:
        """Ask the answer that is being written, or that waits for its turn, to end."""
        self.stop_requested = True
        if self.chat is not None and self.busy:
            self.chat.stop()


class Sessions:
    """Sessions by the key that the page server gives every tab.

    A closed tab is kept in memory for a grace period, because a phone that sleeps looks like a closed tab; its answer stops at once.
    """

    def __init__(self, capacity: int = 64, grace_s: float = 600.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = capacity
        self._grace_s = grace_s
        self._clock = clock
        self._sessions: dict[str, Session] = {}
        self._closed_at: dict[str, float] = {}
        self._lock = threading.Lock()

    def of(self, key: str) -> Session:
        """The session of a tab; a tab seen for the first time gets an empty one."""
        with self._lock:
            self._sweep()
            self._closed_at.pop(key, None)
            session = self._sessions.pop(key, None) or Session()
            # Re-inserted at the end, so that the first entry is the one unused for longest.
            self._sessions[key] = session
            # Who holds nothing goes first: a flood of invented keys costs nobody's conversation.
            others = sorted((name for name in self._sessions if name != key), key=lambda name: self._sessions[name].picture is not None)
            for name in others[: max(0, len(self._sessions) - self._capacity)]:
                self._sessions.pop(name).stop()
            return session

    def close(self, key: str) -> None:
        """The tab is gone: stop its answer now, forget it after the grace period."""
        with self._lock:
            self._sweep()
            if key in self._sessions:
                self._sessions[key].stop()
                self._closed_at[key] = self._clock()

    def __len__(self) -> int:
        return len(self._sessions)

    def _sweep(self) -> None:
        for key in [key for key, closed_at in self._closed_at.items() if self._clock() - closed_at > self._grace_s]:
            del self._closed_at[key]
            self._sessions.pop(key, None)
