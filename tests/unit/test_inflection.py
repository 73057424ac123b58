"""inflect without its checks of types is inflect, and starts quickly."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys, time
import {first}
import typeguard
from gpt4roi.inflection import inflect_engine
checked = typeguard.typechecked
start = time.process_time()
engine = inflect_engine()
seconds = time.process_time() - start
assert typeguard.typechecked is checked
print([engine.singular_noun("wolves"), engine.plural_noun("child"), engine.a("hour"), engine.singular_noun("cat")], seconds < 1)
"""


def test_words_are_the_same_whoever_imports_inflect_first() -> None:
    said = {
        first: subprocess.run([sys.executable, "-c", PROGRAM.format(first=first)], capture_output=True, text=True, check=True).stdout
        for first in ("time", "inflect")
    }
    assert said["time"] == said["inflect"] == "['wolf', 'children', 'an hour', False] True\n"
