"""What a click or a message does: plain functions on a Session, without a page, a browser or Gradio's types."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gpt4roi.boxes import BoxError
from gpt4roi.conversation import ConversationError, check_mentions
from gpt4roi.errors import UserError
from gpt4roi.images import ImageError
from gpt4roi.meaning import spell_mentions
from gpt4roi.regions import Region
from web_demo.chat_view import chat_html
from web_demo.drawing import draw_regions
from web_demo.drawn import Drawn, checked_drawn, give_to, records
from web_demo.examples import open_example
from web_demo.images import Picture, read_upload
from web_demo.loading import ModelLoader, short
from web_demo.naming import said_names
from web_demo.session import Session

logger = logging.getLogger(__name__)

MAX_NEW_TOKENS = 256
# The page is redrawn at most this often while an answer streams: a fast model would otherwise send more HTML than words.
REDRAW_S = 0.05
# How often a waiting question looks at the line before it and at the progress of loading.
LOOK_S = 0.25


@dataclass(frozen=True)
class ChatView:
    """What the page shows after a step. `question` replaces the text of the question box unless it is None; `found` is drawn on the picture,
    `said` are names that answers gave to regions.
    """

    html: str
    busy: bool = False
    question: str | None = None
    question_error: str = ""
    box_error: str = ""
    found: tuple[Region, ...] = ()
    said: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PictureView:
    """What came of opening a picture: it is shown, it waits for the user's consent, or there is an error; never two of them."""

    picture: Picture | None = None
    warning: str = ""
    error: str = ""


# --- pictures ---------------------------------------------------------------------------------------------------------------------


def open_upload(session: Session, path: str, name: str, upload_dir: Path) -> PictureView:
    """A file from the disk, the clipboard or the camera."""
    try:
        return _open(session, read_upload(path, name, upload_dir))
    except ImageError as error:
        return PictureView(error=sentence(error))


def open_named_example(session: Session, name: str) -> PictureView:
    """One of the pictures with ready boxes and questions."""
    try:
        return _open(session, open_example(name))
    except ImageError as error:
        return PictureView(error=sentence(error))


def _open(session: Session, picture: Picture) -> PictureView:
    if session.busy:
        return PictureView(error="An answer is still being written. Stop it first, then open the picture.")
    if session.exchanges:
        session.waiting_picture = picture
        return PictureView(warning=f"'{picture.name}' starts a new conversation. This one is lost unless you download it first.")
    session.show(picture)
    return PictureView(picture=picture)


def accept_waiting_picture(session: Session) -> PictureView:
    """The user agrees that the waiting picture starts a new conversation."""
    if session.busy:
        return PictureView(error="An answer is still being written. Stop it first, then open the picture.")
    picture = session.waiting_picture
    if picture is None:
        return PictureView(error="There is no picture waiting; open one.")
    session.show(picture)
    return PictureView(picture=picture)


def refuse_waiting_picture(session: Session) -> None:
    """The user keeps the conversation."""
    session.waiting_picture = None


# --- conversation -----------------------------------------------------------------------------------------------------------------


def view(session: Session) -> ChatView:
    """The conversation as it stands."""
    if session.busy:
        return ChatView(chat_html(session.exchanges, question=session.open_question), busy=True)
    suggestions = session.picture.questions if session.picture is not None else ()
    return ChatView(chat_html(session.exchanges, suggestions=suggestions), said=said_names(session.exchanges))


def ask(session: Session, loader: ModelLoader, question: str, canvas: Any) -> Generator[ChatView, None, None]:
    """Answer a question, a view at a time. A mistake is said beside where it was made, and nothing that was said or typed is lost."""
    text = question.strip()
    if session.busy:
        yield ChatView(
            _open_html(session, "", None), busy=True, question_error="An answer is still being written. Stop it first, or wait for it."
        )
        return
    try:
        if session.picture is None:
            raise ConversationError("there is no picture yet; open a photo or try an example, then ask")
        if not text:
            raise ConversationError("the question is empty; write one, for example: What is <region1>?")
        drawn = checked_drawn(canvas, session.picture.size_wh)
        check_mentions(spell_mentions(text, drawn.boxes), drawn.boxes)
    except BoxError as error:
        yield _with_error(session, box_error=sentence(error))
        return
    except ConversationError as error:
        yield _with_error(session, question_error=sentence(error))
        return
    yield from _answer(session, loader, text, drawn, again=False)


def regenerate(session: Session, loader: ModelLoader, canvas: Any) -> Iterator[ChatView]:
    """Answer the last question again, about the boxes as they are now. The old answer stays unless a new one comes."""
    questions = [exchange.question for exchange in session.exchanges]
    if session.busy:
        yield ChatView(
            _open_html(session, "", None), busy=True, question_error="An answer is still being written. Stop it first, or wait for it."
        )
        return
    try:
        if session.picture is None or not questions:
            raise ConversationError("there is no answer to write again; ask a question first")
        drawn = checked_drawn(canvas, session.picture.size_wh)
        check_mentions(spell_mentions(questions[-1], drawn.boxes), drawn.boxes)
    except BoxError as error:
        yield _with_error(session, box_error=sentence(error))
        return
    except ConversationError as error:
        yield _with_error(session, question_error=sentence(error))
        return
    yield from _answer(session, loader, questions[-1], drawn, again=True)


def _answer(session: Session, loader: ModelLoader, text: str, drawn: Drawn, again: bool) -> Iterator[ChatView]:
    session.open_question, session.stop_requested = text, False
    typed_again, error = None, ""
    try:
        yield ChatView(_open_html(session, "", None, again), busy=True, question=None if again else "")
        ready = False
        while not ready and not session.stop_requested:
            ready, waiting = _is_ready(loader)
            if not ready:
                yield ChatView(_open_html(session, waiting, None, again), busy=True)
        if ready and not session.stop_requested:
            yield from _stream(session, loader, text, drawn, again)
        elif not again:
            typed_again = text
    except UserError as mistake:
        typed_again, error = text, sentence(mistake)
    except Exception as failure:  # a page that shows nothing would leave the user waiting for ever; the log has the traceback
        logger.exception("the answer failed")
        typed_again, error = text, f"The answer failed ({short(failure)}). Your question is back in the box; try again."
    finally:
        session.open_question = None
    found = session.exchanges[-1].answer.regions if session.exchanges and not error else ()
    yield replace(view(session), question=None if again else typed_again, question_error=error, found=found)


def _is_ready(loader: ModelLoader) -> tuple[bool, str]:
    """Whether the model is there; if not, what is waited for. Waits `LOOK_S` at most."""
    status = loader.wait(LOOK_S)
    if status.state == "failed":
        raise ConversationError(status.message)
    if status.state == "ready":
        return True, ""
    percent = f" ({status.fraction:.0%})" if status.fraction is not None else ""
    return False, f"Waiting for the model: {status.message}{percent}"


def _stream(session: Session, loader: ModelLoader, text: str, drawn: Drawn, again: bool) -> Iterator[ChatView]:
    chat = chat_of(session, loader)
    give_to(chat, drawn, session.known)
    chat.select(drawn.selected)
    draft, drawn_at = "", 0.0
    yield ChatView(_open_html(session, "Looking at the picture", None, again), busy=True)
    pieces = chat.stream_again(max_new_tokens=MAX_NEW_TOKENS) if again else chat.stream(text, max_new_tokens=MAX_NEW_TOKENS)
    for piece in pieces:
        draft += piece
        if session.stop_requested:
            # Asked for before the chat had begun to write, when there was nothing that it could stop.
            chat.stop()
        if time.monotonic() - drawn_at >= REDRAW_S:
            drawn_at = time.monotonic()
            yield ChatView(_open_html(session, "", draft, again), busy=True)


def chat_of(session: Session, loader: ModelLoader) -> Any:
    """The chat about the picture on show."""
    if session.chat is None:
        chat = loader.new_chat()
        picture = _open_picture(session)
        chat.set_image(picture.image, name=picture.name)
        session.chat = chat
    return session.chat


def _open_html(session: Session, waiting: str, draft: str | None, again: bool = False) -> str:
    exchanges = session.exchanges[:-1] if again else session.exchanges
    return chat_html(exchanges, question=session.open_question, draft=draft, waiting=waiting)


def _with_error(session: Session, question_error: str = "", box_error: str = "") -> ChatView:
    return replace(view(session), question_error=question_error, box_error=box_error)


def sentence(error: Exception) -> str:
    """Messages of the library begin small and end without a stop, to be embedded; on the page each is a sentence of its own."""
    text = str(error)
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


# --- downloads --------------------------------------------------------------------------------------------------------------------


def conversation_jsonl(session: Session, canvas: Any) -> str:
    """The conversation as one line of the region data format, which `gpt4roi data check` and `gpt4roi train` take as it is.

    Raises:
      ImageError: there is no picture.
      BoxError: a box that cannot be used.
    """
    picture = _open_picture(session)
    drawn = checked_drawn(canvas, picture.size_wh)
    if session.chat is not None and not session.busy:
        give_to(session.chat, drawn, session.known)
    width, height = picture.size_wh
    record = {"image": picture.name, "width": width, "height": height, "regions": records(drawn), "conversation": []}
    if session.chat is not None:
        record |= session.chat.to_record()
    return json.dumps(record, ensure_ascii=False) + "\n"


def annotated_png(session: Session, canvas: Any) -> bytes:
    """The picture with its numbered boxes.

    Raises:
      PictureError: there is no picture.
      BoxError: a box that cannot be used.
    """
    picture = _open_picture(session)
    return draw_regions(picture.image, checked_drawn(canvas, picture.size_wh).boxes)


def _open_picture(session: Session) -> Picture:
    if session.picture is None:
        raise ImageError("there is no picture yet; open one first")
    return session.picture


def download_name(session: Session, suffix: str) -> str:
    """`street-regions.png` for `street.jpg`."""
    stem = Path(session.picture.name).stem if session.picture is not None else "picture"
    return f"{stem}-{suffix}"
