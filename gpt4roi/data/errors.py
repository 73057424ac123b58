"""The one error of this package: a sentence that names the file and the place in it."""

from __future__ import annotations

from pathlib import Path

from gpt4roi.errors import UserError


class DataError(UserError):
    """Region data that cannot be used.

    Args:
      message: what is wrong, what was found, what to do.
      path: the file, if there is one.
      where: the place in it, for example `line 3` or `record 17 (annotation 4411)`.
    """

    def __init__(self, message: str, path: Path | str | None = None, where: str | None = None) -> None:
        self.path, self.where = path, where
        place = ", ".join(str(part) for part in (path, where) if part is not None)
        super().__init__(f"{place}: {message}" if place else message)
