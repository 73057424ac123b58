"""Options that several commands share."""

from __future__ import annotations

import argparse


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


def add_box_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--box",
        action="append",
        default=[],
        metavar="x0,y0,x1,y1",
        help="a box in pixels of the picture; the first is <region1>, the next <region2> …",
    )
