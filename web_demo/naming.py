"""What answers called the regions: shown on the boxes, never saved as labels, because only people label."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from gpt4roi.answers.questions import read_question

# Below this a name is not shown as if it were known: the answer says "maybe".
SURE = 0.5
_SHORT_ANSWER = re.compile(r"^(?:probably )?(?:an?|the) ([\w' -]{2,40}?)(?:, it looks like .*)?\.?$", re.IGNORECASE)


def name_in(exchange: Any) -> str | None:
    """The name that an answer gave to the one region that it is about; None where it gave none, or was not sure."""
    if len(exchange.regions) != 1 or exchange.corrected is not None or read_question(exchange.asked, 1, 1).kind != "name":
        return None
    scores = exchange.answer.scores
    if scores:
        best = max(scores, key=lambda name: scores[name])
        return best if scores[best] >= SURE else None
    # A model without scores says it in words.
    short = _SHORT_ANSWER.match(exchange.text.strip())
    return short[1] if short else None


def said_names(exchanges: Iterable[Any]) -> dict[int, str]:
    """Region number to the name of the last answer that still holds."""
    return {one.regions[0]: name for one in exchanges if not one.stale and (name := name_in(one)) is not None}
