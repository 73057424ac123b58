"""The runner: resumes to the item, merges shards by id, never prints a part as the whole."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gpt4roi.commands import evaluate as cli
from gpt4roi.evaluation import prediction_files
from gpt4roi.evaluation.items import EvaluationError, Item, bootstrap_weights, figure_of_totals, mean_figure
from gpt4roi.evaluation.predictors import OptionScore, OraclePredictor
from gpt4roi.evaluation.runner import collect, evaluate_outputs, load_items, run, table
from gpt4roi.evaluation.tasks import make_task
from tests.unit.evaluation.small_data import regions, vcr, visual7w

SETTINGS = {"task": "vcr", "model": "oracle"}


class Counting(OraclePredictor):
    """An oracle that remembers what it was asked and can be told to fail."""

    def __init__(self, fail_after: int | None = None) -> None:
        self.asked: list[str] = []
        self.fail_after = fail_after

    def score_options(self, item: Item, options: Sequence[str]) -> list[OptionScore]:
        if self.fail_after is not None and len(self.asked) >= self.fail_after:
            raise KeyboardInterrupt
        self.asked.append(item.id)
        return super().score_options(item, options)


def command(*words: str) -> int:
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    return cli.run(parser.parse_args([str(word) for word in words]))


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path) -> None:
    task = make_task("vcr", vcr(tmp_path))
    items = load_items(task)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(task, items, Counting(fail_after=5), out, settings=SETTINGS, batch_size=1, progress=False)
    file = out / "predictions.jsonl"
    # The kill came in the middle of a line.
    file.write_text(file.read_text(encoding="utf-8") + '{"id": "val-7:q2', encoding="utf-8")
    second = Counting()
    run(task, items, second, out, settings=SETTINGS, batch_size=3, progress=False)
    assert len(second.asked) == len(items) - 5
    assert sorted(collect(out)) == sorted(item.id for item in items)
    third = Counting()
    run(task, items, third, out, settings=SETTINGS, progress=False)
    assert third.asked == []


def test_other_settings_are_not_mixed_in(tmp_path: Path) -> None:
    task = make_task("vcr", vcr(tmp_path))
    items = load_items(task)
    run(task, items, OraclePredictor(), tmp_path / "out", settings=SETTINGS, progress=False)
    with pytest.raises(EvaluationError, match="predictions of another run \\(model: oracle there, chance now\\)"):
        run(task, items, OraclePredictor(), tmp_path / "out", settings={**SETTINGS, "model": "chance"}, progress=False)


def test_shards_cover_every_item_once_and_merge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = regions(tmp_path).data
    for index in (0, 2, 1):
        assert (
            command(
                "regions", "--data", data, "--predictor", "oracle", "--output", tmp_path / "out", "--shard", f"{index}/3", "--no-report"
            )
            == 0
        )
        assert (tmp_path / "out" / "metrics.json").exists() == (index == 1)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["coverage"] == 1 and metrics["metrics"]["accuracy"]["value"] == 100
    records = prediction_files.read_records(tmp_path / "out" / "predictions.jsonl")
    assert [record["id"] for record in records] == [item.id for item in load_items(make_task("regions", regions(tmp_path)))]
    assert records[0]["parsed"]["label"] == "dog" and records[0]["score"] == 1


def test_repeated_ids_count_once(tmp_path: Path) -> None:
    first = [{"id": "a", "output": 1}, {"id": "b", "output": 2}]
    outputs, dropped = prediction_files.merge([first, [{"id": "a", "output": 3}]])
    assert outputs == {"a": 1, "b": 2} and dropped == 1


def test_a_part_never_prints_as_the_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = visual7w(tmp_path).data
    assert command("visual7w", "--data", data, "--predictor", "oracle", "--output", tmp_path / "out", "--limit", "7", "--no-report") == 0
    assert "PARTIAL: 7 of 40 items" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["metrics"] == {} and metrics["partial_metrics"]["accuracy"]["n"] == 7 and metrics["coverage"] == pytest.approx(7 / 40)
    # Without the limit the same folder is completed, and the seven are not asked again.
    assert command("visual7w", "--data", data, "--predictor", "oracle", "--output", tmp_path / "out", "--no-report", "--json") == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["accuracy"]["value"] == 100


def test_score_reads_files_made_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    request = visual7w(tmp_path)
    items = load_items(make_task("visual7w", request))
    file = tmp_path / "theirs.jsonl"
    answers = [{"id": int(item.id), "output": {"box": list(item.boxes_xyxy[item.answer_index or 0])}} for item in items]
    file.write_text("".join(json.dumps(answer) + "\n" for answer in answers), encoding="utf-8")
    assert command("score", "visual7w", file, "--data", request.data, "--output", tmp_path / "out") == 0
    assert "100.0" in capsys.readouterr().out
    assert (tmp_path / "out" / "report" / "index.html").exists()
    file.write_text('{"id": "nobody", "output": "region 1"}\n', encoding="utf-8")
    with pytest.raises(EvaluationError, match="1 predictions have ids that the data do not have, for example 'nobody'"):
        command("score", "visual7w", file, "--data", request.data, "--output", tmp_path / "out2")


def test_baseline_files_stand_beside_each_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    request = regions(tmp_path)
    items = load_items(make_task("regions", request))
    probe = tmp_path / "probe.jsonl"
    probe.write_text("".join(json.dumps({"id": item.id, "output": "dog"}) + "\n" for item in items), encoding="utf-8")
    assert (
        command("regions", "--data", request.data, "--predictor", "oracle", "--output", tmp_path / "out", "--baseline", f"probe={probe}")
        == 0
    )
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))["metrics"]
    assert metrics["accuracy"]["probe"] == 50 and "probe" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["vcr"], "--data is missing"),
        (["vcr", "--data", "nowhere.jsonl"], "there is no data file nowhere.jsonl"),
        (["score", "vcr", "--data", "x"], "say what to score"),
        (["regions", "--data", "DATA", "--shard", "3/3", "--predictor", "oracle"], "--shard is I/N"),
        (["regions", "--data", "DATA", "--limit", "0"], "--limit counts items"),
        (["score", "regions", "missing.jsonl", "--data", "DATA"], "there is no predictions file missing.jsonl"),
    ],
)
def test_mistakes_get_one_sentence(words: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = str(regions(tmp_path).data)
    with pytest.raises(EvaluationError, match=sentence):
        command(*[data if word == "DATA" else word for word in words])


def test_config_fills_what_the_command_line_leaves_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("yaml")
    request = regions(tmp_path)
    config = tmp_path / "run.yaml"
    config.write_text(
        f"task: regions\ndata: {request.data}\npredictor: oracle\nvariant: generated\noutput: {tmp_path / 'out'}\nno-report: true\n"
    )
    assert command("regions", "--config", config) == 0
    assert "regions (generated)" in capsys.readouterr().out
    config.write_text("bach-size: 3\n")
    with pytest.raises(EvaluationError, match="unknown key 'bach-size'; did you mean 'batch_size'"):
        command("regions", "--config", config)


def test_report_shows_right_and_wrong_cases(tmp_path: Path) -> None:
    from gpt4roi.evaluation.report import write_report

    task = make_task("regions", regions(tmp_path))
    items = load_items(task)
    outputs: dict[str, Any] = {item.id: {"log_probs": [0.0, -1.0, -2.0], "num_tokens": [1, 1, 1]} for item in items}
    report = evaluate_outputs(task, items, outputs, model="made <up>")
    index = write_report(task, items, outputs, report, tmp_path / "report")
    assert "made &lt;up&gt;" in index.read_text(encoding="utf-8")
    wrong = (tmp_path / "report" / "wrong-1.html").read_text(encoding="utf-8")
    assert wrong.count('class="case"') == 15 and "What is &lt;region1&gt;?" in wrong and "traffic light" in wrong
    right = (tmp_path / "report" / "right-1.html").read_text(encoding="utf-8")
    assert right.count('class="case"') == 5
    assert len(list((tmp_path / "report" / "pictures").iterdir())) == 20
    assert "traffic light" in table(report)


def test_bootstrap_draws_whole_images() -> None:
    # Two images: all right, all wrong. Resampled by image the mean is 0, 50 or 100; by item it would stay near 50.
    items = [Item(id=str(n), question="", cluster="a" if n < 50 else "b") for n in range(100)]
    figure = mean_figure([1.0] * 50 + [0.0] * 50, items)
    assert (figure.value, figure.low, figure.high) == (50, 0, 100)
    lone = [Item(id=str(n), question="") for n in range(100)]
    figure = mean_figure([1.0] * 50 + [0.0] * 50, lone)
    assert figure.low == pytest.approx(40, abs=2) and figure.high == pytest.approx(60, abs=2)


def test_bootstrap_is_seeded_and_empty_sets_have_no_figure() -> None:
    assert (bootstrap_weights(5, 20) == bootstrap_weights(5, 20)).all()
    assert bootstrap_weights(5, 20).sum(axis=1).tolist() == [5] * 20
    assert mean_figure([], []).value is None
    import numpy as np

    assert (
        figure_of_totals(np.zeros((1, 2)), ["a"], lambda totals: totals[:, 0] / np.where(totals[:, 1] > 0, totals[:, 1], np.nan), 1).value
        is None
    )
