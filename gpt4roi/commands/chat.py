"""`gpt4roi chat IMAGE`: many turns in a terminal."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gpt4roi.boxes import parse_box, validate_box
from gpt4roi.commands.ask import DEFAULT_NEW_TOKENS
from gpt4roi.commands.options import add_box_argument, add_model_arguments
from gpt4roi.errors import UserError
from gpt4roi.images import open_picture

if TYPE_CHECKING:
    from gpt4roi.chat import RegionChat

HELP = """Type a question; <region1> is the first box.
  /box x0,y0,x1,y1     add a box (pixels of the picture)
  /move N x0,y0,x1,y1  move box N
  /remove N            remove box N
  /regions             list the boxes
  /image FILE          another picture: a new conversation
  /undo                take back the last question and answer
  /again               answer the last question again
  /reset               forget what was said, keep the boxes
  /save FILE           write the conversation as JSON
  /timings             what the last answer took, and what was reused
  /help, /quit         Ctrl-C stops an answer, Ctrl-D quits"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", nargs="?", default=None, help="a picture file; without it plain talk until /image")
    add_box_argument(parser)
    add_model_arguments(parser)
    parser.add_argument("--max-new-tokens", type=int, default=DEFAULT_NEW_TOKENS, help="every answer ends here at the latest")


def run(args: argparse.Namespace) -> int:
    boxes = [parse_box(text) for text in args.box]
    if boxes and args.image is None:
        raise UserError("boxes need a picture; name it before --box")
    if args.image is not None:
        size = open_picture(args.image).size
        for number, box in enumerate(boxes, 1):
            validate_box(box, size, f"<region{number}>")

    from gpt4roi.commands.loading import load_chat

    chat, _ = load_chat(args)
    if args.image is not None:
        chat.set_image(args.image)
    for box in boxes:
        chat.add_region(box)
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
            "/move": self._move,
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

    def _regions(self) -> None:
        for number, (x0, y0, x1, y1) in sorted(self.chat.regions.items()):
            print(f"<region{number}>  {x0:g},{y0:g},{x1:g},{y1:g}")
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
        picture = "0 ms (kept)" if t["picture_cached"] else f"{1000 * t['vision_s']:.0f} ms"
        print(
            f"picture {picture}, prefix {t['reused_tokens']:.0f} of {t['prompt_tokens']:.0f} tokens reused, "
            f"first word after {1000 * t['first_token_s']:.0f} ms, {t['new_tokens']:.0f} tokens in {t['total_s']:.2f} s"
        )


def _number(text: str) -> int:
    digits = text.strip().removeprefix("<region").removesuffix(">")
    if not digits.isdecimal():
        raise UserError(f"a region number was expected; got '{text}'")
    return int(digits)
