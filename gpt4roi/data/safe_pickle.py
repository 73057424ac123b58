"""Unpickling that cannot run code: only containers, numbers, text and numpy arrays come out.

RefCOCO's `refs(unc).p` and detector results are published as pickles; a pickle may otherwise name any function to call.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from gpt4roi.data.errors import DataError

# Names under which numpy 1 and 2 pickle arrays and scalars, and Python 2 pickles bytes.
ALLOWED = {
    ("_codecs", "encode"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.numeric", "_frombuffer"),
}


class _SafeUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which plain data does not need")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def load_pickle(path: Path) -> Any:
    """The data in a pickle of Python 2 or 3.

    Raises:
      DataError: no such file, not a pickle, or one that holds more than plain data (nothing of it has been run).
    """
    try:
        with open(path, "rb") as file:
            return _SafeUnpickler(file, encoding="latin1").load()
    except FileNotFoundError as error:
        raise DataError("there is no such file", path) from error
    # A damaged pickle can fail in as many ways as there are opcodes.
    except (pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError, ImportError, OSError) as error:
        raise DataError(f"is not a pickle of plain data: {error}", path) from error
