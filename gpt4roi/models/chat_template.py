"""Chat templates of strangers are programs: jinja's sandbox keeps them from the machine, and here they are kept from its time and memory."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from jinja2 import Environment, TemplateError, nodes

from gpt4roi.conversation import ConversationError

MAX_CHARACTERS = 200_000
MAX_NUMBER = 100_000
# A template runs some tens of lines a turn.
MAX_LINES = 200_000
_GENERATION = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")
_WIDE = re.compile(r"%[-+ #0]*\d{5,}|\{[^}]*\d{5,}")


def check_template(template: Any) -> None:
    """Refuse a template that could ask for more than a template needs.

    Raises:
      ConversationError: too long, or it multiplies or holds large numbers, with which a line makes gigabytes.
    """
    templates = template.values() if isinstance(template, dict) else [template]
    for text in templates:
        if not isinstance(text, str):
            continue
        if len(text) > MAX_CHARACTERS:
            raise ConversationError(f"the chat template has {len(text):,} characters; at most {MAX_CHARACTERS:,} are taken")
        try:
            tree = Environment(extensions=["jinja2.ext.loopcontrols"]).parse(_GENERATION.sub("", text))
        except TemplateError:
            continue  # said when it is used, with its line
        for node in tree.find_all((nodes.Mul, nodes.Pow, nodes.Const)):
            if isinstance(node, nodes.Const) and not _is_large(node.value):
                continue
            raise ConversationError(
                f"line {node.lineno} of the chat template multiplies or holds a number beyond {MAX_NUMBER:,}; templates need neither, fetch the model again"
            )


def _is_large(value: Any) -> bool:
    if isinstance(value, (int, float)):
        return abs(value) > MAX_NUMBER
    return isinstance(value, str) and _WIDE.search(value) is not None


@contextmanager
def bounded_rendering() -> Iterator[None]:
    """Ends a template that runs too many lines.

    Raises:
      ConversationError: from within the template.
    """
    lines = 0

    def count(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal lines
        lines += 1
        if lines > MAX_LINES:
            raise ConversationError("the chat template does not come to an end; fetch the model again")
        return count

    def enter(frame: FrameType, event: str, argument: Any) -> Any:
        return count if frame.f_code.co_filename == "<template>" else None

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        yield
    finally:
        sys.settrace(before)
