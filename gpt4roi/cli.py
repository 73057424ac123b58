"""`gpt4roi COMMAND …`: one lazy table of commands. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from gpt4roi import __version__
from gpt4roi.errors import UserError

# Command -> (module with add_arguments(parser) and run(args), one line of help).
COMMANDS = {
    "ask": ("gpt4roi.commands.ask", "ask one question about boxes on a picture"),
    "find": ("gpt4roi.commands.find", "find things on a picture by words"),
    "do": ("gpt4roi.commands.do", "a request becomes a plan of steps that look and edit"),
    "replay": ("gpt4roi.commands.replay", "a saved run again, or with a step changed"),
    "chat": ("gpt4roi.commands.chat", "talk about a picture in the terminal, many turns"),
    "serve": ("gpt4roi.commands.serve", "OpenAI-compatible HTTP API"),
    "train": ("gpt4roi.commands.train", "train or fine-tune from a YAML config"),
    "evaluate": ("gpt4roi.commands.evaluate", "score a model on VCR and the region benchmarks"),
    "convert": ("gpt4roi.commands.convert", "released GPT4RoI weights into a folder of ours"),
    "init": ("gpt4roi.commands.init", "assemble a trainable model from pretrained parts"),
    "data": ("gpt4roi.commands.data", "check, show, import and split region data"),
    "benchmark": ("gpt4roi.commands.benchmark", "measure speed and memory on this machine"),
    "info": ("gpt4roi.commands.info", "versions, devices, where the weights are, whether they are whole"),
}


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """The parser; with `only`, just that command's arguments are filled in (its module alone is imported)."""
    parser = argparse.ArgumentParser(prog="gpt4roi", description="Draw boxes on a picture and talk about them.")
    parser.add_argument("--version", action="version", version=f"gpt4roi {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module, summary) in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, description=summary, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        if name == only:
            import_module(module).add_arguments(subparser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = next((argument for argument in arguments if not argument.startswith("-")), None)
    parser = build_parser(command if command in COMMANDS else None)
    if not arguments:
        parser.print_help()
        return 0
    args = parser.parse_args(arguments)
    try:
        return int(import_module(COMMANDS[args.command][0]).run(args) or 0)
    except (UserError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        # One sentence for the user; anything else is a bug of ours and keeps its traceback.
        print(f"gpt4roi {args.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"gpt4roi {args.command}: stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
