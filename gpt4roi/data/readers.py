"""All readers by name, and data sets as entries of a YAML file."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt4roi.data.coco_detection import read_coco_detection
from gpt4roi.data.dialogue import SampleList
from gpt4roi.data.errors import DataError
from gpt4roi.data.flickr30k_entities import read_flickr30k_entities
from gpt4roi.data.images import ImageReport, check_images
from gpt4roi.data.jsonl import read_jsonl
from gpt4roi.data.llava_instruct import read_llava_instruct
from gpt4roi.data.mixture import Mixture
from gpt4roi.data.refcoco import read_refcoco
from gpt4roi.data.sample import Sample
from gpt4roi.data.seeding import generator
from gpt4roi.data.vcr import read_vcr
from gpt4roi.data.visual_genome import read_visual_genome

READERS: dict[str, Callable[..., SampleList]] = {
    "coco_detection": read_coco_detection,
    "flickr30k_entities": read_flickr30k_entities,
    "jsonl": read_jsonl,
    "llava_instruct": read_llava_instruct,
    "refcoco": read_refcoco,
    "vcr": read_vcr,
    "visual_genome": read_visual_genome,
}

# Keys of an entry that are files or folders, relative to the data root.
PATH_KEYS = ("annotations", "images", "instances", "image_data", "sentences", "split_file", "metadata", "detections", "class_names")
ENTRY_KEYS = ("reader", "weight", "limit")


@dataclass(frozen=True)
class LoadedData:
    """A mixture and how it came about: samples and left-out counts of each entry, and the images' report if they were looked at."""

    mixture: Mixture
    names: tuple[str, ...]
    num_samples: tuple[int, ...]
    left_out: tuple[dict[str, int], ...]
    images: ImageReport | None

    def __str__(self) -> str:
        rows = []
        for name, count, places, left_out in zip(self.names, self.num_samples, self.mixture.counts, self.left_out, strict=True):
            lost = "; ".join(f"{number} {reason}" for reason, number in sorted(left_out.items()))
            rows.append(f"{name}: {count} samples, {places} places an epoch" + (f" (left out: {lost})" if lost else ""))
        return "\n".join(rows)


def entry_options(entry: Mapping[str, Any], root: Path | None = None) -> tuple[str, dict[str, Any]]:
    """(name of the reader, its arguments) of one entry, without opening a file.

    Raises:
      DataError: an unknown reader or option (naming the nearest known one), or a missing option.
    """
    if "reader" not in entry:
        raise DataError(f"a data set needs a reader, one of {', '.join(READERS)}")
    name = str(entry["reader"])
    if name not in READERS:
        raise DataError(f"unknown reader '{name}'{_nearest(name, READERS)}; the readers are {', '.join(READERS)}")
    parameters = inspect.signature(READERS[name]).parameters
    options: dict[str, Any] = {}
    for key, value in entry.items():
        if key in ENTRY_KEYS:
            continue
        if key not in parameters:
            raise DataError(f"the reader {name} has no option '{key}'{_nearest(key, parameters)}; it has {', '.join(parameters)}")
        is_path = key in PATH_KEYS and value is not None
        options[key] = (root or Path()) / Path(value).expanduser() if is_path else value
    required = [key for key, parameter in parameters.items() if parameter.default is inspect.Parameter.empty and key not in options]
    if required:
        raise DataError(f"the reader {name} needs {', '.join(required)}")
    return name, options


def load_entry(entry: Mapping[str, Any], root: Path | None = None, *, seed: int = 0) -> SampleList:
    """The samples of one entry, `{"reader": name, "annotations": path, …options of the reader, "limit": N}`.

    Args:
      root: what relative paths are relative to; the working directory if not given.
      seed: of orders and of the random choice of `limit` samples.
    Raises:
      DataError: see `entry_options`, or the reader's own.
    """
    name, options = entry_options(entry, root)
    if "seed" in inspect.signature(READERS[name]).parameters:
        options.setdefault("seed", seed)
    samples = READERS[name](**options)
    limit = entry.get("limit")
    if limit is not None and limit < len(samples):
        chosen = sorted(generator("limit", seed, name).permutation(len(samples))[:limit].tolist())
        samples.left_out["samples over the limit"] += len(samples) - limit
        samples = SampleList((samples[i] for i in chosen), samples.left_out)
    return samples


def load_mixture(
    entries: Sequence[Mapping[str, Any]],
    root: Path | None = None,
    *,
    seed: int = 0,
    length: int | None = None,
    look_at_images: bool = True,
    skip_broken: bool = False,
) -> LoadedData:
    """The mixture of several entries; weighted if any entry has a `weight` (then all must have one).

    Args:
      length: samples an epoch of a weighted mixture.
      look_at_images: open every image first and refuse missing or broken ones, all at once.
      skip_broken: go on without the samples of such images; they are counted.
    Raises:
      DataError: see `load_entry`; and the report of unusable images.
    """
    if not entries:
        raise DataError("there is no data set; give at least one entry with a reader")
    parts = [load_entry(entry, root, seed=seed) for entry in entries]
    report = None
    if look_at_images:
        report = check_images(sample for part in parts for sample in part)
        if skip_broken:
            parts = [report.without_broken(part) for part in parts]
        else:
            report.raise_if_any()
    weights = [entry.get("weight") for entry in entries]
    if any(weight is not None for weight in weights) and None in weights:
        raise DataError("give every data set a weight, or none")
    chosen = None if None in weights else [float(weight) for weight in weights if weight is not None]
    names = tuple(f"{entry['reader']} {entry.get('dataset', '')}".strip() for entry in entries)
    empty = [name for name, part in zip(names, parts, strict=True) if not part]
    if empty:
        raise DataError(f"no usable samples in: {', '.join(empty)}")
    mixture = Mixture(parts, chosen, seed=seed, length=length)
    return LoadedData(mixture, names, tuple(map(len, parts)), tuple(dict(part.left_out) for part in parts), report)


def _nearest(name: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def all_samples(mixture: Mixture) -> list[Sample]:
    """Every sample of every part once, in the readers' words."""
    return [sample for part in mixture.parts for sample in part]
