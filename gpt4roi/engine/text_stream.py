"""Answer tokens to pieces of text that are never taken back."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from gpt4roi.conversation import restore_mentions
from gpt4roi.models import GPT4RoIProcessor

# The tail of a text that may still become "region 12": whether it is a mention shows only with the next character.
_OPEN_MENTION = re.compile(r"\b[Rr](?:e|eg|egi|egio|egion(?: ?\d*)?)?$")


class TextStream:
    """Feed tokens, get pieces; joined, the pieces are exactly `text`.

    Held back until it is settled: half a UTF-8 character, a beginning of a stop string, white space at the end, and a mention of a
    region whose number is not finished.

    Args:
      processor: decodes.
      known_numbers: regions whose mention "region 2" becomes `<region2>` again.
      stop_strings: the answer ends before the first of these.
    """

    def __init__(self, processor: GPT4RoIProcessor, known_numbers: Collection[int], stop_strings: Sequence[str] = ()) -> None:
        self._processor = processor
        self._known = frozenset(known_numbers)
        self._stop_strings = [string for string in stop_strings if string]
        self._ids: list[int] = []
        self._sent = ""
        self.text = ""
        self.stopped = False

    def feed(self, token_id: int) -> str:
        """The text that has become certain with this token; `stopped` tells whether a stop string was met."""
        if self.stopped:
            return ""
        self._ids.append(token_id)
        return self._advance(final=False)

    def finish(self) -> str:
        """What was held back."""
        return self._advance(final=True)

    def _advance(self, final: bool) -> str:
        raw = self._processor.decode(self._ids)
        for string in self._stop_strings:
            position = raw.find(string)
            if position >= 0:
                raw, self.stopped, final = raw[:position].rstrip(), True, True
        if not final:
            raw = raw[: len(raw) - self._open_tail(raw)].rstrip()
        settled = restore_mentions(raw, self._known)
        # A shorter text than was sent cannot come: tails are held back. Guard all the same, pieces must never be taken back.
        piece = settled[len(self._sent) :] if settled.startswith(self._sent) else ""
        self._sent += piece
        self.text = self._sent
        return piece

    def _open_tail(self, raw: str) -> int:
        held = 0
        if raw.endswith("\ufffd"):
            held = len(raw) - len(raw.rstrip("\ufffd"))
        match = _OPEN_MENTION.search(raw)
        if match:
            held = max(held, len(raw) - match.start())
        for string in self._stop_strings:
            for size in range(min(len(string) - 1, len(raw)), 0, -1):
                if raw.endswith(string[:size]):
                    held = max(held, size)
                    break
        return held
