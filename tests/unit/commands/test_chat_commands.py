"""`gpt4roi ask`, `chat` and `info` as a user meets them."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from gpt4roi.cli import main
from tests.unit.chat.tiny import tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model and an image on disk."""
    path = tmp_path_factory.mktemp("tiny")
    model, processor = tiny_model()
    model.save_pretrained(path / "model")
    processor.save_pretrained(path / "model")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)).save(path / "photo.png")
    return path


def test_ask_json_is_the_contract(folder, capsys):
    command = ["ask", str(folder / "photo.png"), "What is <region1>?", "--box", "1,2,30,40", "--model", str(folder / "model")]
    assert main([*command, "--max-new-tokens", "5", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert set(record) == {"answer", "model", "image", "about", "regions", "timings"}
    assert record["image"] == {"width": 80, "height": 60}
    assert record["regions"] == [{"number": 1, "box_xyxy": [1.0, 2.0, 30.0, 40.0]}]
    assert set(record["timings"]) == {"load_s", "vision_s", "first_token_s", "total_s", "new_tokens"}
    assert record["timings"]["new_tokens"] == 5
    assert main([*command, "--max-new-tokens", "5"]) == 0
    assert capsys.readouterr().out.rstrip("\n") == record["answer"]


@pytest.mark.parametrize(
    ("question", "box", "extra", "sentence"),
    [
        ("What is <region2>?", "1,2,30,40", [], "<region2>"),
        ("What is <region1>?", "1,2,3", [], "four numbers"),
        ("What is <region1>?", "1,2,300,40", [], "80 x 60"),
        ("What is <region1>?", "5,5,5,9", [], "empty"),
        (" ", "1,2,30,40", [], "question is empty"),
        ("Hi", "1,2,30,40", ["--max-new-tokens", "0"], "at least 1"),
        ("Hi", "1,2,30,40", ["--model", "no-such-model"], "no-such-model"),
    ],
)
def test_mistakes_exit_with_2_and_one_sentence(folder, capsys, question, box, extra, sentence):
    assert main(["ask", str(folder / "photo.png"), question, "--box", box, "--model", str(folder / "model"), *extra]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert sentence in captured.err
    assert "Traceback" not in captured.err


def test_a_missing_image_is_a_mistake(capsys):
    assert main(["ask", "no-such.png", "Hi"]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_chat_obeys_and_answers(folder, capsys, monkeypatch):
    lines = [
        "/box 1,2,30,40",
        "/box 40,30,79,59",
        "/regions",
        "What is <region2>?",
        "/timings",
        "/again",
        "What is <region7>?",
        "/move 1 2,2,31,41",
        "/remove <region2>",
        "/remove nine",
        "/regions",
        "/undo",
        "/undo",
        "What is this?",
        "/correct A cup.",
        f"/save {folder / 'talk.jsonl'}",
        "/nonsense",
        "/image no-such.png",
        "/help",
        "/quit",
        "never read",
    ]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines) + "\n"))
    assert main(["chat", str(folder / "photo.png"), "--model", str(folder / "model"), "--max-new-tokens", "4"]) == 0
    out = capsys.readouterr().out
    for expected in (
        "<region1>\n<region2>\n",
        "<region2>  40,30,79,59",
        "tokens reused",
        "! the text names <region7>",
        "<region1>  2,2,31,41",
        "! a region number was expected; got 'nine'",
        "taken back: What is <region2>?",
        "! there is nothing to take back yet",
        "! there is no /nonsense",
        "! 'no-such.png' does not exist",
        "/save FILE",
    ):
        assert expected in out
    saved = json.loads((folder / "talk.jsonl").read_text(encoding="utf-8"))
    assert [region["number"] for region in saved["regions"]] == [1]
    assert [turn["content"] for turn in saved["conversation"]] == ["What is <region1>?", "A cup."]


def test_chat_finds_things_that_later_lines_may_name(capsys, monkeypatch):
    lines = ["/find cup", "/find zebra", "/find qwxzv", "/find", "What is <region1>?", "/regions", "/quit"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines) + "\n"))
    assert main(["chat", "docs/samples/coffee.jpg"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"<region1>  cup  0\.\d\d  [\d.]+(?:,[\d.]+){3}\n", out)
    assert "No zebra here." in out
    assert "! I do not know what 'qwxzv' looks like" in out
    assert "! there is nothing to look for" in out
    assert out.rstrip().splitlines()[-1].endswith("  cup")


def test_ctrl_c_stops_the_answer_and_not_the_program(folder, capsys):
    from gpt4roi.chat import RegionChat
    from gpt4roi.commands.chat import Terminal

    chat = RegionChat.from_pretrained(str(folder / "model"))
    chat.set_image(folder / "photo.png")
    terminal = Terminal(chat, 1500)

    class Interrupting(io.StringIO):
        def write(self, text: str) -> int:
            if text and chat.engine.running_count:
                raise KeyboardInterrupt
            return super().write(text)

    import contextlib

    with contextlib.redirect_stdout(Interrupting()), contextlib.suppress(KeyboardInterrupt):
        terminal.obey("Go on for long")
    assert chat.last_answer is not None
    assert chat.last_answer.stopped
    terminal.max_new_tokens = 3
    terminal.obey("Another")
    assert len(chat.turns) == 4


def test_info(folder, capsys):
    assert main(["info", "--json", "--model", str(folder / "model")]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["versions"]["torch"]
    assert {"trained_tensors_whole", "adapters_there", "base_language_model_ready"} <= set(report["embedded"])
    counts = report["model"]["parameters"]
    assert (
        counts["total"] == sum(counts[part] for part in ("vision_tower", "region_encoder", "multi_modal_projector", "language_model")) > 0
    )
    memory = report["model"]["memory_bytes"]
    assert memory["float32"] == 4 * counts["total"] == 2 * memory["bfloat16"]
    assert memory["bfloat16"] > memory["int8"] > memory["int4"] > memory["bfloat16"] // 4
    assert main(["info", "--model", str(folder / "model")]) == 0
    shown = capsys.readouterr().out
    assert "torch" in shown and f"total {counts['total']:,}" in shown
    assert "float32 0.00 GB, bfloat16 0.00 GB, int8 0.00 GB, int4 0.00 GB" in shown
    assert main(["info", "--model", "no-such-folder"]) == 2
