"""Example pictures with ready boxes and questions: free pictures that travel inside the scikit-image wheel.

Sources and licences, from scikit-image's own documentation of `skimage.data`: astronaut (NASA, public domain), chelsea (Stefan van
der Walt, CC0), coffee (Rachel Michetti, public domain), rocket (SpaceX, CC0).
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from gpt4roi.images import PictureError
from web_demo.images import THUMBNAIL_SIDE_PX, Picture, data_url, read_picture


@dataclass(frozen=True)
class Example:
    """`boxes_xyxy_abs[i]` is region i + 1, in pixels of the file."""

    title: str
    file: str
    boxes_xyxy_abs: tuple[tuple[float, float, float, float], ...]
    questions: tuple[str, ...]


EXAMPLES = {
    "astronaut": Example(
        "Astronaut",
        "astronaut.png",
        ((20, 12, 362, 512), (355, 0, 460, 285), (282, 343, 512, 512)),
        ("What is <region1>?", "What colour is the suit of <region1>?", "Is <region3> larger than <region2>?"),
    ),
    "cat": Example(
        "Cat",
        "chelsea.png",
        ((25, 0, 372, 290), (135, 84, 211, 148)),
        ("What animal is <region1>?", "What colour is <region2>?", "Is <region1> a dog?"),
    ),
    "coffee": Example(
        "Coffee",
        "coffee.png",
        ((172, 18, 402, 310), (326, 68, 426, 326)),
        ("What is <region1>?", "What is <region2>?", "Is <region2> to the right of <region1>?"),
    ),
    "rocket": Example(
        "Rocket",
        "rocket.jpg",
        ((306, 125, 338, 408), (3, 0, 90, 425)),
        ("What is <region1>?", "Which is taller, <region1> or <region2>?"),
    ),
}


@lru_cache(maxsize=1)
def _picture_dir() -> Path | None:
    """Where scikit-image keeps its pictures; found without importing it (scipy takes a second) and without its downloader."""
    spec = importlib.util.find_spec("skimage")
    return Path(spec.origin).parent / "data" if spec is not None and spec.origin is not None else None


def available_examples() -> dict[str, Example]:
    """The examples whose file is installed; none of them without scikit-image."""
    folder = _picture_dir()
    return {name: example for name, example in EXAMPLES.items() if folder is not None and (folder / example.file).is_file()}


def open_example(name: str) -> Picture:
    """An example with its boxes and questions.

    Raises:
      PictureError: there is no such example here.
    """
    folder = _picture_dir()
    example = available_examples().get(name)
    if folder is None or example is None:
        raise PictureError(f"there is no example '{name}' here; open a picture of your own")
    image = read_picture(folder / example.file, example.file)
    boxes = {index + 1: box for index, box in enumerate(example.boxes_xyxy_abs)}
    return Picture(example.file, image, boxes, example.questions)


def thumbnail(name: str) -> str:
    """A small data URL of an available example."""
    return data_url(open_example(name).image, THUMBNAIL_SIDE_PX)
