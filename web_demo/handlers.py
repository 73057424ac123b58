"""What a click or a message does: plain functions on a Session, without a page, a browser or Gradio's types."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt4roi.boxes import BoxError, as_boxes, validate_box
from gpt4roi.conversation import ConversationError, check_mentions
from gpt4roi.errors import UserError
from gpt4roi.images import PictureError
from web_demo.chat_view import chat_html
from web_demo.drawing import draw_regions
from web_demo.examples import open_example
from web_demo.images import Picture, read_upload
from web_demo.loading import ModelLoader, Turnstile, short
from web_demo.session import Session

logger = logging.getLogger(__name__)

MAX_NEW_TOKENS = 256
# The page is redrawn at most this often while an answer streams: a fast model would otherwise send more HTML than words.
REDRAW_S = 0.05
# How often a waiting question looks at the line before it and at the progress of loading.
LOOK_S = 0.25

Boxes = dict[int, tuple[float, float, float, float]]


@dataclass(frozen=True)
class Engine:
    """What all sessions share: the weights and the line in front of them."""

    loader: ModelLoader
    turnstile: Turnstile


@dataclass(frozen=True)
class ChatView:
    """What the page shows after a step. `question` replaces the text of the question box unless it is None."""

    html: str
    busy: bool = False
    question: str | None = None
    question_error: str = ""
    box_error: str = ""


@dataclass(frozen=True)
class PictureView:
    """What came of opening a picture: it is shown, it waits for the user's consent, or there is an error; never two of them."""

    picture: Picture | None = None
    warning: str = ""
    error: str = ""


def parse_regions(value: Any) -> Boxes:
    """What the canvas sent as region number → box in pixels. It comes from a browser, so its form is checked; its geometry is not.

    Raises:
      BoxError: not `{"regions": [{"number": N, "box": [x0, y0, x1, y1]}, …]}` with different numbers from 1.
    """
    if value is None:
        return {}
    items = value.get("regions") if isinstance(value, Mapping) else None
    if not isinstance(items, list):
        raise BoxError("the boxes did not arrive as a list of regions; reload the page")
    boxes: Boxes = {}
    for item in items:
        number = item.get("number") if isinstance(item, Mapping) else None
        if not isinstance(number, int) or isinstance(number, bool) or number < 1 or number in boxes:
            raise BoxError(f"a region has no number of its own ({number!r}); reload the page")
        x0, y0, x1, y1 = as_boxes([item.get("box") or ()])[0].tolist()
        boxes[number] = x0, y0, x1, y1
    return boxes


def checked_regions(picture: Picture, value: Any) -> Boxes:
    """The boxes of the canvas, clipped to the picture.

    Raises:
      BoxError: naming the region, what is wrong with it and what to do.
    """
    return {number: validate_box(box, picture.size_wh, f"<region{number}>") for number, box in parse_regions(value).items()}


# --- pictures ---------------------------------------------------------------------------------------------------------------------


def open_upload(session: Session, path: str, name: str, upload_dir: Path) -> PictureView:
    """A file from the disk, the clipboard or the camera."""
    try:
        return _open(session, read_upload(path, name, upload_dir))
    except PictureError as error:
        return PictureView(error=sentence(error))


def open_named_example(session: Session, name: str) -> PictureView:
    """One of the pictures with ready boxes and questions."""
    try:
        return _open(session, open_example(name))
    except PictureError as error:
        return PictureView(error=sentence(error))


def _open(session: Session, picture: Picture) -> PictureView:
    if session.busy:
        return PictureView(error="An answer is still being written. Stop it first, then open the picture.")
    if session.turns:
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
        return ChatView(chat_html(session.turns, session.timings, question=session.open_question), busy=True)
    suggestions = session.picture.questions if session.picture is not None else ()
    return ChatView(chat_html(session.turns, session.timings, suggestions=suggestions))


def ask(session: Session, engine: Engine, question: str, canvas: Any) -> Generator[ChatView, None, None]:
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
        boxes = checked_regions(session.picture, canvas)
        check_mentions(text, boxes)
    except BoxError as error:
        yield _with_error(session, box_error=sentence(error))
        return
    except ConversationError as error:
        yield _with_error(session, question_error=sentence(error))
        return
    yield from _answer(session, engine, text, boxes, again=False)


def regenerate(session: Session, engine: Engine, canvas: Any) -> Iterator[ChatView]:
    """Answer the last question again, about the boxes as they are now. The old answer stays unless a new one comes."""
    questions = [turn.content for turn in session.turns if turn.role == "user"]
    if session.busy:
        yield ChatView(
            _open_html(session, "", None), busy=True, question_error="An answer is still being written. Stop it first, or wait for it."
        )
        return
    try:
        if session.picture is None or not questions:
            raise ConversationError("there is no answer to write again; ask a question first")
        boxes = checked_regions(session.picture, canvas)
        check_mentions(questions[-1], boxes)
    except BoxError as error:
        yield _with_error(session, box_error=sentence(error))
        return
    except ConversationError as error:
        yield _with_error(session, question_error=sentence(error))
        return
    yield from _answer(session, engine, questions[-1], boxes, again=True)


def _answer(session: Session, engine: Engine, text: str, boxes: Boxes, again: bool) -> Iterator[ChatView]:
    session.open_question, session.stop_requested = text, False
    typed_again, error = None, ""
    try:
        yield ChatView(_open_html(session, "", None, again), busy=True, question=None if again else "")
        ready = False
        with engine.turnstile.place() as place:
            while not ready and not session.stop_requested:
                ready, waiting = _is_ready(engine, place)
                if not ready:
                    yield ChatView(_open_html(session, waiting, None, again), busy=True)
            if ready and not session.stop_requested:
                yield from _stream(session, engine, text, boxes, again)
            elif not again:
                typed_again = text
    except UserError as mistake:
        typed_again, error = text, sentence(mistake)
    except Exception as failure:  # a page that shows nothing would leave the user waiting for ever; the log has the traceback
        logger.exception("the answer failed")
        typed_again, error = text, f"The answer failed ({short(failure)}). Your question is back in the box; try again."
    finally:
        session.open_question = None
    yield ChatView(view(session).html, question=None if again else typed_again, question_error=error)


def _is_ready(engine: Engine, place: Any) -> tuple[bool, str]:
    """Whether the answer may begin; if not, what it waits for. Waits `LOOK_S` at most."""
    status = engine.loader.wait(LOOK_S)
    if status.state == "failed":
        raise ConversationError(status.message)
    if status.state == "loading":
        percent = f" ({status.fraction:.0%})" if status.fraction is not None else ""
        return False, f"Waiting for the model: {status.message}{percent}"
    if place.wait(LOOK_S):
        return True, ""
    return False, f"Queued: {place.ahead} {'answer' if place.ahead == 1 else 'answers'} before yours"


def _stream(session: Session, engine: Engine, text: str, boxes: Boxes, again: bool) -> Iterator[ChatView]:
    chat = _chat_of(session, engine)
    sync_regions(chat, boxes)
    draft, drawn_at, started_at = "", 0.0, time.monotonic()
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
    if again:
        session.timings = session.timings[:-1]
    # An answer that was stopped has no total of its own.
    session.timings.append({"total_s": time.monotonic() - started_at, **chat.last_answer.timings})


def _chat_of(session: Session, engine: Engine) -> Any:
    if session.chat is None:
        chat = engine.loader.new_chat()
        chat.set_image(_open_picture(session).image)
        session.chat = chat
    return session.chat


def sync_regions(chat: Any, boxes: Boxes) -> None:
    """Give the chat exactly the boxes of the canvas, under the canvas's numbers."""
    for number in [number for number in chat.regions if number not in boxes]:
        chat.remove_region(number)
    for number, box in boxes.items():
        if number in chat.regions:
            chat.move_region(number, box)
        else:
            chat.add_region(box, number=number)


def _open_html(session: Session, waiting: str, draft: str | None, again: bool = False) -> str:
    turns, timings = session.turns, session.timings
    if turns and turns[-1].role == "user":
        # The chat has already noted the open question; it is shown once.
        turns = turns[:-1]
    elif again:
        turns, timings = turns[:-2], timings[:-1]
    return chat_html(turns, timings, question=session.open_question, draft=draft, waiting=waiting)


def _with_error(session: Session, question_error: str = "", box_error: str = "") -> ChatView:
    return ChatView(view(session).html, question_error=question_error, box_error=box_error)


def sentence(error: Exception) -> str:
    """Messages of the library begin small and end without a stop, to be embedded; on the page each is a sentence of its own."""
    text = str(error)
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


# --- downloads --------------------------------------------------------------------------------------------------------------------


def conversation_json(session: Session, canvas: Any) -> str:
    """The conversation in the project's own region data format (one sample), with region numbers, sizes and timings beside it.

    Raises:
      PictureError: there is no picture.
      BoxError: a box that cannot be used.
    """
    picture = _open_picture(session)
    record = {
        "image": picture.name,
        "image_size_wh": list(picture.size_wh),
        "regions": [{"number": number, "box_xyxy": list(box)} for number, box in sorted(checked_regions(picture, canvas).items())],
        "conversation": [turn.to_dict() for turn in session.turns],
        "timings": session.timings,
    }
    return json.dumps(record, ensure_ascii=False, indent=2) + "\n"


def annotated_png(session: Session, canvas: Any) -> bytes:
    """The picture with its numbered boxes.

    Raises:
      PictureError: there is no picture.
      BoxError: a box that cannot be used.
    """
    picture = _open_picture(session)
    return draw_regions(picture.image, checked_regions(picture, canvas))


def _open_picture(session: Session) -> Picture:
    if session.picture is None:
        raise PictureError("there is no picture yet; open one first")
    return session.picture


def download_name(session: Session, suffix: str) -> str:
    """`street-regions.png` for `street.jpg`."""
    stem = Path(session.picture.name).stem if session.picture is not None else "picture"
    return f"{stem}-{suffix}"
