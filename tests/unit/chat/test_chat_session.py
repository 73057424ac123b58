"""RegionChat: regions keep their numbers, mistakes are sentences and keep the conversation, pieces make up the answer."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from gpt4roi import masks
from gpt4roi.chat import RegionChat
from gpt4roi.conversation import Turn
from gpt4roi.data.check import check_file
from gpt4roi.data.jsonl import read_jsonl
from gpt4roi.engine import Engine, EngineSettings
from gpt4roi.regions import RegionSet


def test_answers_stream_in_pieces_that_make_up_the_text(chat):
    chat.add_region((1, 2, 30, 40))
    pieces = list(chat.stream("What is <region1>?", max_new_tokens=12))
    assert "".join(pieces) == chat.last_answer.text
    assert chat.turns == [Turn("user", "What is <region1>?"), Turn("assistant", chat.last_answer.text)]
    assert chat.last_answer.timings.new_tokens == 12
    assert not chat.last_answer.stopped


def test_numbers_are_never_reused_or_shifted(chat):
    assert [chat.add_region(box) for box in ((0, 0, 9, 9), (5, 5, 20, 20))] == [1, 2]
    chat.remove_region(1)
    assert list(chat.regions) == [2]
    assert chat.add_region((0.5, 0.5, 1, 1), space="unit") == 3
    assert chat.regions[3].box_xyxy == (40, 30, 80, 60)
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
    before = chat.to_record()
    with pytest.raises(ValueError, match=sentence):
        act(chat)
    assert chat.to_record() == before


def test_without_an_image_one_may_talk_but_not_draw(tiny):
    chat = RegionChat(*tiny)
    assert chat.ask("Hello", 4).timings.new_tokens == 4
    with pytest.raises(ValueError, match="no picture"):
        chat.add_region((0, 0, 1, 1))
    with pytest.raises(ValueError, match="no picture"):
        chat.ask("What is <region1>?")
    assert len(chat.turns) == 2


def test_a_new_image_is_a_new_conversation(chat):
    chat.add_region((0, 0, 9, 9))
    chat.ask("Hi", 2)
    chat.set_image(np.zeros((10, 20, 3), dtype=np.uint8))
    assert (chat.turns, list(chat.regions), chat.image_size_wh) == ([], [], (20, 10))
    assert chat.add_region((0, 0, 9, 9)) == 1


def test_what_was_said_about_a_removed_region_is_stale_and_not_told_again(chat):
    chat.add_region((0, 0, 9, 9))
    chat.ask("What is <region1>?", 4)
    chat.remove_region(1)
    assert [one.stale for one in chat.exchanges] == [True]
    assert chat.ask("And now?", 4).timings.regions_encoded == 0
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
    assert chat.last_answer.timings.new_tokens < 1500
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
    assert (list(other.regions), other.turns) == ([], [])
    assert other.engine is chat.engine
    assert other.ask("Hi", 2).timings.image_cached == 1


def fresh(chat, image):
    """Another conversation on the same model and image, with the same regions."""
    other = chat.new_session()
    other.set_image(image)
    for region in chat.regions.values():
        other.add_region(region.box_xyxy, number=region.number)
    return other


def same(one, other):
    return (one.input_ids, one.regions, one.image.key) == (other.input_ids, other.regions, other.image.key)


def test_a_moved_region_is_seen_anew(chat, image):
    chat.add_region((1, 1, 20, 20))
    chat.ask("What is <region1>?", 8)
    chat.move_region(1, (40, 30, 79, 59))
    assert chat.exchanges[0].stale
    assert same(chat.prompt_of("What is <region1>?"), fresh(chat, image).prompt_of("What is <region1>?"))
    chat.undo_region()
    assert not chat.exchanges[0].stale, "it is where it was when it was asked about"
    chat.redo_region()
    assert chat.exchanges[0].stale


def test_what_was_said_about_one_region_is_not_told_when_another_is_asked_about(chat, image):
    chat.add_region((1, 1, 20, 20))
    chat.add_region((40, 30, 79, 59))
    chat.ask("What color is <region1>?", 8)
    assert same(chat.prompt_of("What color is <region2>?"), fresh(chat, image).prompt_of("What color is <region2>?"))
    assert not same(chat.prompt_of("Why is <region1> so?"), fresh(chat, image).prompt_of("Why is <region1> so?")), (
        "talk of one region goes on"
    )


def test_a_question_without_a_number_is_about_the_selected_region_the_only_one_or_the_last(chat):
    chat.ask("What is this?", 2)
    chat.add_region((1, 1, 20, 20))
    chat.ask("What is this?", 2)
    chat.add_region((40, 30, 79, 59))
    chat.ask("What is this?", 2)
    chat.select(1)
    chat.ask("What is this?", 2)
    chat.ask("How many dogs are in the picture?", 2)
    chat.remove_region(1)
    chat.ask("What is this?", 2)
    assert [one.regions for one in chat.exchanges] == [(), (1,), (2,), (1,), (), (2,)]
    assert (chat.exchanges[1].question, chat.exchanges[1].asked) == ("What is this?", "What is <region1>?")
    assert chat.selected is None


def test_other_spellings_of_a_region(chat):
    chat.add_region((1, 1, 20, 20))
    for question in ("What is <Region1>?", "What is <region 1>?", "What is region 1?", "What is box 1?", "What is #1?"):
        assert chat.prompt_of(question) == chat.prompt_of("What is <region1>?")


def test_a_mask_is_looked_at_and_a_mask_of_ones_is_its_box(chat):
    half = np.zeros((60, 80), dtype=bool)
    half[10:30, 20:40] = True
    chat.add_region((20, 10, 60, 30))
    box = chat.ask("Look at <region1>", 16)
    chat.undo()
    chat.move_region(1, (20, 10, 60, 30), mask=masks.encode(half))
    masked = chat.ask("Look at <region1>", 16)
    assert masked.timings.regions_encoded == 1 and masked.text != box.text
    chat.undo()
    half[10:30, 20:60] = True
    chat.move_region(1, (20, 10, 60, 30), mask=masks.encode(half))
    assert chat.ask("Look at <region1>", 16).text == box.text


def test_points_of_a_model_without_a_mask_head(chat):
    with pytest.raises(ValueError, match="no mask head"):
        chat.add_region(points=[(10, 10)])
    assert list(chat.regions) == []


def test_a_corrected_answer_is_what_counts(chat):
    chat.add_region((1, 2, 30, 40))
    chat.ask("What is <region1>?", 3)
    chat.correct(-1, "A cup.")
    assert chat.turns[-1] == Turn("assistant", "A cup.") and chat.exchanges[0].answer.text != "A cup."
    for index, text in ((3, "A cup."), (0, " ")):
        with pytest.raises(ValueError, match=r"there is no answer 3|corrected answer is empty"):
            chat.correct(index, text)


def test_a_saved_conversation_is_training_data_as_it_is(chat, image, tmp_path):
    """Draw 1, 2, 3, delete 1, save: region 2 stays region 2, labels included; `data check` finds nothing wrong."""
    image.save(tmp_path / "street.png")
    chat.set_image(tmp_path / "street.png")
    for box in ((0, 0, 10, 10), (20, 20, 30, 30), (50, 40, 70, 55)):
        chat.add_region(box)
    chat.label_region(3, "cup")
    for number in (1, 2, 3):
        chat.ask(f"What is <region{number}>?", 3)
        chat.correct(-1, f"Thing {number}.")
    chat.remove_region(1)
    chat.save(tmp_path / "talk.jsonl")
    assert check_file(tmp_path / "talk.jsonl").problems == []
    (sample,) = read_jsonl(tmp_path / "talk.jsonl")
    assert {region.number: (region.box_xyxy, region.label) for region in sample.regions} == {
        2: ((20, 20, 30, 30), None),
        3: ((50, 40, 70, 55), "cup"),
    }
    assert [turn.content for turn in sample.conversation] == ["What is <region2>?", "Thing 2.", "What is <region3>?", "Thing 3."]
    assert [turn["content"] for turn in chat.to_record()["stale"]] == ["What is <region1>?", "Thing 1."]


def test_what_cannot_be_saved_is_said(chat, tmp_path):
    with pytest.raises(ValueError, match="nothing has been said"):
        chat.save(tmp_path / "talk.jsonl")
    chat.ask("Hi", 2)
    chat.correct(-1, "Hello.")
    with pytest.raises(ValueError, match="has no file"):
        chat.save(tmp_path / "talk.jsonl")
    assert not (tmp_path / "talk.jsonl").exists()


def test_regions_that_were_drawn_before_the_model_was_there(chat, image):
    regions = RegionSet(image.size)
    regions.add((1, 1, 20, 20))
    chat.set_image(image, regions=regions)
    assert chat.regions is regions and chat.add_region((2, 2, 9, 9)) == 2


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
