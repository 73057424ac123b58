"""The HTML report: the table, plots, and pages of right and wrong cases with image, boxes, question, answer and reference."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from gpt4roi.evaluation.items import Item
from gpt4roi.evaluation.task import Task

CASES_PER_PAGE = 30
MAX_CASES = 120
IMAGE_SIDE = 420
COLORS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#46c2c2", "#f032e6", "#9a6324", "#808000", "#000075")
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: #1b1b1b; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; } .partial { background: #fff3cd; padding: .6rem 1rem; }
.case { display: flex; gap: 1.2rem; border-top: 1px solid #ddd; padding: 1rem 0; } .case img { max-width: 420px; height: auto; }
.case dl { margin: 0; } dt { font-size: .8rem; color: #666; } dd { margin: 0 0 .5rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.right { color: #1a7f37; } .wrong { color: #b42318; } img.plot { max-width: 100%; } .small { color: #666; font-size: .85rem; }
"""


def write_report(task: Task, items: Sequence[Item], outputs: Mapping[str, Any], report: Mapping[str, Any], folder: Path) -> Path:
    """index.html, plots and case pages under `folder`; up to 120 right and 120 wrong cases, spread evenly over the data.

    Args:
      items: items that have an output. outputs: raw outputs by id. report: the contents of metrics.json.
    Returns:
      The path of index.html.
    """
    from gpt4roi.evaluation.plots import bars_image

    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    metrics = report["metrics"] or report.get("partial_metrics", {})
    plots = []
    if any(figure["value"] is not None for figure in metrics.values()):
        plots.append(
            bars_image({name: figure for name, figure in metrics.items() if not name.startswith("class/")}, folder / "figures.png")
        )
    for name in ("confusion.png", "calibration.png"):
        if (folder.parent / name).exists():
            plots.append(folder.parent / name)
    cases: dict[str, list[tuple[Item, Any, float]]] = {"right": [], "wrong": []}
    for item in items:
        parsed = task.parse(item, outputs[item.id])
        score = task.score(item, parsed)
        cases["right" if score > 0.5 else "wrong"].append((item, parsed, score))
    links = []
    for verdict, found in cases.items():
        chosen = _spread(found, MAX_CASES)
        pages = [chosen[start : start + CASES_PER_PAGE] for start in range(0, len(chosen), CASES_PER_PAGE)]
        for number, page in enumerate(pages, 1):
            body = "".join(_case_html(item, outputs[item.id], parsed, score, folder) for item, parsed, score in page)
            title = f"{task.name}: {verdict}, page {number} of {len(pages)}"
            (folder / f"{verdict}-{number}.html").write_text(_page(title, f'<p><a href="index.html">back</a></p>{body}'), encoding="utf-8")
        pages_html = " ".join(f'<a href="{verdict}-{number}.html">{number}</a>' for number in range(1, len(pages) + 1))
        links.append(
            f'<li><span class="{verdict}">{verdict}</span>: {len(found)} cases, {len(chosen)} shown; pages {pages_html or "none"}</li>'
        )
    plots_html = "".join(f'<p><img class="plot" alt="{plot.stem}" src="{_relative(plot, folder)}"></p>' for plot in plots)
    index = folder / "index.html"
    index.write_text(
        _page(f"{task.name}: {report['model']}", f"{_summary_html(report)}{_table_html(metrics)}{plots_html}<ul>{''.join(links)}</ul>"),
        encoding="utf-8",
    )
    return index


def _spread(found: list[Any], limit: int) -> list[Any]:
    """At most `limit` of them, evenly spaced, so that a report does not show the first images only."""
    if len(found) <= limit:
        return found
    return [found[round(index * (len(found) - 1) / (limit - 1))] for index in range(limit)]


def _summary_html(report: Mapping[str, Any]) -> str:
    covered = round(report["coverage"] * report["num_items"])
    partial = (
        ""
        if report["coverage"] == 1
        else f'<p class="partial">Partial: {covered} of {report["num_items"]} items answered. These are no results.</p>'
    )
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in report["notes"])
    return (
        f"{partial}<p>{report['num_items']} items, variant {html.escape(report['variant'])}, {report['num_unparsable']} unparsable. "
        f"Data {html.escape(report['data']['path'])}.</p>{notes}"
        f'<p class="small">{html.escape(report["protocol"])}<br>commit {report["commit"]}; {html.escape(versions)}</p>'
    )


def _table_html(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    extra = [key for key in next(iter(metrics.values()), {}) if key not in ("value", "low", "high", "n")]
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ("metric", "value", "95 % interval", "n", *extra))
    rows = []
    for name, figure in metrics.items():
        between = "-" if figure["low"] is None else f"{figure['low']:.1f} … {figure['high']:.1f}"
        cells = [html.escape(name), _number(figure["value"]), between, str(figure["n"]), *(_number(figure.get(key)) for key in extra)]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _case_html(item: Item, output: Any, parsed: Any, score: float, folder: Path) -> str:
    source = _image(item, parsed, folder)
    image = f'<img alt="picture of {html.escape(item.id)}" src="{source}" loading="lazy">' if source else "<p>no picture</p>"
    fields = {"question": item.question, "answer": _shown_output(item, output), "reference": _shown_reference(item)}
    readable = item.extra.get("readable")
    if readable:
        fields["in words"] = "\n".join(readable)
    fields["read as"] = "unparsable" if parsed is None else json.dumps(parsed, ensure_ascii=False)
    rows = "".join(f"<dt>{name}</dt><dd>{html.escape(text)}</dd>" for name, text in fields.items())
    verdict = "right" if score > 0.5 else "wrong"
    return f'<div class="case">{image}<dl><dt>{html.escape(item.id)}</dt><dd class="{verdict}">score {score:.2f}</dd>{rows}</dl></div>'


def _shown_output(item: Item, output: Any) -> str:
    """Text as it is; option scores as the best options with their log-probabilities."""
    scores = output.get("log_probs") if isinstance(output, dict) else None
    if isinstance(scores, list) and len(scores) == len(item.options):
        best = sorted(range(len(scores)), key=lambda index: -scores[index])[:5]
        return "\n".join(f"{scores[index]:8.2f}  {item.options[index]}" for index in best)
    return output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)[:600]


def _shown_reference(item: Item) -> str:
    if item.options and item.answer_index is not None and item.options[item.answer_index] not in item.references:
        return item.options[item.answer_index] + (f"\n{item.shown_reference}" if item.shown_reference else "")
    return item.shown_reference or " | ".join(item.references)


def _image(item: Item, parsed: Any, folder: Path) -> str | None:
    """A small copy of the image with its numbered boxes; boxes of a REC item: reference solid, prediction thin."""
    from gpt4roi.images import ImageError, open_image

    if item.image is None or not item.image.exists():
        return None
    try:
        image = open_image(item.image)
    except ImageError:
        return None
    scale = min(1.0, IMAGE_SIDE / max(image.size))
    small = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(small)
    font = ImageFont.load_default(13)
    boxes = [(str(index + 1), box, COLORS[index % len(COLORS)], 3) for index, box in enumerate(item.boxes_xyxy)]
    if item.wants == "boxes":
        boxes = [("reference", item.extra["box"], COLORS[1], 3)] if item.extra["box"] else []
        boxes += [("prediction", tuple(box), COLORS[0], 1) for box in parsed or []]
    for name, box, colour, width in boxes:
        x0, y0, x1, y1 = (value * scale for value in box)
        draw.rectangle((x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)), outline=colour, width=width)
        place = draw.textbbox((x0 + 3, y0 + 1), name, font=font)
        draw.rectangle((place[0] - 2, place[1] - 1, place[2] + 2, place[3] + 1), fill=colour)
        draw.text((x0 + 3, y0 + 1), name, fill="white", font=font)
    # Ids may hold slashes; the name only has to be unique and stable.
    name = "".join(character if character.isalnum() else "_" for character in item.id)[:120]
    path = folder / "pictures" / f"{name}.jpg"
    small.convert("RGB").save(path, quality=82)
    return f"pictures/{path.name}"


def _relative(path: Path, folder: Path) -> str:
    return path.name if path.parent == folder else f"../{path.name}"


def _page(title: str, body: str) -> str:
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    return f"<!doctype html><html lang='en'><head>{head}</head><body><h1>{html.escape(title)}</h1>{body}</body></html>"
