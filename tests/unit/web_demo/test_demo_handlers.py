"""What the page does, without a page."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gpt4roi.boxes import BoxError
from gpt4roi.images import PictureError
from tests.browser.fake_chat import FakeChat
from web_demo import handlers
from web_demo.handlers import ChatView, Engine
from web_demo.images import Picture
from web_demo.loading import ModelLoader, Turnstile
from web_demo.session import Session


def ready_engine(chat: Any = None) -> Engine:
    """An engine whose model is loaded; with `chat`, every session gets that one."""
    loader = ModelLoader(lambda progress: (lambda: chat) if chat is not None else (lambda: FakeChat(pause_s=0)))
    loader.start()
    assert loader.wait(5).state == "ready"
    return Engine(loader, Turnstile())


def session_with_picture() -> Session:
    session = Session()
    session.show(Picture("street.jpg", Image.new("RGB", (200, 100), "grey")))
    return session


def canvas(*boxes: tuple[int, tuple[float, float, float, float]]) -> dict[str, Any]:
    return {"regions": [{"number": number, "box": list(box)} for number, box in boxes]}


TWO = canvas((1, (10, 10, 50, 50)), (3, (60, 10, 90, 50)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, {}),
        ({"regions": []}, {}),
        (canvas((2, (0, 0, 5, 5))), {2: (0, 0, 5, 5)}),
    ],
)
def test_parse_regions(value: Any, expected: dict[int, Any]) -> None:
    assert handlers.parse_regions(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        [],
        {"regions": "1"},
        {"regions": [1]},
        {"regions": [{"box": [0, 0, 1, 1]}]},
        canvas((0, (0, 0, 5, 5))),
        canvas((1, (0, 0, 5, 5)), (1, (0, 0, 6, 6))),
        {"regions": [{"number": True, "box": [0, 0, 1, 1]}]},
        {"regions": [{"number": 1}]},
        {"regions": [{"number": 1, "box": [0, 0, 1]}]},
        {"regions": [{"number": 1, "box": ["a", 0, 1, 1]}]},
    ],
)
def test_what_no_canvas_of_ours_sends_is_refused(value: Any) -> None:
    with pytest.raises(BoxError):
        handlers.parse_regions(value)


def test_an_answer_streams_and_is_kept() -> None:
    session = session_with_picture()
    views = list(handlers.ask(session, ready_engine(), "What is <region3>?", TWO))
    assert views[0].busy and views[0].question == ""
    assert views[-1].busy is False and views[-1].question_error == ""
    assert [turn.role for turn in session.turns] == ["user", "assistant"]
    assert session.chat.regions == {1: (10, 10, 50, 50), 3: (60, 10, 90, 50)}
    assert len(session.timings) == 1 and session.timings[0]["total_s"] >= 0
    assert not session.busy


def test_boxes_that_came_went_and_moved_reach_the_chat_under_their_numbers() -> None:
    session, engine = session_with_picture(), ready_engine()
    list(handlers.ask(session, engine, "<region1>?", TWO))
    list(handlers.ask(session, engine, "<region4>?", canvas((3, (0, 0, 9, 9)), (4, (1, 1, 8, 8)))))
    assert session.chat.regions == {3: (0, 0, 9, 9), 4: (1, 1, 8, 8)}
    assert len(session.turns) == 4


@pytest.mark.parametrize(
    ("question", "value", "field", "words"),
    [
        ("", TWO, "question_error", "question is empty"),
        (" \n", TWO, "question_error", "question is empty"),
        ("What is <region2>?", TWO, "question_error", "<region2>"),
        ("What is <region1>?", canvas((1, (10, 10, 10, 50))), "box_error", "<region1> (10, 10, 10, 50) is empty"),
        ("What is <region1>?", canvas((1, (150, 10, 260, 50))), "box_error", "leaves the picture"),
        ("What is <region1>?", {"regions": "x"}, "box_error", "reload the page"),
    ],
)
def test_each_mistake_has_its_place_and_costs_nothing(question: str, value: Any, field: str, words: str) -> None:
    session, engine = session_with_picture(), ready_engine()
    list(handlers.ask(session, engine, "What is <region1>?", TWO))
    turns, picture = session.turns, session.picture
    (view,) = handlers.ask(session, engine, question, value)
    assert words in getattr(view, field)
    assert getattr(view, field)[0].isupper() or getattr(view, field)[0] == "<"
    assert view.question is None  # what was typed stays in the box
    assert session.turns == turns and session.picture is picture and not session.busy


def test_no_picture() -> None:
    (view,) = handlers.ask(Session(), ready_engine(), "What is <region1>?", None)
    assert "no picture yet" in view.question_error


def test_a_failure_of_the_model_gives_the_question_back() -> None:
    session, chat = session_with_picture(), FakeChat(pause_s=0, failure=RuntimeError("out of memory"))
    views = list(handlers.ask(session, ready_engine(chat), "What is <region1>?", TWO))
    assert "out of memory" in views[-1].question_error and views[-1].question == "What is <region1>?"
    assert not session.busy and session.turns == []


def test_a_second_question_waits_for_the_first() -> None:
    session, engine = session_with_picture(), ready_engine()
    first = handlers.ask(session, engine, "What is <region1>?", TWO)
    next(first)
    (second,) = handlers.ask(session, engine, "And?", TWO)
    assert second.busy and "still being written" in second.question_error and second.question is None
    list(first)
    assert len(session.turns) == 2


def test_stop_keeps_the_words_so_far() -> None:
    session, engine = session_with_picture(), ready_engine()
    answer = handlers.ask(session, engine, "What is <region1>?", TWO)
    for view in answer:
        if "You" in view.html:
            session.stop()
    assert session.turns[1].content.startswith("You") and "several words" not in session.turns[1].content


def test_regenerate_replaces_the_last_answer_only() -> None:
    session, engine = session_with_picture(), ready_engine()
    list(handlers.ask(session, engine, "What is <region1>?", TWO))
    list(handlers.ask(session, engine, "And <region3>?", TWO))
    views = list(handlers.regenerate(session, engine, canvas((3, (0, 0, 9, 9)))))
    assert [turn.content for turn in session.turns if turn.role == "user"] == ["What is <region1>?", "And <region3>?"]
    assert "1 regions" in session.turns[-1].content and "2 regions" in session.turns[1].content
    assert len(session.timings) == 2
    assert all(view.question is None for view in views)  # the box may hold the next question already


def test_regenerate_without_an_answer_or_its_region() -> None:
    session, engine = session_with_picture(), ready_engine()
    (view,) = handlers.regenerate(session, engine, TWO)
    assert "ask a question first" in view.question_error
    list(handlers.ask(session, engine, "What is <region1>?", TWO))
    (view,) = handlers.regenerate(session, engine, canvas((3, (0, 0, 9, 9))))
    assert "<region1>" in view.question_error and len(session.turns) == 2


def test_who_waits_sees_how_many_are_before_and_a_closed_tab_leaves_the_line() -> None:
    engine = ready_engine()
    sessions = [session_with_picture() for _ in range(3)]
    first, second, third = (handlers.ask(session, engine, "What is <region1>?", TWO) for session in sessions)
    while "Looking" not in next(first).html:
        pass
    next(second), next(third)
    assert "Queued: 1 answer before yours" in next(second).html
    assert "Queued: 2 answers before yours" in next(third).html
    second.close()
    assert "Queued: 1 answer before yours" in next(third).html
    list(first)
    list(third)
    assert [len(session.turns) for session in sessions] == [2, 0, 2]


def test_a_stopped_wait_gives_the_question_back() -> None:
    release = threading.Event()
    loader = ModelLoader(lambda progress: (release.wait(10), FakeChat)[1])
    loader.start()
    session = session_with_picture()
    answer = handlers.ask(session, Engine(loader, Turnstile()), "What is <region1>?", TWO)
    next(answer)
    assert "Waiting for the model: Loading the model" in next(answer).html
    session.stop()
    last = [*answer][-1]
    release.set()
    assert last.question == "What is <region1>?" and not last.busy and session.turns == []


def test_a_model_that_did_not_load_is_a_sentence() -> None:
    def fail(progress: Any) -> Any:
        raise OSError("no space left")

    loader = ModelLoader(fail)
    loader.start()
    loader.wait(5)
    views = list(handlers.ask(session_with_picture(), Engine(loader, Turnstile()), "What is <region1>?", TWO))
    assert views[-1].question_error == "The model could not be loaded: no space left."
    assert views[-1].question == "What is <region1>?"


# --- pictures ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def upload(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "uploads" / "a1b2"
    folder.mkdir(parents=True)
    file = folder / "photo.png"
    Image.new("RGB", (30, 20)).save(file)
    yield file


def test_an_upload_is_opened_and_gone(upload: Path) -> None:
    session = Session()
    outcome = handlers.open_upload(session, str(upload), "photo.png", upload.parents[1])
    assert outcome.picture is session.picture is not None
    assert session.picture.size_wh == (30, 20)
    assert list(upload.parents[1].iterdir()) == []


def test_a_broken_upload_is_gone_too_and_keeps_the_picture(upload: Path) -> None:
    session = session_with_picture()
    before = session.picture
    upload.write_bytes(upload.read_bytes()[:40])
    outcome = handlers.open_upload(session, str(upload), "photo.png", upload.parents[1])
    assert "'photo.png'" in outcome.error and session.picture is before
    assert list(upload.parents[1].iterdir()) == []


def test_no_file_outside_the_uploads_is_read(upload: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    Image.new("RGB", (5, 5)).save(secret)
    for path in (secret, upload.parent / ".." / ".." / "secret.png"):
        outcome = handlers.open_upload(Session(), str(path), "secret.png", upload.parents[1])
        assert "not uploaded here" in outcome.error
    assert secret.exists()


def test_a_new_picture_waits_for_consent_only_when_there_is_something_to_lose() -> None:
    session = Session()
    assert handlers.open_named_example(session, "cat").picture is not None
    assert handlers.open_named_example(session, "coffee").picture is not None
    list(handlers.ask(session, ready_engine(), "What is <region1>?", canvas((1, (10, 10, 50, 50)))))
    outcome = handlers.open_named_example(session, "cat")
    assert outcome.picture is None and "new conversation" in outcome.warning
    assert session.picture is not None and session.picture.name == "coffee.png"
    handlers.refuse_waiting_picture(session)
    assert "no picture waiting" in handlers.accept_waiting_picture(session).error
    handlers.open_named_example(session, "cat")
    assert handlers.accept_waiting_picture(session).picture is not None
    assert session.picture.name == "chelsea.png" and session.turns == [] and session.timings == []


def test_no_new_picture_in_the_middle_of_an_answer() -> None:
    session, engine = session_with_picture(), ready_engine()
    answer = handlers.ask(session, engine, "What is <region1>?", TWO)
    next(answer)
    assert "Stop it first" in handlers.open_named_example(session, "cat").error
    assert "Stop it first" in handlers.accept_waiting_picture(session).error
    list(answer)


def test_an_unknown_example() -> None:
    assert "no example 'dog'" in handlers.open_named_example(Session(), "dog").error


# --- downloads --------------------------------------------------------------------------------------------------------------------


def test_the_downloaded_conversation_is_a_sample_of_our_format() -> None:
    session = session_with_picture()
    list(handlers.ask(session, ready_engine(), "Wie heißt <region3>?", TWO))
    record = json.loads(handlers.conversation_json(session, TWO))
    assert record["image"] == "street.jpg" and record["image_size_wh"] == [200, 100]
    assert record["regions"] == [{"number": 1, "box_xyxy": [10, 10, 50, 50]}, {"number": 3, "box_xyxy": [60, 10, 90, 50]}]
    assert record["conversation"][0] == {"role": "user", "content": "Wie heißt <region3>?"}
    assert handlers.download_name(session, "conversation.json") == "street-conversation.json"


def test_the_downloaded_picture_has_the_size_of_the_original() -> None:
    with Image.open(io.BytesIO(handlers.annotated_png(session_with_picture(), TWO))) as drawn:
        assert drawn.format == "PNG" and drawn.size == (200, 100)


def test_nothing_to_download() -> None:
    for download in (handlers.conversation_json, handlers.annotated_png):
        with pytest.raises(PictureError, match="no picture yet"):
            download(Session(), None)


def test_view_of_an_empty_session() -> None:
    assert handlers.view(Session()) == ChatView(handlers.view(Session()).html)
    assert "Talk about regions" in handlers.view(Session()).html
