"""Pickles of strangers: plain data comes out, nothing else does, and no byte of the file becomes a pointer."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt4roi.data.errors import DataError
from gpt4roi.data.safe_pickle import load_pickle


class Forged:
    def __init__(self, function: Any, arguments: tuple[Any, ...], state: Any = None) -> None:
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.parts


def pointer_dtype(flags: int) -> Forged:
    """An object dtype whose forged flags say that it holds none."""
    return Forged(np.dtype, ("O8", False, True), (3, "|", None, None, None, -1, -1, flags))


def written(tmp_path: Path, value: Any, protocol: int = 2) -> Path:
    path = tmp_path / "data.p"
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_comes_out_as_it_went_in(tmp_path: Path, protocol: int) -> None:
    value = {
        "boxes": np.arange(12, dtype=">f4").reshape(3, 4),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
        "score": np.float32(0.5),
        "empty": np.zeros((0, 4)),
        "names": ["a dog", ("b", {"c": np.array([True, False])})],
        "bytes": b"x\xff",
    }
    read = load_pickle(written(tmp_path, value, protocol))
    assert np.array_equal(read["boxes"], value["boxes"]) and np.array_equal(read["fortran"], value["fortran"])
    assert read["score"] == 0.5 and read["empty"].shape == (0, 4) and read["bytes"] == b"x\xff"
    assert read["names"][0] == "a dog" and read["names"][1][1]["c"].tolist() == [True, False]


@pytest.mark.parametrize(
    "forged",
    [
        Forged(os.system, ("true",)),
        Forged(np._core.multiarray.scalar, (pointer_dtype(0), b"AAAAAAAA")),
        Forged(np._core.multiarray.scalar, (pointer_dtype(1), b"AAAAAAAA")),
        Forged(np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), (1, (1,), pointer_dtype(0), False, b"AAAAAAAA")),
        Forged(np._core.numeric._frombuffer, (b"AAAAAAAA", pointer_dtype(0), (1,), "C")),
        Forged(np.ndarray, ((40_000_000_000,), "u1")),
        Forged(np.dtype, ([("a", "V2147483647")] * 3,)),
        Forged(np._core.numeric._frombuffer, (b"AAAA", np.dtype("f4"), (10**12,), "C")),
        np.dtype("f4"),
    ],
)
def test_what_is_not_plain_data_is_a_sentence(tmp_path: Path, forged: Any) -> None:
    with pytest.raises(DataError, match="is not a pickle of plain data"):
        load_pickle(written(tmp_path, [forged]))


@pytest.mark.parametrize("content", [b"", b"\x80", b"]" * 10, b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".", b"\x80\x02\x82\x01."])
def test_damaged_files_are_sentences(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.p"
    path.write_bytes(content)
    with pytest.raises(DataError, match="is not a pickle of plain data"):
        load_pickle(path)


def test_a_list_that_holds_itself(tmp_path: Path) -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    read = load_pickle(written(tmp_path, loop))
    assert read[0] == 1 and read[1] is read
