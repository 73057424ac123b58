"""Who answers: a model, or one of three that know nothing or everything and keep the scorers honest."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from gpt4roi.evaluation.items import EvaluationError, Item

PREDICTORS = ("model", "oracle", "constant", "chance")
# Log-probability of every wrong option of an oracle: finite, so that JSON and softmax stay sound.
IMPOSSIBLE = -30.0


class OptionScore(NamedTuple):
    """Sum of the log-probabilities of an option's tokens, and their number."""

    log_prob: float
    num_tokens: int


class Predictor(Protocol):
    """`generate` gives one raw output per item; `score_options` one score per option of one item."""

    name: str

    def generate(self, items: Sequence[Item]) -> list[Any]: ...

    def score_options(self, item: Item, options: Sequence[str]) -> list[OptionScore]: ...


def predict(predictor: Predictor, items: Sequence[Item]) -> list[Any]:
    """Raw outputs, JSON-serialisable, in the order of `items`: what predictions.jsonl keeps."""
    outputs: dict[str, Any] = {}
    free = [item for item in items if item.wants != "options"]
    if free:
        outputs.update(zip([item.id for item in free], predictor.generate(free), strict=True))
    for item in items:
        if item.wants == "options":
            scores = predictor.score_options(item, item.options)
            outputs[item.id] = {"log_probs": [float(s.log_prob) for s in scores], "num_tokens": [s.num_tokens for s in scores]}
    return [outputs[item.id] for item in items]


class OraclePredictor:
    """Knows the reference: every metric must be at its maximum."""

    name = "oracle"

    def generate(self, items: Sequence[Item]) -> list[Any]:
        outputs = []
        for item in items:
            if item.oracle is None and not item.references:
                raise EvaluationError(f"item {item.id} has no reference answer, so there is no oracle for it")
            outputs.append(item.oracle if item.oracle is not None else item.references[0])
        return outputs

    def score_options(self, item: Item, options: Sequence[str]) -> list[OptionScore]:
        if item.answer_index is None:
            raise EvaluationError(f"item {item.id} has no right option, so there is no oracle for it")
        return [OptionScore(0.0 if index == item.answer_index else IMPOSSIBLE, 1) for index in range(len(options))]


class ChancePredictor:
    """Uniform guesses, seeded by item id: the same guess whatever the order, shard or batch."""

    name = "chance"

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def _generator(self, item: Item) -> np.random.Generator:
        digest = hashlib.sha256(f"{self.seed}:{item.id}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "little"))

    def generate(self, items: Sequence[Item]) -> list[Any]:
        return [self._guess(item) for item in items]

    def _guess(self, item: Item) -> Any:
        generator = self._generator(item)
        if item.wants == "text":
            if not item.candidates:
                raise EvaluationError(f"item {item.id} has no candidate answers to guess from")
            return item.candidates[generator.integers(len(item.candidates))]
        width, height = item.image_size_wh or (1, 1)
        if item.wants == "boxes":
            return [_random_box(generator, width, height)]
        boxes = [_random_box(generator, width, height) for _ in range(10)]
        categories = item.extra["category_ids"]
        return [
            {
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "category_id": int(categories[generator.integers(len(categories))]),
                "score": float(generator.random()),
            }
            for x0, y0, x1, y1 in boxes
        ]

    def score_options(self, item: Item, options: Sequence[str]) -> list[OptionScore]:
        return [OptionScore(float(value), 1) for value in np.log(self._generator(item).dirichlet(np.ones(len(options))) + 1e-12)]


def _random_box(generator: np.random.Generator, width: int, height: int) -> list[float]:
    xs, ys = np.sort(generator.random(2)) * width, np.sort(generator.random(2)) * height
    return [float(xs[0]), float(ys[0]), float(xs[1]), float(ys[1])]


class ConstantPredictor:
    """Always the most frequent answer of the data (the majority baseline), or a given text."""

    name = "constant"

    def __init__(self, items: Sequence[Item], answer: str | None = None) -> None:
        self.answer = answer
        self._most_frequent = {
            kind: Counter(item.references[0] for item in items if item.references and _kind(item) == kind).most_common(1)
            for kind in {_kind(item) for item in items}
        }
        counts = Counter((len(item.options), item.answer_index) for item in items if item.answer_index is not None)
        self._best_index: dict[int, int] = {}
        for (num_options, index), _ in counts.most_common():
            self._best_index.setdefault(num_options, index or 0)

    def generate(self, items: Sequence[Item]) -> list[Any]:
        outputs: list[Any] = []
        for item in items:
            if item.wants == "boxes":
                width, height = item.image_size_wh or (1, 1)
                outputs.append([[0.0, 0.0, float(width), float(height)]])
            elif item.wants == "detections":
                outputs.append([])
            else:
                frequent = self._most_frequent[_kind(item)]
                outputs.append(self.answer if self.answer is not None else frequent[0][0] if frequent else "")
        return outputs

    def score_options(self, item: Item, options: Sequence[str]) -> list[OptionScore]:
        best = self._best_index.get(len(options), 0)
        return [OptionScore(0.0 if index == best else IMPOSSIBLE, 1) for index in range(len(options))]


def _kind(item: Item) -> str:
    """Majorities are taken within a kind of question: the most frequent name is no answer to a yes/no question."""
    return str(item.extra.get("kind", ""))
