"""Every task that a text model can answer, from the command line to metrics.json and the report, with a tiny random model."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from gpt4roi.commands import evaluate as cli
from gpt4roi.evaluation import captioning
from gpt4roi.evaluation.tasks import open_vocabulary, referring
from tests.unit.chat.tiny import tiny_model
from tests.unit.evaluation.small_data import MAKERS, word_embedder

TASKS = [name for name in MAKERS if name not in ("rec", "refl4", "coco_detection", "paco_referring")]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    model, processor = tiny_model(layers=1)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", TASKS)
def test_task_runs_with_a_model(
    name: str, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(referring, "MiniLM", lambda: word_embedder)
    monkeypatch.setattr(open_vocabulary, "MiniLM", lambda: word_embedder)
    monkeypatch.setattr(captioning, "has_java", lambda: False)
    request = MAKERS[name](tmp_path)
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    words = [name, "--data", str(request.data), "--model", str(model_folder), "--output", str(tmp_path / "out"), "--device", "cpu"]
    words += ["--images", str(request.images)] if request.images else []
    assert cli.run(parser.parse_args(words)) == 0
    report = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert {"task", "metrics", "num_items", "coverage", "model", "data", "protocol", "commit", "versions"} <= report.keys()
    assert report["task"] == name and report["coverage"] == 1 and report["metrics"] and report["model"] == str(model_folder)
    first = next(iter(report["metrics"].values()))
    assert {"value", "low", "high", "n", "chance", "majority"} <= first.keys()
    assert ("blind" in first) is (name in ("embedded_suite", "regions", "coco_classification"))
    lines = (tmp_path / "out" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == report["num_items"] and {"id", "output", "parsed", "score"} <= json.loads(lines[0]).keys()
    assert name in capsys.readouterr().out and (tmp_path / "out" / "report" / "index.html").exists()
