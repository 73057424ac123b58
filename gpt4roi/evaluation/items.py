"""What every benchmark is turned into: one `Item` per thing to answer, and one `Figure` per number reported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gpt4roi.boxes import as_boxes
from gpt4roi.errors import UserError

Box = tuple[float, float, float, float]

# What a predictor is asked for. `text`: free text; `options`: one log-probability per option; `boxes`: boxes of the
# original image; `detections`: COCO result dicts. The last two come from files until a model writes regions.
WANTS = ("text", "options", "boxes", "detections")
MIN_SIDE_PX = 1.0


class EvaluationError(UserError):
    """A data file, prediction or request that cannot be used; the message is a sentence for the user."""


@dataclass(frozen=True)
class Item:
    """One question of a benchmark.

    id: stable: the same record has the same id on every machine, shard and run.
    question: the user's turn; mentions region n of `boxes_xyxy` as `<regionN>`, N from 1.
    boxes_xyxy: pixels of the original image.
    options: with `wants == "options"`, the answers whose log-probabilities are asked for.
    answer_index: the right option.
    references: acceptable answers, best first.
    candidates: what a chance predictor draws its text from.
    oracle: the raw output of a perfect predictor, where it is not simply the right option or the first reference.
    cluster: unit of the bootstrap; items of one image are not independent, so this is usually the image.
    shown_reference: what the report prints as the reference, where that is not `references`.
    """

    id: str
    question: str
    image: Path | None = None
    boxes_xyxy: tuple[Box, ...] = ()
    wants: str = "text"
    options: tuple[str, ...] = ()
    answer_index: int | None = None
    references: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    oracle: Any = None
    cluster: str = ""
    image_size_wh: tuple[int, int] | None = None
    shown_reference: str = ""
    extra: dict[str, Any] = field(default_factory=dict, compare=False)


def image_of(item: Item) -> Path | None:
    """The item's image.

    Raises:
      EvaluationError: the file is missing, or the task found that the item cannot be asked.
    """
    if item.image is not None and item.extra.get("problem"):
        raise EvaluationError(item.extra["problem"])
    if item.image is not None and not item.image.exists():
        raise EvaluationError(
            f"item {item.id}: there is no picture {item.image}; give --images, the folder that the data file's names start in"
        )
    return item.image


def fit_box(item: Item, box: Sequence[float], image_size_wh: tuple[int, int]) -> tuple[float, float, float, float]:
    """A benchmark's box clipped to its image, at least one pixel a side.

    Published boxes leave their image by a few pixels and some are thinner than a pixel; to refuse them would make an item
    unanswerable that the protocol counts.

    Raises:
      EvaluationError: nothing of the box is inside: the annotation belongs to another size of the image.
    """
    width, height = image_size_wh
    x0, y0, x1, y1 = as_boxes([box])[0].tolist()
    if x0 >= width or y0 >= height or x1 < 0 or y1 < 0:
        raise EvaluationError(f"item {item.id}: the box {tuple(box)} lies outside {item.image}, which is {width} x {height} pixels")
    (x0, x1), (y0, y1) = _clip_side(x0, x1, width), _clip_side(y0, y1, height)
    return x0, y0, x1, y1


def _clip_side(low: float, high: float, full: float) -> tuple[float, float]:
    low, high = max(0.0, min(low, full)), max(0.0, min(high, full))
    if high - low < MIN_SIDE_PX:
        low = max(0.0, min((low + high - MIN_SIDE_PX) / 2, full - MIN_SIDE_PX))
        high = low + MIN_SIDE_PX
    return low, high


@dataclass(frozen=True)
class Figure:
    """One reported number with everything that must stand beside it.

    value, low, high: the figure and its 95 % bootstrap interval (None: cannot be computed, for example no such items).
    chance, majority: the same figure for uniform guesses and for always giving the most frequent answer.
    others: further baselines by name, for example the blind model.
    """

    value: float | None
    n: int
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    majority: float | None = None
    others: dict[str, float | None] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        record = {"value": self.value, "low": self.low, "high": self.high, "n": self.n, "chance": self.chance, "majority": self.majority}
        return {key: _rounded(value) for key, value in {**record, **self.others}.items()}


def _rounded(value: float | None) -> float | None:
    return round(value, 4) if isinstance(value, float) else value


NUM_RESAMPLES = 1000


def bootstrap_weights(num_clusters: int, num_resamples: int = NUM_RESAMPLES, seed: int = 0) -> np.ndarray:
    """int[num_resamples, num_clusters]: how often each cluster is drawn in each resample."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(num_clusters, np.full(num_clusters, 1 / num_clusters), size=num_resamples)


def interval(values: np.ndarray) -> tuple[float | None, float | None]:
    """2.5th and 97.5th percentile of resampled figures; resamples in which the figure is undefined (NaN) are left out."""
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return None, None
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def figure_of_totals(
    statistics: np.ndarray, clusters: list[str], combine: Callable[[np.ndarray], np.ndarray], n: int, chance: float | None = None
) -> Figure:
    """A figure that depends on the data only through sums over items, with its cluster-bootstrap interval.

    Args:
      statistics: float[N, F], one row per item.
      clusters: N names; items of one name are drawn together.
      combine: float[B, F] sums to float[B] figures; may give NaN where undefined.
      n: what to print as the number of items.
    """
    if len(statistics) == 0:
        return Figure(None, n, chance=chance)
    _, index = np.unique(np.asarray(clusters, dtype=object).astype(str), return_inverse=True)
    per_cluster = np.zeros((index.max() + 1, statistics.shape[1]))
    np.add.at(per_cluster, index, statistics)
    value = float(combine(per_cluster.sum(axis=0, keepdims=True))[0])
    low, high = interval(combine(bootstrap_weights(len(per_cluster)) @ per_cluster))
    return Figure(value if np.isfinite(value) else None, n, low, high, chance)


def _ratio_percent(totals: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return 100 * totals[:, 0] / totals[:, 1]


def mean_figure(scores: list[float], items: list[Item], chance: float | None = None) -> Figure:
    """100 x the mean of per-item scores in [0, 1]. `chance` is in percent."""
    statistics = np.stack([np.asarray(scores, dtype=float), np.ones(len(scores))], axis=1)
    return figure_of_totals(statistics, [cluster_of(item) for item in items], _ratio_percent, len(scores), chance)


def balanced_figure(scores: list[float], classes: list[str], items: list[Item], chance: float | None = None) -> Figure:
    """100 x the mean over classes of the per-class mean score: a class's frequency does not matter."""
    names = sorted(set(classes))
    statistics = np.zeros((len(scores), 2 * len(names)))
    for row, (score, name) in enumerate(zip(scores, classes, strict=True)):
        column = 2 * names.index(name)
        statistics[row, column : column + 2] = score, 1

    def combine(totals: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            # A rare class may be absent from a resample; the mean is then over the others.
            return 100 * np.nanmean(totals[:, 0::2] / totals[:, 1::2], axis=1)

    return figure_of_totals(statistics, [cluster_of(item) for item in items], combine, len(scores), chance)


def cluster_of(item: Item) -> str:
    return item.cluster or (str(item.image) if item.image else item.id)
