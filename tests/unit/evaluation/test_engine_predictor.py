"""The chat engine as a predictor answers what the model answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from gpt4roi.chat import RegionChat
from gpt4roi.engine import Engine, EngineSettings
from gpt4roi.evaluation.engine_predictor import EnginePredictor
from gpt4roi.evaluation.items import Item
from gpt4roi.evaluation.model_predictor import ModelPredictor
from tests.unit.chat.tiny import tiny_model


def test_the_engine_answers_as_the_model_does(tmp_path: Path) -> None:
    model, processor = tiny_model(layers=1)
    items = []
    for index, colour in enumerate(("red", "blue")):
        path = tmp_path / f"{colour}.png"
        Image.new("RGB", (60, 40), colour).save(path)
        # The second box leaves the image, as published ones do; the second question is about the same image.
        for box, question in (((5, 5, 30, 30), "What is <region1>?"), ((20, 10, 61, 41), "Which color has <region1>?")):
            items.append(Item(f"{index}-{question}", question, image=path, boxes_xyxy=(box,), references=("x",)))
    chat = RegionChat(model, processor, Engine(model, processor, EngineSettings(precision="float32")))
    engine = EnginePredictor(chat=chat, max_new_tokens=6)
    plain = ModelPredictor(loaded=(model, processor), max_new_tokens=6)
    answers = engine.generate(items)
    assert [answer.strip() for answer in answers] == [plain.generate([item])[0].strip() for item in items]
    for item in items:
        scored, reference = (predictor.score_options(item, ["red", "blue", "a region"]) for predictor in (engine, plain))
        assert [one.num_tokens for one in scored] == [one.num_tokens for one in reference]
        assert [one.log_prob for one in scored] == pytest.approx([one.log_prob for one in reference], rel=1e-4, abs=1e-3)
