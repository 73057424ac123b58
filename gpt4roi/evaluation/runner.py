"""Run a task to the end, resume it to the item, merge its shards by id, and put the figures together."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import logging
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from gpt4roi.evaluation import average_precision, prediction_files
from gpt4roi.evaluation.items import NUM_RESAMPLES, EvaluationError, Figure, Item
from gpt4roi.evaluation.predictors import ChancePredictor, ConstantPredictor, Predictor, predict
from gpt4roi.evaluation.task import Task, batches

logger = logging.getLogger(__name__)

GENERAL_PROTOCOL = (
    "Greedy decoding. Divided by all items: an unparsable answer is wrong. 95 % percentile bootstrap over pictures "
    f"({NUM_RESAMPLES} resamples, {average_precision.NUM_RESAMPLES} for average precision; seed 0). "
    "Chance and majority go through the same scorer."
)


def load_items(task: Task) -> list[Item]:
    """The task's items, checked: not empty, ids unique."""
    items = task.items()
    if not items:
        raise EvaluationError(f"{task.request.data} holds no items for {task.name}")
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            raise EvaluationError(f"{task.request.data} gives the id {item.id} twice; predictions could not be told apart")
        seen.add(item.id)
    return items


def run(
    task: Task,
    items: Sequence[Item],
    predictor: Predictor,
    output_dir: Path,
    *,
    settings: Mapping[str, Any],
    shard: tuple[int, int] = (0, 1),
    batch_size: int = 8,
    progress: bool = True,
) -> None:
    """Answer every item of this shard that has no record yet, appending to its predictions file.

    Args:
      items: all items of the run (after --limit); the shard takes every n-th of them.
      settings: what must be equal for old records to count; kept in run.json beside the predictions.
    Raises:
      EvaluationError: the folder holds predictions made with other settings.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    _check_settings(output_dir / "run.json", settings)
    path = prediction_files.shard_file(output_dir, shard)
    done = {
        record["id"]
        for file in prediction_files.all_files(output_dir)
        for record in prediction_files.read_records(file, "repair" if file == path else "ignore")
    }
    index, count = shard
    pending = [item for item in items[index::count] if item.id not in done]
    if len(pending) < len(items[index::count]):
        logger.info("%d of %d answers are there already", len(items[index::count]) - len(pending), len(items[index::count]))
    with path.open("a", encoding="utf-8") as file, tqdm(total=len(pending), desc=task.name, unit="item", disable=not progress) as bar:
        for batch in batches(pending, batch_size):
            for item, output in zip(batch, predict(predictor, batch), strict=True):
                file.write(json.dumps(_record(task, item, output), ensure_ascii=False) + "\n")
            file.flush()
            bar.update(len(batch))


def _record(task: Task, item: Item, output: Any) -> dict[str, Any]:
    parsed = task.parse(item, output)
    return {"id": item.id, "output": output, "parsed": parsed, "score": round(task.score(item, parsed), 6)}


def _check_settings(path: Path, settings: Mapping[str, Any]) -> None:
    wanted = json.loads(json.dumps(dict(settings)))
    if not path.exists():
        prediction_files.write_json(path, wanted)
        return
    found = json.loads(path.read_text(encoding="utf-8"))
    if found != wanted:
        differing = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
        shown = ", ".join(f"{key}: {found.get(key)} there, {wanted.get(key)} now" for key in differing)
        raise EvaluationError(f"{path.parent} holds predictions of another run ({shown}); give another --output or remove the folder")


def collect(output_dir: Path) -> dict[str, Any]:
    """Raw outputs of every shard file in the folder, by id."""
    files = prediction_files.all_files(output_dir)
    outputs, dropped = prediction_files.merge(prediction_files.read_records(path, "ignore") for path in files)
    if dropped and len(files) > 1:
        logger.info("%d repeated records dropped while merging", dropped)
    return outputs


def write_merged(task: Task, items: Sequence[Item], outputs: Mapping[str, Any], output_dir: Path) -> Path:
    """predictions.jsonl in the order of the data file."""
    path = output_dir / prediction_files.MERGED
    prediction_files.write_records(path, (_record(task, item, outputs[item.id]) for item in items if item.id in outputs))
    return path


def evaluate_outputs(
    task: Task,
    items: list[Item],
    outputs: Mapping[str, Any],
    *,
    model: str,
    others: Mapping[str, Mapping[str, Any]] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """The contents of metrics.json.

    With coverage below 100 % the figures stand under `partial_metrics` and `metrics` is empty, so that no program takes
    the score of a part for the score of the whole.

    Args:
      items: every item of the data file, not only those of --limit.
      outputs: raw outputs by id.
      others: raw outputs by id of named baselines (for example `blind`), scored on the same items.
    """
    known = {item.id for item in items}
    strangers = [key for key in outputs if key not in known]
    if strangers:
        raise EvaluationError(
            f"{len(strangers)} predictions have ids that the data do not have, for example '{strangers[0]}' "
            f"(an id of the data: '{items[0].id}'); check --data, --variant and --split"
        )
    covered = [item for item in items if item.id in outputs]
    if not covered:
        raise EvaluationError("none of the items has a prediction")
    parsed = [task.parse(item, outputs[item.id]) for item in covered]
    figures = task.figures(covered, parsed)
    columns = {
        "chance": _figures_of(task, covered, ChancePredictor(seed)),
        "majority": _figures_of(task, covered, ConstantPredictor(items)),
    }
    for name, baseline in (others or {}).items():
        # An item that a baseline did not answer is wrong: the same denominator for everyone.
        columns[name] = task.figures(covered, [task.parse(item, baseline[item.id]) if item.id in baseline else None for item in covered])
    metrics = {name: _with_baselines(figure, name, columns).to_dict() for name, figure in figures.items()}
    coverage = len(covered) / len(items)
    report: dict[str, Any] = {
        "task": task.name,
        "metrics": metrics if coverage == 1 else {},
        "num_items": len(items),
        "coverage": coverage,
        "num_unparsable": sum(value is None for value in parsed),
        "model": model,
        "data": {"path": str(task.request.data), "sha256": _sha256(task.request.data)},
        "variant": task.variant,
        "protocol": f"{task.protocol} {GENERAL_PROTOCOL}",
        "notes": task.notes(),
        "commit": commit(),
        "versions": versions(),
    }
    if coverage < 1:
        report["partial_metrics"] = metrics
    return report


def _figures_of(task: Task, items: list[Item], predictor: Predictor) -> dict[str, Figure]:
    try:
        outputs = predict(predictor, items)
    except EvaluationError as error:
        logger.info("no %s baseline: %s", predictor.name, error)
        return {}
    return task.figures(items, [task.parse(item, output) for item, output in zip(items, outputs, strict=True)])


def _with_baselines(figure: Figure, name: str, columns: Mapping[str, Mapping[str, Figure]]) -> Figure:
    """Chance worked out by the task itself (exact) stands; otherwise one seeded run of guesses is measured."""
    values = {column: figures[name].value if name in figures else None for column, figures in columns.items()}
    return dataclasses.replace(
        figure,
        chance=figure.chance if figure.chance is not None else values.pop("chance", None),
        majority=figure.majority if figure.majority is not None else values.pop("majority", None),
        others={column: value for column, value in values.items() if column not in ("chance", "majority")},
    )


def table(report: Mapping[str, Any]) -> str:
    """The figures as text. A run that is not complete says so in its first line."""
    complete = report["coverage"] == 1
    metrics = report["metrics"] if complete else report["partial_metrics"]
    covered = round(report["coverage"] * report["num_items"])
    lines = [f"{report['task']} ({report['variant']}), model {report['model']}, {report['num_unparsable']} unparsable"]
    if not complete:
        lines.append(f"PARTIAL: {covered} of {report['num_items']} items answered; these are no results of the benchmark")
    extra = [key for key in next(iter(metrics.values()), {}) if key not in ("value", "low", "high", "n")]
    rows = [["metric", "value", "95 % interval", "n", *extra]]
    for name, figure in metrics.items():
        low_high = "-" if figure["low"] is None else f"{figure['low']:.1f} .. {figure['high']:.1f}"
        rows.append([name, _number(figure["value"]), low_high, str(figure["n"]), *(_number(figure.get(key)) for key in extra)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        lines.append(
            "  ".join(
                cell.ljust(width) if index == 0 else cell.rjust(width) for index, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
        )
    return "\n".join([*lines, *report["notes"]])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _sha256(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def commit() -> str | None:
    """The commit of this code, with `+` where the working tree differs; None outside a repository."""
    here = Path(__file__).resolve().parent

    def git(*words: str) -> str | None:
        try:
            return subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, check=True, timeout=10).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            return None

    head = git("rev-parse", "--short=12", "HEAD")
    return head if head is None else head + ("+" if git("status", "--porcelain", "--untracked-files=no", "--", str(here.parent)) else "")


def versions(packages: Sequence[str] = ("gpt4roi", "torch", "transformers", "numpy", "pycocotools", "pycocoevalcap")) -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
