"""Options that several commands share."""

from __future__ import annotations

import argparse
from typing import Any

from gpt4roi.boxes import SPACES, parse_box, parse_points


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default=None, help="a model folder or a hub id; without it the embedded default")
    parser.add_argument(
        "--device", default=None, help="cpu, cuda, cuda:1 …, auto (spread over all GPUs); without it CUDA where there is one"
    )
    parser.add_argument(
        "--precision",
        choices=("int8", "float32", "transformers"),
        default=None,
        help="arithmetic of the language model; without it int8 on CPU (fastest), the model's own elsewhere",
    )
    parser.add_argument(
        "--quantize",
        choices=("int8", "int4"),
        default=None,
        help="8- or 4-bit weights of another language model than the embedded one, for less memory (needs bitsandbytes)",
    )
    parser.add_argument(
        "--attention",
        default=None,
        metavar="NAME",
        help="sdpa, eager, flash_attention_2 …: the attention of the language model; without it what transformers chooses",
    )


def add_region_arguments(parser: argparse.ArgumentParser) -> None:
    """`--box`, `--point` and `--mask`, each repeatable; regions are numbered in the order in which they stand on the command line."""
    parser.set_defaults(regions=[])
    for option, metavar, text in (
        ("--box", "x0,y0,x1,y1", "a box in pixels of the picture; the first region is <region1>, the next <region2> …"),
        ("--point", "x,y[;x,y…]", "a point on a thing, or the points of a scribble over it, in pixels; the outline is found"),
        ("--mask", "FILE", "a picture of the same size that is white (or opaque) where the thing is"),
    ):
        parser.add_argument(option, dest="regions", action=_Region, metavar=metavar, help=text)
    parser.add_argument(
        "--space",
        choices=tuple(SPACES),
        default="pixels",
        help="what the numbers of --box are: pixels, shares of the picture, or thousandths of it",
    )


class _Region(argparse.Action):
    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        namespace.regions = [*namespace.regions, (str(option_string).removeprefix("--"), str(values))]


def read_regions(args: argparse.Namespace, image_size_wh: tuple[int, int]) -> list[dict[str, Any]]:
    """What the options name, checked against the image: the arguments of `RegionChat.add_region` for each.

    Raises:
      BoxError, MaskError: which one cannot be used, and why.
    """
    # Here, so that a help page does not wait for OpenCV.
    from gpt4roi.masks import from_png
    from gpt4roi.regions import RegionSet

    wanted: list[dict[str, Any]] = []
    checked = RegionSet(image_size_wh)
    for kind, text in args.regions:
        if kind == "box":
            wanted.append({"box": checked.add(parse_box(text), space=args.space).box_xyxy})
        elif kind == "mask":
            mask = from_png(text, image_size_wh)
            checked.add(mask=mask)
            wanted.append({"mask": mask})
        else:
            wanted.append({"points": parse_points(text, image_size_wh)})
    return wanted
