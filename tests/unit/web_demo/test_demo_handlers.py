"""What the page does, without a page."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gpt4roi.boxes import BoxError
from gpt4roi.data.check import check_file
from gpt4roi.data.jsonl import read_jsonl
from gpt4roi.images import ImageError
from gpt4roi.regions import Region
from tests.browser.fake_chat import FakeChat
from web_demo import handlers
from web_demo.drawn import Drawn, give_to, parse_drawn
from web_demo.handlers import ChatView
from web_demo.images import Picture
from web_demo.loading import ModelLoader
from web_demo.session import Session


def ready(chat: Any = None) -> ModelLoader:
    """A loader whose model is there; with `chat`, every session gets that one."""
    loader = ModelLoader(lambda progress: (lambda: chat) if chat is not None else (lambda: FakeChat(pause_s=0)))
    loader.start()
    assert loader.wait(5).state == "ready"
    return loader


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
    assert parse_drawn(value).boxes == expected


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
        parse_drawn(value)


def test_an_answer_streams_and_is_kept() -> None:
    session = session_with_picture()
    views = list(handlers.ask(session, ready(), "What is <region3>?", TWO))
    assert views[0].busy and views[0].question == ""
    assert views[-1].busy is False and views[-1].question_error == ""
    assert [one.regions for one in session.exchanges] == [(3,)]
    assert {number: region.box_xyxy for number, region in session.chat.regions.items()} == {1: (10, 10, 50, 50), 3: (60, 10, 90, 50)}
    assert session.exchanges[0].timings.total_s >= 0
    assert not session.busy


def test_boxes_that_came_went_and_moved_reach_the_chat_under_their_numbers() -> None:
    session, loader = session_with_picture(), ready()
    list(handlers.ask(session, loader, "<region1>?", TWO))
    list(handlers.ask(session, loader, "<region4>?", canvas((3, (0, 0, 9, 9)), (4, (1, 1, 8, 8)))))
    assert {number: region.box_xyxy for number, region in session.chat.regions.items()} == {3: (0, 0, 9, 9), 4: (1, 1, 8, 8)}
    assert len(session.exchanges) == 2


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
    session, loader = session_with_picture(), ready()
    list(handlers.ask(session, loader, "What is <region1>?", TWO))
    exchanges, picture = session.exchanges, session.picture
    (view,) = handlers.ask(session, loader, question, value)
    assert words in getattr(view, field)
    assert getattr(view, field)[0].isupper() or getattr(view, field)[0] == "<"
    assert view.question is None  # what was typed stays in the box
    assert session.exchanges == exchanges and session.picture is picture and not session.busy


def test_no_picture() -> None:
    (view,) = handlers.ask(Session(), ready(), "What is <region1>?", None)
    assert "no picture yet" in view.question_error


def test_a_failure_of_the_model_gives_the_question_back() -> None:
    session, chat = session_with_picture(), FakeChat(pause_s=0, failure=RuntimeError("out of memory"))
    views = list(handlers.ask(session, ready(chat), "What is <region1>?", TWO))
    assert "out of memory" in views[-1].question_error and views[-1].question == "What is <region1>?"
    assert not session.busy and session.exchanges == []


def test_a_second_question_waits_for_the_first() -> None:
    session, loader = session_with_picture(), ready()
    first = handlers.ask(session, loader, "What is <region1>?", TWO)
    next(first)
    (second,) = handlers.ask(session, loader, "And?", TWO)
    assert second.busy and "still being written" in second.question_error and second.question is None
    list(first)
    assert len(session.exchanges) == 1


def test_stop_keeps_the_words_so_far() -> None:
    session, loader = session_with_picture(), ready()
    answer = handlers.ask(session, loader, "What is <region1>?", TWO)
    for view in answer:
        if "You" in view.html:
            session.stop()
    assert session.exchanges[0].text.startswith("You") and "several words" not in session.exchanges[0].text


def test_regenerate_replaces_the_last_answer_only() -> None:
    session, loader = session_with_picture(), ready()
    list(handlers.ask(session, loader, "What is <region1>?", TWO))
    list(handlers.ask(session, loader, "And <region3>?", TWO))
    views = list(handlers.regenerate(session, loader, canvas((3, (0, 0, 9, 9)))))
    assert [one.question for one in session.exchanges] == ["What is <region1>?", "And <region3>?"]
    assert "1 regions" in session.exchanges[-1].text and "2 regions" in session.exchanges[0].text
    assert all(view.question is None for view in views)  # the box may hold the next question already


def test_regenerate_without_an_answer_or_its_region() -> None:
    session, loader = session_with_picture(), ready()
    (view,) = handlers.regenerate(session, loader, TWO)
    assert "ask a question first" in view.question_error
    list(handlers.ask(session, loader, "What is <region1>?", TWO))
    (view,) = handlers.regenerate(session, loader, canvas((3, (0, 0, 9, 9))))
    assert "<region1>" in view.question_error and len(session.exchanges) == 1


def test_several_tabs_are_answered_at_the_same_time() -> None:
    """No queue of the page's own stands before the engine, which batches."""
    loader = ready()
    sessions = [session_with_picture() for _ in range(3)]
    answers = [handlers.ask(session, loader, "What is <region1>?", TWO) for session in sessions]
    for answer in answers:
        while "You asked" not in next(answer).html:
            pass
    for answer in answers:
        list(answer)
    assert [len(session.exchanges) for session in sessions] == [1, 1, 1]


def test_the_selected_region_is_meant_and_shown_beside_the_question() -> None:
    session, loader = session_with_picture(), ready()
    list(handlers.ask(session, loader, "What is this?", {**TWO, "selected": 1}))
    views = list(handlers.ask(session, loader, "What is this?", TWO))
    assert [one.regions for one in session.exchanges] == [(1,), (3,)]
    assert 'What is this? <span class="mention"' in views[-1].html


def test_an_answer_about_a_place_that_moved_is_marked() -> None:
    session, loader = session_with_picture(), ready()
    list(handlers.ask(session, loader, "What is <region3>?", TWO))
    views = list(handlers.ask(session, loader, "What is <region1>?", canvas((1, (10, 10, 50, 50)), (3, (0, 0, 9, 9)))))
    assert views[-1].html.count("where the region was before") == 1


@pytest.mark.parametrize(
    "value",
    [
        canvas((10**5000, (0, 0, 5, 5))),
        {"regions": [{"number": 1, "box": [10**400, 0, 5, 5]}]},
        canvas(*[(n, (0, 0, 5, 5)) for n in range(1, 1002)]),
    ],
)
def test_numbers_beyond_all_bounds_are_sentences(value: Any) -> None:
    (view,) = handlers.ask(session_with_picture(), ready(), "What is <region1>?", value)
    assert view.box_error and not view.busy


def test_a_stopped_wait_gives_the_question_back() -> None:
    release = threading.Event()
    loader = ModelLoader(lambda progress: (release.wait(10), FakeChat)[1])
    loader.start()
    session = session_with_picture()
    answer = handlers.ask(session, loader, "What is <region1>?", TWO)
    next(answer)
    assert "Waiting for the model: Loading the model" in next(answer).html
    session.stop()
    last = [*answer][-1]
    release.set()
    assert last.question == "What is <region1>?" and not last.busy and session.exchanges == []


def test_a_model_that_did_not_load_is_a_sentence() -> None:
    def fail(progress: Any) -> Any:
        raise OSError("no space left")

    loader = ModelLoader(fail)
    loader.start()
    loader.wait(5)
    views = list(handlers.ask(session_with_picture(), loader, "What is <region1>?", TWO))
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


def test_no_file_outside_the_uploads_is_read_and_nothing_but_the_upload_is_deleted(upload: Path, tmp_path: Path) -> None:
    """An upload is root/one folder/file. The folder itself, a file at another depth, or a link elsewhere is refused and left alone."""
    root = upload.parents[1]
    secret, loose, deep = tmp_path / "secret.png", root / "loose.png", root / "a" / "b" / "c.png"
    deep.parent.mkdir(parents=True)
    for file in (secret, loose, deep):
        Image.new("RGB", (5, 5)).save(file)
    link = root / "c" / "link.png"
    link.parent.mkdir()
    link.symlink_to(secret)
    before = sorted(tmp_path.rglob("*"))
    for path in (
        str(root),
        f"{root}/",
        str(loose),
        str(deep),
        str(secret),
        str(upload.parent / ".." / ".." / "secret.png"),
        str(tmp_path),
        "",
        "/",
        str(link),
    ):
        outcome = handlers.open_upload(Session(), path, "x.png", root)
        assert "not uploaded here" in outcome.error or "did not arrive" in outcome.error, path
    assert sorted(tmp_path.rglob("*")) == before


def test_a_new_picture_waits_for_consent_only_when_there_is_something_to_lose() -> None:
    session = Session()
    assert handlers.open_named_example(session, "cat").picture is not None
    assert handlers.open_named_example(session, "coffee").picture is not None
    list(handlers.ask(session, ready(), "What is <region1>?", canvas((1, (10, 10, 50, 50)))))
    outcome = handlers.open_named_example(session, "cat")
    assert outcome.picture is None and "new conversation" in outcome.warning
    assert session.picture is not None and session.picture.name == "coffee.png"
    handlers.refuse_waiting_picture(session)
    assert "no picture waiting" in handlers.accept_waiting_picture(session).error
    handlers.open_named_example(session, "cat")
    assert handlers.accept_waiting_picture(session).picture is not None
    assert session.picture.name == "chelsea.png" and session.exchanges == []


def test_no_new_picture_in_the_middle_of_an_answer() -> None:
    session, loader = session_with_picture(), ready()
    answer = handlers.ask(session, loader, "What is <region1>?", TWO)
    next(answer)
    assert "Stop it first" in handlers.open_named_example(session, "cat").error
    assert "Stop it first" in handlers.accept_waiting_picture(session).error
    list(answer)


def test_an_unknown_example() -> None:
    assert "no example 'dog'" in handlers.open_named_example(Session(), "dog").error


# --- downloads --------------------------------------------------------------------------------------------------------------------


def test_the_downloaded_conversation_is_training_data_as_it_is(tmp_path: Path) -> None:
    session = session_with_picture()
    list(handlers.ask(session, ready(), "Wie heißt <region3>?", TWO))
    file = tmp_path / handlers.download_name(session, "conversation.jsonl")
    file.write_text(handlers.conversation_jsonl(session, TWO), encoding="utf-8")
    Image.new("RGB", (200, 100)).save(tmp_path / "street.jpg")
    assert file.name == "street-conversation.jsonl" and check_file(file).problems == []
    (sample,) = read_jsonl(file)
    assert {region.number: region.box_xyxy for region in sample.regions} == {1: (10, 10, 50, 50), 3: (60, 10, 90, 50)}
    assert sample.conversation[0].content == "Wie heißt <region3>?"


def test_the_downloaded_picture_has_the_size_of_the_original() -> None:
    with Image.open(io.BytesIO(handlers.annotated_png(session_with_picture(), TWO))) as drawn:
        assert drawn.format == "PNG" and drawn.size == (200, 100)


def test_nothing_to_download() -> None:
    for download in (handlers.conversation_jsonl, handlers.annotated_png):
        with pytest.raises(ImageError, match="no picture yet"):
            download(Session(), None)


def test_view_of_an_empty_session() -> None:
    assert handlers.view(Session()) == ChatView(handlers.view(Session()).html)
    assert "Talk about regions" in handlers.view(Session()).html


def test_what_undo_brings_back_comes_back_whole() -> None:
    """The canvas knows neither masks nor scores; a region found, deleted and brought back must not become a drawn one."""
    session = session_with_picture()
    list(handlers.ask(session, ready(), "What is <region1>?", TWO))
    (found,) = session.chat.regions.add_found([Region(1, (20, 20, 40, 40), "cup", score=0.8)])
    with_found = Drawn({1: (10, 10, 50, 50), 3: (60, 10, 90, 50), 4: found.box_xyxy}, {4: "cup"})
    give_to(session.chat, with_found, session.known)
    for other in (Drawn({1: (10, 10, 50, 50)}), Drawn({**with_found.boxes, 4: (0, 0, 9, 9)}), Drawn(with_found.boxes, {4: "mug"})):
        give_to(session.chat, other, session.known)
        assert 4 not in session.chat.regions or session.chat.regions[4] != found
        give_to(session.chat, with_found, session.known)
        assert session.chat.regions[4] == found


def test_labels_come_and_go_with_the_canvas() -> None:
    session = session_with_picture()
    list(handlers.ask(session, ready(), "What is <region1>?", TWO))
    for labels in ({1: "dog"}, {1: "cat", 3: "cup"}, {}):
        give_to(session.chat, Drawn({1: (10, 10, 50, 50), 3: (60, 10, 90, 50)}, labels), session.known)
        assert {number: region.label for number, region in session.chat.regions.items() if region.label} == labels
