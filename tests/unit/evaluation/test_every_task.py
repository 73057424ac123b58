"""Every task on a small file in its own format: the oracle is perfect, guesses are guesses, and the runner's promises hold."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from gpt4roi.evaluation import runner
from gpt4roi.evaluation.items import EvaluationError
from gpt4roi.evaluation.predictors import ChancePredictor, ConstantPredictor, OraclePredictor, predict
from gpt4roi.evaluation.task import Request, Task
from gpt4roi.evaluation.tasks import TASKS, task_class
from tests.unit.evaluation.small_data import MAKERS, word_embedder

# Where the best figure is not 100: errors are best at 0, and CIDEr's maximum depends on the references.
BEST = {"calibration_error": 0.0, "false_refusals": 0.0}
SKIPPED = ("cider",)


def make(name: str, folder: Path, variant: str | None = None) -> Task:
    request: Request = dataclasses.replace(MAKERS[name](folder), variant=variant)
    kind = task_class(name)
    if name.endswith("_referring") or name == "open_vocabulary":
        return kind(request, embed=word_embedder)  # type: ignore[call-arg]
    if name == "region_caption":
        return kind(request, java=False)  # type: ignore[call-arg]
    return kind(request)


def variants() -> list[tuple[str, str]]:
    return [(name, variant) for name in TASKS for variant in task_class(name).variants]


@pytest.mark.parametrize(("name", "variant"), variants())
def test_oracle_is_perfect_and_chance_is_not(name: str, variant: str, tmp_path: Path) -> None:
    task = make(name, tmp_path, variant)
    items = runner.load_items(task)
    outputs = dict(zip([item.id for item in items], predict(OraclePredictor(), items), strict=True))
    report = runner.evaluate_outputs(task, items, outputs, model="oracle")
    assert report["coverage"] == 1 and report["num_unparsable"] == 0 and report["metrics"]
    for metric, figure in report["metrics"].items():
        # No object of that size in the file: no figure, rather than a made-up one.
        if metric not in SKIPPED and not (figure["value"] is None and metric.endswith(("_medium", "_large"))):
            assert figure["value"] == pytest.approx(BEST.get(metric, 100.0), abs=1e-3), metric
            assert figure["chance"] is None or figure["chance"] < 90 or metric in BEST, metric
        assert figure["n"] > 0
    assert all(task.score(item, task.parse(item, outputs[item.id])) > 0.99 for item in items)


@pytest.mark.parametrize(
    ("name", "metric", "chance"),
    [
        ("vcr", "q2a", 25.0),
        ("vcr", "q2ar", 6.25),
        ("visual7w", "accuracy", 25.0),
        ("coco_classification", "accuracy", 25.0),
        ("regions", "accuracy", 100 / 3),
    ],
)
def test_guesses_score_what_chance_says(name: str, metric: str, chance: float, tmp_path: Path) -> None:
    task = make(name, tmp_path)
    items = runner.load_items(task)
    values = []
    for seed in range(60):
        outputs = predict(ChancePredictor(seed), items)
        figure = task.figures(items, [task.parse(item, output) for item, output in zip(items, outputs, strict=True)])[metric]
        values.append(figure.value)
        assert figure.chance == pytest.approx(chance)
    mean = sum(values) / len(values)
    spread = (chance * (100 - chance) / (len(values) * figure.n)) ** 0.5
    assert abs(mean - chance) < 4 * spread


@pytest.mark.parametrize("name", TASKS)
def test_constant_predictor_is_the_majority_column(name: str, tmp_path: Path) -> None:
    task = make(name, tmp_path)
    items = runner.load_items(task)
    outputs = dict(zip([item.id for item in items], predict(ConstantPredictor(items), items), strict=True))
    report = runner.evaluate_outputs(task, items, outputs, model="constant")
    for metric, figure in report["metrics"].items():
        if name == "embedded_suite" and "/" in metric:
            # There the majority is that of each row, which one answer for all rows need not reach.
            assert figure["value"] <= figure["majority"], metric
        else:
            assert figure["value"] == figure["majority"], metric


@pytest.mark.parametrize("name", TASKS)
def test_unparsable_answers_are_counted_and_wrong(name: str, tmp_path: Path) -> None:
    task = make(name, tmp_path)
    items = runner.load_items(task)
    report = runner.evaluate_outputs(task, items, {item.id: None for item in items}, model="broken")
    assert report["num_unparsable"] == len(items)
    for metric, figure in report["metrics"].items():
        if metric != "calibration_error" and figure["value"] is not None:
            assert figure["value"] == pytest.approx(0.0, abs=1e-6), metric


@pytest.mark.parametrize("name", TASKS)
def test_a_file_of_another_kind_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.json"
    path.write_text('{"something": "else"}\n', encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"wrong\.json"):
        make_on(name, path).items()


def make_on(name: str, path: Path) -> Task:
    return task_class(name)(Request(path))


def test_unknown_variant_and_task_are_named(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="no variant 'sideways'; use one of text, letter, generated"):
        make("vcr", tmp_path, "sideways")
    with pytest.raises(EvaluationError, match="no task 'vqa'; choose one of embedded_suite"):
        task_class("vqa")
