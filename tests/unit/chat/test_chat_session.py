"""RegionChat: regions keep their numbers, mistakes are sentences and keep the conversation, pieces make up the answer."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest

from gpt4roi.chat import RegionChat
from gpt4roi.conversation import Turn
from gpt4roi.engine import Engine, EngineSettings


def test_answers_stream_in_pieces_that_make_up_the_text(chat):
    chat.add_region((1, 2, 30, 40))
    pieces = list(chat.stream("What is <region1>?", max_new_tokens=12))
    assert "".join(pieces) == chat.last_answer.text
    assert chat.turns == [Turn("user", "What is <region1>?"), Turn("assistant", chat.last_answer.text)]
    assert chat.last_answer.timings["new_tokens"] == 12
    assert not chat.last_answer.stopped


def test_numbers_are_never_reused_or_shifted(chat):
    assert [chat.add_region(box) for box in ((0, 0, 9, 9), (5, 5, 20, 20))] == [1, 2]
    chat.remove_region(1)
    assert list(chat.regions) == [2]
    assert chat.add_region((0.5, 0.5, 1, 1), space="unit") == 3
    assert chat.regions[3] == (40, 30, 80, 60)
    assert chat.add_region((0, 0, 9, 9), number=1) == 1
    assert chat.add_region((0, 0, 9, 9)) == 4


def test_region_two_is_box_two_whoever_comes_first(chat, tiny, image):
    boxes = ((1, 1, 20, 20), (40, 30, 79, 59))
    for box in boxes:
        chat.add_region(box)
    other = RegionChat(*tiny, Engine(*tiny, EngineSettings(precision="float32")))
    other.set_image(image)
    other.add_region(boxes[1], number=2)
    assert chat.ask("Look at <region2>", 16).text == other.ask("Look at <region2>", 16).text


def test_the_box_matters_to_the_answer(chat):
    chat.add_region((1, 1, 20, 20))
    first = chat.ask("Look at <region1>", 16).text
    chat.undo()
    chat.move_region(1, (40, 30, 79, 59))
    assert chat.ask("Look at <region1>", 16).text != first


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (lambda c: c.ask("What is <region9>?"), "<region9>"),
        (lambda c: c.ask("  "), "empty"),
        (lambda c: c.ask("Hi", max_new_tokens=0), "at least one token"),
        (lambda c: c.add_region((10, 10, 10, 30)), "empty"),
        (lambda c: c.add_region((0, 0, 500, 30)), "80 x 60"),
        (lambda c: c.add_region((0, 0, float("nan"), 30)), "not a number"),
        (lambda c: c.add_region((0, 0, 9, 9), number=1), "exists already"),
        (lambda c: c.add_region((0, 0, 9, 9), number=0), "count from 1"),
        (lambda c: c.add_region((0, 0, 9, 9), space="miles"), "miles"),
        (lambda c: c.move_region(7, (0, 0, 9, 9)), "no <region7>"),
        (lambda c: c.remove_region(7), "no <region7>"),
        (lambda c: c.set_image("no-such-file.png"), "does not exist"),
        (lambda c: c.set_image(b"no picture"), "not a picture"),
    ],
)
def test_mistakes_are_sentences_and_keep_everything(chat, act, sentence):
    chat.add_region((1, 2, 30, 40))
    chat.ask("What is <region1>?", 4)
    before = chat.to_dict()
    with pytest.raises(ValueError, match=sentence):
        act(chat)
    assert chat.to_dict() == before


def test_without_a_image_one_may_talk_but_not_draw(tiny):
    chat = RegionChat(*tiny)
    assert chat.ask("Hello", 4).timings["new_tokens"] == 4
    with pytest.raises(ValueError, match="no picture"):
        chat.add_region((0, 0, 1, 1))
    with pytest.raises(ValueError, match="no picture"):
        chat.ask("What is <region1>?")
    assert len(chat.turns) == 2


def test_a_new_image_is_a_new_conversation(chat):
    chat.add_region((0, 0, 9, 9))
    chat.ask("Hi", 2)
    chat.set_image(np.zeros((10, 20, 3), dtype=np.uint8))
    assert (chat.turns, chat.regions, chat.image_size_wh) == ([], {}, (20, 10))
    assert chat.add_region((0, 0, 9, 9)) == 1


def test_removed_regions_stay_as_words(chat):
    chat.add_region((0, 0, 9, 9))
    chat.ask("What is <region1>?", 4)
    chat.remove_region(1)
    assert chat.ask("And now?", 4).timings["regions_encoded"] == 0
    with pytest.raises(ValueError, match="<region1>"):
        chat.ask("What is <region1>?")


def test_undo_regenerate_reset(chat):
    for act in (chat.undo, chat.regenerate):
        with pytest.raises(ValueError, match="yet"):
            act()
    chat.ask("One", 6)
    second = chat.ask("Two", 6)
    assert chat.regenerate(6).text == second.text
    assert [turn.content for turn in chat.turns][::2] == ["One", "Two"]
    assert chat.undo() == "Two"
    assert [turn.content for turn in chat.turns][::2] == ["One"]
    assert chat.ask("Two", 6).text == second.text
    chat.reset()
    assert chat.turns == []


def test_stop_keeps_what_was_written_and_frees_the_chat(chat):
    pieces = chat.stream("Go on for long", max_new_tokens=1500)
    next(pieces)
    with pytest.raises(ValueError, match="still being written"):
        chat.ask("Another")
    chat.stop()
    rest = "".join(pieces)
    assert chat.last_answer.stopped
    assert chat.last_answer.text.endswith(rest)
    assert chat.last_answer.timings["new_tokens"] < 1500
    assert not chat.ask("Another", 3).stopped


def test_closing_the_stream_stops_the_answer(chat):
    pieces = chat.stream("Go on for long", max_new_tokens=1500)
    next(pieces)
    pieces.close()
    assert chat.last_answer.stopped
    assert [turn.role for turn in chat.turns] == ["user", "assistant"]
    chat.ask("Another", 3)


def test_stop_from_another_thread(chat):
    def stop_soon():
        while chat.engine.running_count == 0:
            pass
        chat.stop()

    thread = threading.Thread(target=stop_soon)
    thread.start()
    answer = chat.ask("Go on for long", 1800)
    thread.join()
    assert answer.stopped


def test_sessions_share_a_model_but_nothing_else(chat, image):
    other = chat.new_session()
    other.set_image(image)
    chat.add_region((0, 0, 9, 9))
    chat.ask("Hi", 2)
    assert (other.regions, other.turns) == ({}, [])
    assert other.engine is chat.engine
    assert other.ask("Hi", 2).timings["image_cached"] == 1


def test_save_writes_the_region_data_format(chat, tmp_path):
    chat.add_region((1, 2, 30, 40))
    chat.ask("What is <region1>?", 3)
    chat.save(tmp_path / "talk.json")
    saved = json.loads((tmp_path / "talk.json").read_text(encoding="utf-8"))
    assert saved == chat.to_dict()
    assert saved["regions"] == [{"number": 1, "box_xyxy": [1.0, 2.0, 30.0, 40.0]}]
    assert [turn["role"] for turn in saved["conversation"]] == ["user", "assistant"]


def test_a_failure_in_the_model_keeps_the_conversation(chat, monkeypatch):
    chat.ask("One", 3)

    def fail(*args):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(chat.engine.decoder, "prefill", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        chat.ask("Two", 3)
    assert [turn.content for turn in chat.turns][::2] == ["One"]
    monkeypatch.undo()
    chat.ask("Two", 3)
