"""Unpickling that cannot run code: only containers, numbers, text and numpy arrays come out.

RefCOCO's `refs(unc).p` and detector results are published as pickles; a pickle may otherwise name any function to call. numpy's own
constructors are not called either: a pickled dtype carries flags, and with forged ones numpy takes bytes of the file for pointers.
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gpt4roi.data.errors import DataError

# Numbers, truth values and text of fixed length: nothing that holds references.
PLAIN_DTYPE = re.compile(r"(?:b1|\?|[iu][1248]|f[248]|[SU]\d{1,5})")


class _Dtype:
    """A dtype by its name alone; of its pickled state only the byte order counts."""

    def __init__(self, name: Any, *_: Any) -> None:
        text = name.decode("ascii", "replace") if isinstance(name, bytes) else str(name)
        bare = text.lstrip("<>|=")
        if PLAIN_DTYPE.fullmatch(bare) is None:
            raise pickle.UnpicklingError(f"it holds values of the type '{text[:20]}', which are not plain data")
        self.bare, self.order = bare, text[: len(text) - len(bare)] or "="

    def __setstate__(self, state: Any) -> None:
        order = state[1].decode("ascii", "replace") if isinstance(state[1], bytes) else str(state[1])
        self.order = order if order in ("<", ">") else "="

    def read(self, raw: Any, shape: Any, order: str = "C") -> np.ndarray:
        """An array of its own from exactly as many bytes as it needs."""
        data = raw.encode("latin1") if isinstance(raw, str) else bytes(raw)
        dtype = np.dtype(self.order + self.bare)
        sides = [int(side) for side in shape]
        if min(sides, default=0) < 0 or math.prod(sides) * dtype.itemsize != len(data):
            raise pickle.UnpicklingError(f"it holds an array of shape {sides} in {len(data)} bytes")
        return np.frombuffer(data, dtype).reshape(sides, order="F" if order == "F" else "C").copy()


class _Array:
    """An array that is being read: numpy's pickles make an empty one first, and fill it afterwards."""

    value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, raw = state
        self.value = _dtype(dtype).read(raw, shape, "F" if is_fortran else "C")


def _dtype(value: Any) -> _Dtype:
    if not isinstance(value, _Dtype):
        raise pickle.UnpicklingError("it holds an array without a type")
    return value


def _scalar(dtype: Any, raw: Any = b"") -> Any:
    return _dtype(dtype).read(raw, ())[()]


def _frombuffer(raw: Any, dtype: Any, shape: Any, order: Any = "C") -> np.ndarray:
    return _dtype(dtype).read(raw, shape, str(order))


def _codecs_encode(text: Any, encoding: Any = "latin1") -> bytes:
    """Python 2's way to write bytes."""
    if str(encoding) not in ("latin1", "latin-1", "utf-8", "ascii"):
        raise pickle.UnpicklingError(f"it holds text in the encoding '{str(encoding)[:20]}'")
    return str(text).encode(str(encoding))


def _no_bytes(*arguments: Any) -> bytes:
    """How Python 3 writes empty bytes for Python 2. With an argument, bytes would make zeros of any length."""
    if arguments:
        raise pickle.UnpicklingError("it makes bytes in a way that plain data does not need")
    return b""


def _array_type(*_: Any) -> Any:
    """Stands for the class numpy.ndarray, which is named and never called in plain data."""
    raise pickle.UnpicklingError("it makes an array in a way that plain data does not need")


# Names under which numpy 1 and 2 pickle arrays and scalars, and Python 2 pickles bytes.
ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("_codecs", "encode"): _codecs_encode,
    ("__builtin__", "bytes"): _no_bytes,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _array_type,
    ("numpy.core.multiarray", "_reconstruct"): lambda *_: _Array(),
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
}


class _SafeUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        known = ALLOWED.get((module.replace("numpy._core", "numpy.core"), name))
        if known is None:
            raise pickle.UnpicklingError(f"it asks for {module[:60]}.{name[:60]}, which plain data does not need")
        return known


def load_pickle(path: Path) -> Any:
    """The data in a pickle of Python 2 or 3.

    Raises:
      DataError: no such file, not a pickle, or one that holds more than plain data (nothing of it has been run).
    """
    try:
        with open(path, "rb") as file:
            return _plain(_SafeUnpickler(file, encoding="latin1").load(), {})
    except FileNotFoundError as error:
        raise DataError("there is no such file", path) from error
    except (MemoryError, RecursionError) as error:
        raise DataError("is not a pickle of plain data: it is nested too deeply or too large", path) from error
    # A damaged pickle can fail in as many ways as there are opcodes.
    except (
        pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError, ImportError, OSError, OverflowError,
    ) as error:  # fmt: skip
        raise DataError(f"is not a pickle of plain data: {error}", path) from error


def _plain(value: Any, done: dict[int, Any]) -> Any:
    """The value with its arrays in place. Containers are changed where they stand; what was seen is not walked again."""
    if isinstance(value, _Array):
        if value.value is None:
            raise pickle.UnpicklingError("it holds an array without content")
        return value.value
    if isinstance(value, _Dtype):
        raise pickle.UnpicklingError("it holds a type where data should be")
    if not isinstance(value, (list, dict, tuple)) or id(value) in done:
        return done.get(id(value), value)
    done[id(value)] = value
    if isinstance(value, list):
        value[:] = [_plain(item, done) for item in value]
    elif isinstance(value, dict):
        for key in list(value):
            value[key] = _plain(value[key], done)
    else:
        done[id(value)] = tuple(_plain(item, done) for item in value)
    return done[id(value)]
