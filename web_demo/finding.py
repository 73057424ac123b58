"""The find field: words become candidates; a person takes some of them as regions and rejects others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gpt4roi.boxes import BoxError
from gpt4roi.errors import UserError
from gpt4roi.regions import Region
from web_demo.drawn import checked_drawn, give_to
from web_demo.handlers import chat_of, logger, sentence
from web_demo.loading import ModelLoader, short
from web_demo.session import Session

# Candidates are computed once down to here; the page's slider shows and hides them.
LOWEST_SCORE = 0.05
# Where the slider stands when nothing is sure.
USUAL_SCORE = 0.3


@dataclass(frozen=True)
class FindView:
    """What came of a search. `candidates` by key, `start` where the slider begins, `text` the sentence beside it."""

    text: str
    candidates: dict[int, Region]
    start: float = USUAL_SCORE


def find(session: Session, loader: ModelLoader, what: str) -> FindView:
    """Look for words. Nothing becomes a region yet; what was rejected before does not come back."""
    session.candidates = {}
    picture = session.picture
    if picture is None:
        return FindView("There is no picture yet; open a photo or try an example, then look for something.", {})
    if loader.status.state != "ready":
        return FindView(f"{sentence(Exception(loader.status.message)).rstrip('.')}; look again when the model is ready.", {})
    try:
        chat = chat_of(session, loader)
        sure = chat.candidates(what)
        found = _with_weaker(sure, chat.candidates(what, threshold=LOWEST_SCORE))
    except UserError as mistake:
        return FindView(sentence(mistake), {})
    except Exception as failure:  # a page that shows nothing would leave the user waiting for ever; the log has the traceback
        logger.exception("the search failed")
        return FindView(f"The search failed ({short(failure)}). Try again.", {})
    if session.picture is not picture:
        return FindView("", {})  # Another picture was opened meanwhile.
    session.candidates = dict(enumerate(found, 1))
    start = min((region.score or 0 for region in sure), default=USUAL_SCORE)
    return FindView(_said(what.strip(), len(sure), len(found) - len(sure)), session.candidates, start)


def _with_weaker(sure: Sequence[Region], all_found: Sequence[Region]) -> list[Region]:
    """The sure ones, and below them what a lower threshold adds. A phrase such as "the second cup" may mean another cup there."""
    places = {region.box_xyxy for region in sure}
    least = min((region.score or 0 for region in sure), default=1.0)
    return [*sure, *(region for region in all_found if region.box_xyxy not in places and (region.score or 0) < least)]


def _said(what: str, sure: int, weaker: int) -> str:
    if sure:
        return ""
    if weaker:
        guesses = "guess appears" if weaker == 1 else "guesses appear"
        return f"I see no {what} that I am sure of; {weaker} weaker {guesses} when the least score is lowered."
    return f"I see no {what} here."


def take(session: Session, keys: Sequence[Any], canvas: Any) -> tuple[list[Region], str]:
    """Make candidates regions of the conversation; returns them with their numbers, and what went wrong."""
    chosen = [session.candidates.pop(key) for key in keys if key in session.candidates]
    if session.picture is None or session.chat is None or not chosen:
        return [], ""
    if session.busy:
        session.candidates |= dict(enumerate(chosen, max(session.candidates, default=0) + 1))
        return [], "An answer is still being written. Stop it first, or wait for it."
    try:
        give_to(session.chat, checked_drawn(canvas, session.picture.size_wh), session.known)
    except BoxError as error:
        return [], sentence(error)
    return session.chat.add_found(chosen), ""


def reject(session: Session, keys: Sequence[Any]) -> None:
    """What these candidates are of is not found again."""
    for key in keys:
        candidate = session.candidates.pop(key, None)
        if candidate is not None and session.chat is not None:
            session.chat.reject(candidate)
