"""A run on one page: loss curves as PNG, and an HTML file that needs nothing beside itself."""

from __future__ import annotations

import base64
import html
import json
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gpt4roi.training.callbacks import clock_time
from gpt4roi.training.probes import SAMPLES_NAME

HISTORY_NAME, CURVE_NAME, PAGE_NAME = "history.json", "loss.png", "report.html"

STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
img { max-width: 100%; background: white; border-radius: 6px; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line);
  vertical-align: top; } td.n { font-variant-numeric: tabular-nums; white-space: nowrap; }
pre { overflow: auto; padding: 1rem; border: 1px solid var(--line); border-radius: 6px; font-size: .85rem; }
.figures { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; } .figures b { display: block; font-size: 1.3rem; }
"""


class ReportCallback(TrainerCallback):
    """Renews the report at every save and at the end, on rank 0."""

    def __init__(self, output_dir: Path) -> None:
        self.output_dir = output_dir

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            (self.output_dir / HISTORY_NAME).write_text(json.dumps(state.log_history, indent=1) + "\n", encoding="utf-8")
            write_report(self.output_dir)


def draw_curves(history: list[dict[str, Any]], path: Path) -> None:
    """Training and evaluation loss over steps, learning rate beneath."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    FigureCanvasAgg(figure)
    loss_axis, rate_axis = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    trained = [(record["step"], record["loss"]) for record in history if "loss" in record]
    evaluated = [(record["step"], record["eval_loss"]) for record in history if "eval_loss" in record]
    rates = [(record["step"], record["learning_rate"]) for record in history if "learning_rate" in record]
    if trained:
        steps, losses = zip(*trained, strict=True)
        loss_axis.plot(steps, losses, color="#9bb8d3", linewidth=1, label="training")
        loss_axis.plot(steps, smoothed(list(losses)), color="#1f5f99", linewidth=2, label="training, smoothed")
    if evaluated:
        loss_axis.plot(*zip(*evaluated, strict=True), color="#c8552b", marker="o", linewidth=2, label="evaluation")
    if trained or evaluated:
        loss_axis.legend(frameon=False)
    if rates:
        rate_axis.plot(*zip(*rates, strict=True), color="#555555")
    loss_axis.set_ylabel("loss per trained token")
    rate_axis.set_ylabel("learning rate")
    rate_axis.set_xlabel("step")
    for axis in (loss_axis, rate_axis):
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def smoothed(values: list[float], keep: float = 0.9) -> list[float]:
    """Exponential mean, corrected for its beginning."""
    result, mean = [], 0.0
    for index, value in enumerate(values, start=1):
        mean = keep * mean + (1 - keep) * value
        result.append(mean / (1 - keep**index))
    return result


def write_report(output_dir: Path) -> Path:
    """`report.html` and `loss.png` of what the run has written so far."""
    history = json.loads((output_dir / HISTORY_NAME).read_text(encoding="utf-8"))
    record = json.loads((output_dir / "run.json").read_text(encoding="utf-8"))
    draw_curves(history, output_dir / CURVE_NAME)
    picture = base64.b64encode((output_dir / CURVE_NAME).read_bytes()).decode("ascii")
    samples_path = output_dir / SAMPLES_NAME
    samples = [json.loads(line) for line in samples_path.read_text(encoding="utf-8").splitlines()] if samples_path.exists() else []
    config = (output_dir / "config.yaml").read_text(encoding="utf-8")
    page = f"""<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Training run {html.escape(output_dir.name)}</title><style>{STYLE}</style>
<h1>Training run {html.escape(output_dir.name)}</h1>
<div class="figures">{"".join(f"<div><b>{html.escape(value)}</b>{html.escape(name)}</div>" for name, value in _figures(history))}</div>
<p><img alt="loss over steps" src="data:image/png;base64,{picture}"></p>
<h2>Data</h2>{_table(["set", "samples", "places an epoch", "left out"], [[d["name"], d["samples"], d["places_an_epoch"], d["left_out"] or ""] for d in record["data"]])}
<h2>Parameters</h2>{_table(["part", "trained", "all"], [[part, f"{c['trainable']:,}", f"{c['all']:,}"] for part, c in record["parameters"].items()])}
<h2>Answers</h2>{_answers(samples)}
<h2>Config</h2><pre>{html.escape(config)}</pre>
<p>commit {html.escape(str(record["commit"]))}, {html.escape(", ".join(f"{k} {v}" for k, v in record["versions"].items()))}</p></html>
"""
    path = output_dir / PAGE_NAME
    path.write_text(page, encoding="utf-8")
    return path


def _figures(history: list[dict[str, Any]]) -> list[tuple[str, str]]:
    trained = [record for record in history if "loss" in record]
    evaluated = [record for record in history if "eval_loss" in record]
    figures = []
    if trained:
        last = trained[-1]
        speeds = sorted(record["tokens_per_second"] for record in trained)
        figures += [("steps", str(last["step"])), ("time", clock_time(last["seconds"])), ("last training loss", f"{last['loss']:.3f}")]
        figures.append(("tokens/s, median", f"{speeds[len(speeds) // 2]:.0f}"))
    if evaluated:
        best = min(evaluated, key=lambda record: record["eval_loss"])
        figures += [("best evaluation loss", f"{best['eval_loss']:.3f}"), ("its token accuracy", f"{best['eval_token_accuracy']:.1%}")]
    return figures


def _table(head: list[str], rows: list[list[Any]]) -> str:
    header = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{header}</tr>{body}</table>"


def _answers(samples: list[dict[str, Any]]) -> str:
    if not samples:
        return "<p>No sample questions.</p>"
    rows = [[s["question"], Path(s["image"]).name if s["image"] else "", s["step"], s["answer"], s["reference"] or ""] for s in samples]
    rows.sort(key=lambda row: (row[0], row[1], row[2]))
    return _table(["question", "picture", "step", "answer", "annotated"], rows)
