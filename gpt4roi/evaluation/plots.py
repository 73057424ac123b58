"""Images for the report: confusion matrix, calibration, bars of figures with their intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

OTHER = "(none)"
MAX_CLASSES = 40


def confusion_matrix(
    truths: Sequence[str], predictions: Sequence[str | None], max_classes: int = MAX_CLASSES
) -> tuple[np.ndarray, list[str]]:
    """int[K + 1, K + 1] counts, rows truth, and the K + 1 names; the last takes what is unparsable or outside the K most frequent."""
    names = [name for name, _ in Counter(truths).most_common(max_classes)]
    index = {name: position for position, name in enumerate(names)}
    matrix = np.zeros((len(names) + 1, len(names) + 1), dtype=int)
    for truth, prediction in zip(truths, predictions, strict=True):
        matrix[index.get(truth, len(names)), index.get(prediction or OTHER, len(names))] += 1
    return matrix, [*names, OTHER]


def expected_calibration_error(confidences: Sequence[float], correct: Sequence[bool], num_bins: int = 10) -> float:
    """Mean over equal-width bins of |accuracy - confidence|, weighted by how many answers fall into each (in [0, 1])."""
    confidence, right = np.asarray(confidences, dtype=float), np.asarray(correct, dtype=float)
    bins = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    return float(sum(abs((right[bins == b] - confidence[bins == b]).sum()) for b in range(num_bins)) / max(len(confidence), 1))


def _figure(width: float, height: float) -> tuple[Any, Any]:
    # The object interface: pyplot would keep every figure alive and choose a display backend.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def confusion_image(truths: Sequence[str], predictions: Sequence[str | None], path: Path) -> Path:
    """Row-normalised confusion matrix as a PNG."""
    matrix, names = confusion_matrix(truths, predictions)
    side = max(4.0, 0.24 * len(names) + 2)
    figure, axes = _figure(side, side)
    axes.imshow(matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_xlabel("named")
    axes.set_ylabel("is")
    figure.savefig(path, dpi=110)
    return path


def calibration_image(confidences: Sequence[float], correct: Sequence[bool], path: Path, num_bins: int = 10) -> Path:
    """Accuracy against confidence as a PNG; dots grow with the number of answers."""
    confidence, right = np.asarray(confidences, dtype=float), np.asarray(correct, dtype=float)
    bins = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    used = [b for b in range(num_bins) if (bins == b).any()]
    figure, axes = _figure(4.5, 4.5)
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    sizes = [20 + 180 * float((bins == b).mean()) for b in used]
    axes.scatter([confidence[bins == b].mean() for b in used], [right[bins == b].mean() for b in used], s=sizes)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("confidence")
    axes.set_ylabel("accuracy")
    axes.set_title(f"calibration error {100 * expected_calibration_error(confidences, list(map(bool, correct))):.1f} %", fontsize=9)
    figure.savefig(path, dpi=110)
    return path


def bars_image(metrics: Mapping[str, Mapping[str, Any]], path: Path) -> Path:
    """Every figure in percent as a bar with its interval; chance, majority and other baselines as marks."""
    names = [name for name, figure in metrics.items() if figure["value"] is not None]
    figure, axes = _figure(8, max(2.0, 0.34 * len(names) + 1.2))
    rows = np.arange(len(names))
    values = np.array([metrics[name]["value"] for name in names], dtype=float)
    low = np.array([metrics[name]["low"] if metrics[name]["low"] is not None else metrics[name]["value"] for name in names], dtype=float)
    high = np.array([metrics[name]["high"] if metrics[name]["high"] is not None else metrics[name]["value"] for name in names], dtype=float)
    # A percentile interval need not contain the figure; a bar cannot be negative.
    axes.barh(rows, values, color="#4878a8", xerr=[np.maximum(values - low, 0), np.maximum(high - values, 0)], error_kw={"elinewidth": 1})
    marks = [key for key in next(iter(metrics.values()), {}) if key not in ("value", "low", "high", "n")]
    for key, marker in zip(marks, "|xd^v*", strict=False):
        present = [(row, metrics[name].get(key)) for row, name in zip(rows, names, strict=True) if metrics[name].get(key) is not None]
        if present:
            axes.scatter(
                [value for _, value in present], [row for row, _ in present], marker=marker, color="black", label=key, zorder=3, s=30
            )
    if marks:
        axes.legend(fontsize=7, loc="lower right")
    axes.set_yticks(rows, names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, max(100.0, float(high.max(initial=0)) * 1.05))
    figure.savefig(path, dpi=110)
    return path
