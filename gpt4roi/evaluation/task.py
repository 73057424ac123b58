"""What a benchmark has to say about itself: how it is read, parsed and scored."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from gpt4roi.evaluation.items import Box, EvaluationError, Figure, Item


@dataclass(frozen=True)
class Request:
    """Where a task's data are and how it is to be asked; what the command line says."""

    data: Path
    images: Path | None = None
    variant: str | None = None
    split: str | None = None
    classes: Path | None = None
    leaderboard: bool = False
    seed: int = 0


class Task(ABC):
    """A benchmark. `items`, `parse` and `figures` are all that the runner needs.

    name, protocol: the latter goes into metrics.json: what was asked, how it was scored, where we differ from the source.
    variants: ways of asking, the default first.
    max_new_tokens: longest answer that is generated.
    absent_output: what a COCO results list means by not naming an item (an image without detections); None: it is missing.
    blind_pass: also run the model without region features and print it beside each figure.
    """

    name: ClassVar[str]
    protocol: ClassVar[str]
    variants: ClassVar[tuple[str, ...]] = ("default",)
    max_new_tokens: ClassVar[int] = 32
    blind_pass: ClassVar[bool] = False
    absent_output: ClassVar[Any] = None

    def __init__(self, request: Request) -> None:
        if request.variant is not None and request.variant not in self.variants:
            raise EvaluationError(f"{self.name} has no variant '{request.variant}'; use one of {', '.join(self.variants)}")
        self.request = request
        self.variant = request.variant or self.variants[0]

    @abstractmethod
    def items(self) -> list[Item]:
        """Every item of the data file, in file order."""

    @abstractmethod
    def parse(self, item: Item, output: Any) -> Any | None:
        """A raw output as what is scored (JSON), or None: unparsable, counted and wrong."""

    @abstractmethod
    def score(self, item: Item, parsed: Any | None) -> float:
        """Score of one item in [0, 1], for the report's right and wrong pages."""

    @abstractmethod
    def figures(self, items: list[Item], parsed: list[Any | None]) -> dict[str, Figure]:
        """The metrics, in percent unless their name says otherwise; the first is the headline."""

    def extra_files(self, items: list[Item], parsed: list[Any | None], output_dir: Path) -> list[Path]:
        """Further files beside metrics.json: a leaderboard CSV, a confusion matrix."""
        return []

    def notes(self) -> list[str]:
        """Sentences printed under the table: what could not be computed and why."""
        return []


def choice_of(output: Any, num_options: int) -> int | None:
    """The chosen option of a raw output: log-probabilities, an index, a letter, or text that begins with one letter.

    Ties go to the first. Anything else is None: unparsable.
    """
    scores = scores_of(output, num_options)
    if scores is not None:
        return max(range(num_options), key=scores.__getitem__)
    if isinstance(output, bool):
        return None
    if isinstance(output, int):
        return output if 0 <= output < num_options else None
    if isinstance(output, str):
        return letter_of(output, num_options)
    return None


def letter_of(text: str, num_options: int) -> int | None:
    """`B`, `(B)`, `B.`, `(B) because …`, `Answer: B` as 1; None when the text does not begin with one letter."""
    text = text.strip()
    for prefix in ("the answer is", "answer is", "answer:", "option"):
        if text.lower().startswith(prefix):
            text = text[len(prefix) :].strip()
    text = text.lstrip("([ ").rstrip()
    if not text or (len(text) > 1 and text[1].isalnum()) or text[1:3] in ("'s", "'m"):
        return None
    # "A dog …" begins with an article, not with a letter.
    if len(text) > 1 and text[0] in "Aa" and text[1] == " ":
        return None
    index = ord(text[0].upper()) - ord("A")
    return index if 0 <= index < num_options else None


def scores_of(output: Any, num_options: int, per_token: bool = False) -> list[float] | None:
    """Option scores of a raw output: `{"log_probs": […], "num_tokens": […]}` or a plain list of numbers.

    per_token: divide by the options' lengths where these are known, so that long options are not punished.
    """
    lengths = None
    if isinstance(output, dict):
        output, lengths = output.get("log_probs"), output.get("num_tokens")
    if not isinstance(output, list) or len(output) != num_options:
        return None
    if not all(isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value) for value in output):
        return None
    if per_token and lengths:
        return [value / max(length, 1) for value, length in zip(output, lengths, strict=True)]
    return [float(value) for value in output]


def image_path(request: Request, name: str) -> Path:
    """An image named by a data file: under --images, else beside the data file; COCO's split prefixes are tolerated."""
    root = request.images or request.data.parent
    path = root / name
    if not path.exists():
        for alternative in (root / Path(name).name, root / Path(name).name.split("_")[-1]):
            if alternative.exists():
                return alternative
    return path


def as_box(values: Sequence[float]) -> Box:
    """Four numbers x0, y0, x1, y1."""
    x0, y0, x1, y1 = (float(value) for value in values)
    return x0, y0, x1, y1


def box_of_xywh(values: Sequence[float]) -> Box:
    """COCO's x, y, width, height as x0, y0, x1, y1."""
    x, y, width, height = (float(value) for value in values)
    return x, y, x + width, y + height


def batches(items: list[Item], size: int) -> Iterator[list[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
