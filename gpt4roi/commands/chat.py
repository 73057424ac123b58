"""`gpt4roi chat IMAGE`: many turns in a terminal."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gpt4roi.boxes import parse_box, parse_points
from gpt4roi.commands.ask import DEFAULT_NEW_TOKENS
from gpt4roi.commands.options import add_model_arguments, add_region_arguments, read_regions
from gpt4roi.errors import UserError
from gpt4roi.images import open_image

if TYPE_CHECKING:
    from gpt4roi.chat import RegionChat

HELP = """Type a question. Without a number it is about the selected region, or the last one; <region1>, region 1 and #1 name the first.
  /box x0,y0,x1,y1     add a box (pixels of the picture)
  /point x,y[;x,y…]    add what is at a point, or under a scribble
  /find dog, red car   find things; each becomes a region
  /move N x0,y0,x1,y1  move region N
  /label N NAME        say what region N is
  /remove N            remove region N
  /select N            questions without a number are about region N
  /regions             list the regions
  /image FILE          another picture: a new conversation
  /undo                take back the last question and answer
  /again               answer the last question again
  /reset               forget what was said, keep the boxes
  /correct TEXT        say what the last answer should have been
  /save FILE           write the conversation as JSONL, as `gpt4roi train` takes it
  /timings             what the last answer took, and what was reused
  /help, /quit         Ctrl-C stops an answer, Ctrl-D quits"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", nargs="?", default=None, help="a picture file; without it plain talk until /image")
    add_region_arguments(parser)
    add_model_arguments(parser)
    parser.add_argument("--max-new-tokens", type=int, default=DEFAULT_NEW_TOKENS, help="every answer ends here at the latest")


def run(args: argparse.Namespace) -> int:
    if args.regions and args.image is None:
        raise UserError("regions need a picture; name it before --box, --point or --mask")
    regions = [] if args.image is None else read_regions(args, open_image(args.image).size)

    from gpt4roi.commands.loading import load_chat

    chat, _ = load_chat(args)
    if args.image is not None:
        chat.set_image(args.image)
    for region in regions:
        chat.add_region(**region)
    if sys.stdin.isatty():
        # Line editing and history, where Python was built with it.
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401
        print(HELP)
    return Terminal(chat, args.max_new_tokens).run()


class Terminal:
    """Reads lines, answers or obeys. A mistake is one line, and nothing is lost."""

    def __init__(self, chat: RegionChat, max_new_tokens: int) -> None:
        self.chat = chat
        self.max_new_tokens = max_new_tokens
        self.commands: dict[str, Callable[[str], None]] = {
            "/box": lambda rest: print(f"<region{self.chat.add_region(parse_box(rest))}>"),
            "/point": self._point,
            "/find": self._find,
            "/move": self._move,
            "/label": self._label,
            "/select": lambda rest: self.chat.select(_number(rest)),
            "/correct": lambda rest: self.chat.correct(-1, rest),
            "/remove": lambda rest: self.chat.remove_region(_number(rest)),
            "/regions": lambda rest: self._regions(),
            "/image": lambda rest: self.chat.set_image(Path(rest).expanduser()),
            "/undo": lambda rest: print(f"taken back: {self.chat.undo()}"),
            "/again": lambda rest: self._again(),
            "/reset": lambda rest: self.chat.reset(),
            "/save": self._save,
            "/timings": lambda rest: self._timings(),
            "/help": lambda rest: print(HELP),
        }

    def run(self) -> int:
        while True:
            try:
                line = input("> " if sys.stdin.isatty() else "").strip()
            except EOFError:
                return 0
            except KeyboardInterrupt:
                # A half-typed line is dropped; the program stays.
                print()
                continue
            if line in ("/quit", "/exit"):
                return 0
            if line:
                self.obey(line)

    def obey(self, line: str) -> None:
        """One line: a command or a question."""
        try:
            if not line.startswith("/"):
                self._answer(lambda: self.chat.stream(line, self.max_new_tokens))
                return
            name, _, rest = line.partition(" ")
            if name not in self.commands:
                raise UserError(f"there is no {name}; /help lists what there is")
            self.commands[name](rest.strip())
        except (UserError, OSError) as mistake:
            print(f"! {mistake}")

    def _answer(self, begin: Callable) -> None:
        pieces = begin()
        try:
            for piece in pieces:
                print(piece, end="", flush=True)
            print()
        except KeyboardInterrupt:
            pieces.close()
            print(" … stopped")

    def _again(self) -> None:
        self._answer(lambda: self.chat.stream_again(self.max_new_tokens))

    def _move(self, rest: str) -> None:
        number, _, box = rest.partition(" ")
        self.chat.move_region(_number(number), parse_box(box))

    def _point(self, rest: str) -> None:
        if self.chat.image_size_wh is None:
            raise UserError("there is no picture yet; /image FILE opens one")
        print(f"<region{self.chat.add_region(points=parse_points(rest, self.chat.image_size_wh))}>")

    def _find(self, rest: str) -> None:
        found = self.chat.find(rest)
        for region in found:
            print(f"{region.mention}  {region.label}  {region.score or 0:.2f}  {','.join(f'{value:g}' for value in region)}")
        if not found:
            print(f"No {rest} here.")

    def _label(self, rest: str) -> None:
        number, _, label = rest.partition(" ")
        self.chat.label_region(_number(number), label.strip() or None)

    def _regions(self) -> None:
        for region in self.chat.regions.values():
            mark = " *" if region.number == self.chat.selected else ""
            print(f"{region.mention}  {','.join(f'{value:g}' for value in region)}{'  ' + region.label if region.label else ''}{mark}")
        if not self.chat.regions:
            print("no boxes yet; /box x0,y0,x1,y1 adds one")

    def _save(self, rest: str) -> None:
        if not rest:
            raise UserError("say where: /save FILE")
        self.chat.save(Path(rest).expanduser())
        print(f"saved to {rest}")

    def _timings(self) -> None:
        if self.chat.last_answer is None:
            raise UserError("nothing has been answered yet")
        t = self.chat.last_answer.timings
        image = "0 ms (kept)" if t.image_cached else f"{1000 * t.vision_s:.0f} ms"
        print(
            f"picture {image}, prefix {t.reused_tokens:.0f} of {t.prompt_tokens:.0f} tokens reused, "
            f"first word after {1000 * t.first_token_s:.0f} ms, {t.new_tokens:.0f} tokens in {t.total_s:.2f} s"
        )


def _number(text: str) -> int:
    digits = text.strip().removeprefix("<region").removesuffix(">")
    if not digits.isdecimal():
        raise UserError(f"a region number was expected; got '{text}'")
    return int(digits)
