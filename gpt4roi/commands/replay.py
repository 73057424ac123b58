"""`gpt4roi replay RUN.json`: say again what a run said, or run it again with a step changed."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from gpt4roi.commands.do import say
from gpt4roi.commands.options import add_model_arguments
from gpt4roi.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="the run.json that gpt4roi do wrote")
    parser.add_argument("--edit", action="append", default=[], metavar="sN.NAME=VALUE", help="change an argument of a step; repeatable")
    parser.add_argument("--fresh", action="store_true", help="run every step again")
    parser.add_argument("--output", default=None, metavar="DIR", help="where a changed run is written; without it beside the old one")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from gpt4roi.plans.record import Run

    saved = Run.load(args.run)
    edits = read_edits(args.edit)
    if not edits and not args.fresh:
        say(saved.replay(), args.json)
        return 0

    from gpt4roi.commands.loading import load_chat

    chat, _ = load_chat(args)
    output = Path(args.output) if args.output else Path(args.run).parent / "again"
    done = saved.again(chat, output, edits, args.fresh)
    done.save(output / "run.json")
    say(done.json, args.json)
    return 0


def read_edits(texts: list[str]) -> dict[str, dict[str, Any]]:
    """`s2.color=red` and the like, as changes by step."""
    edits: dict[str, dict[str, Any]] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        step, dot, name = path.partition(".")
        if not equals or not dot or not name:
            raise UserError(f"--edit is sN.NAME=VALUE, for example s2.color=red; got {text!r}")
        try:
            read = json.loads(value)
        except ValueError:
            read = value
        edits.setdefault(step, {})[name] = read
    return edits
