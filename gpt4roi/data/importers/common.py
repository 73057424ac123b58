"""What several importers share."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from gpt4roi.data.errors import DataError


def supervision_format(format_name: str) -> ModuleType:
    try:
        return import_module(f"supervision.dataset.formats.{format_name}")
    except ImportError as error:
        raise DataError(f"this format is read by the package supervision, which is missing ({error}); pip install supervision") from error


def without_upload_prefix(name: str) -> str:
    """Label Studio puts eight hexadecimal digits and a dash before the names of uploaded files."""
    prefix, dash, rest = name.partition("-")
    return rest if dash and len(prefix) == 8 and all(letter in "0123456789abcdef" for letter in prefix) else name
