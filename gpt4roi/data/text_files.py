"""Text files as other people's programs write them: with a byte-order mark, in UTF-16, in GBK."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

from gpt4roi.data.errors import DataError

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
# What is not UTF-8 comes from Chinese Windows, or from Western Windows, which gives every byte a letter.
_FALLBACKS = ("utf-8", "gb18030", "cp1252", "latin-1")


def read_text(path: Path) -> str:
    """The text of a file, whatever it is written in; line ends as they are.

    Raises:
      DataError: no such file, or it cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError("there is no such file", path) from error
    except OSError as error:
        raise DataError(f"cannot be read ({error})", path) from error
    encodings = [encoding for mark, encoding in _MARKS if data.startswith(mark)] or list(_FALLBACKS)
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise DataError("is neither UTF-8 nor another encoding of text; save it as UTF-8", path)


def load_json(path: Path) -> Any:
    """Raises DataError: no such file, not JSON, or nested beyond reason."""
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"not JSON: {error.msg} at column {error.colno}", path, f"line {error.lineno}") from error
    except RecursionError as error:
        raise DataError("not usable JSON: it is nested too deeply", path) from error
    except ValueError as error:  # a number of thousands of digits
        raise DataError("not usable JSON: it holds a number with too many digits", path) from error
