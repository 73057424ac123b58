"""Tensors of a checkpoint folder, one at a time: pickle shards or safetensors, with or without an index."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gpt4roi.errors import UserError

# In order of preference: safetensors need no trust at all.
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
SINGLES = ("model.safetensors", "pytorch_model.bin")


SHARD = re.compile(r"[\w.-]+\.(?:safetensors|bin)")


class CheckpointError(UserError):
    """A checkpoint that cannot be read or does not fit; the message is a sentence for the user."""


def read_json(path: Path) -> dict[str, Any]:
    """Raises CheckpointError: missing, or not a JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"'{path.parent}' has no {path.name}; give a complete model folder") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"'{path}' cannot be read as JSON ({error}); fetch it again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"'{path}' is not a JSON object; fetch it again")
    return content


class TensorFiles:
    """Names, shapes and tensors of a folder. Files are memory-mapped and one is open at a time, so memory holds what is asked for.

    Args:
      folder: a local checkpoint folder.
    Raises:
      CheckpointError: no weights, a shard is missing or broken, or index and shards disagree.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open_name: str | None = None
        self._open: Any = None
        self.file_of = self._locate()
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, torch.dtype] = {}
        for file in dict.fromkeys(self.file_of.values()):
            self._read_shapes(file)

    def _locate(self) -> dict[str, str]:
        if not self.folder.is_dir():
            raise CheckpointError(f"'{self.folder}' is not a folder; give the folder that holds the weights")
        for index in INDEXES:
            if (self.folder / index).exists():
                mapping = read_json(self.folder / index).get("weight_map")
                if not isinstance(mapping, dict) or not mapping:
                    raise CheckpointError(f"'{self.folder / index}' has no weight_map; fetch it again")
                # A name that leads elsewhere would have any file of this machine read as weights.
                odd = [file for file in mapping.values() if not isinstance(file, str) or not SHARD.fullmatch(file)]
                if odd:
                    raise CheckpointError(
                        f"the weight_map of '{self.folder / index}' names {str(odd[0])[:80]!r}, which is no file of weights; fetch it again"
                    )
                missing = sorted({file for file in mapping.values() if not (self.folder / file).is_file()})
                if missing:
                    raise CheckpointError(f"'{self.folder}' lacks {', '.join(missing)}, which its index names; fetch it again")
                return mapping
        for single in SINGLES:
            if (self.folder / single).exists():
                return dict.fromkeys(self._names(single), single)
        raise CheckpointError(f"'{self.folder}' holds no weights ({', '.join(SINGLES)}, or shards with an index)")

    def _names(self, file: str) -> list[str]:
        opened = self._opened(file)
        return list(opened) if isinstance(opened, dict) else list(opened.keys())

    def _read_shapes(self, file: str) -> None:
        indexed = {name for name, home in self.file_of.items() if home == file}
        found = set(self._names(file))
        if indexed != found:
            odd = sorted(indexed ^ found)
            kind = "lacks" if odd[0] in indexed else "also holds"
            raise CheckpointError(f"'{self.folder / file}' {kind} '{odd[0]}', against its index ({len(odd)} such); fetch it again")
        opened = self._opened(file)
        for name in found:
            tensor = opened[name] if isinstance(opened, dict) else None
            if tensor is not None and not isinstance(tensor, Tensor):
                raise CheckpointError(f"'{name}' in '{self.folder / file}' is not a tensor; this is no model checkpoint")
            if tensor is not None:
                self.shapes[name], self.dtypes[name] = tuple(tensor.shape), tensor.dtype
            else:
                part = opened.get_slice(name)
                self.shapes[name], self.dtypes[name] = tuple(part.get_shape()), _safetensors_dtype(part.get_dtype())

    def _opened(self, file: str) -> Any:
        if self._open_name == file:
            return self._open
        self._open_name, self._open = None, None
        path = self.folder / file
        try:
            if path.suffix == ".safetensors":
                self._open = safe_open(path, framework="pt", device="cpu")
            else:
                self._open = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, SafetensorError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CheckpointError(
                f"'{path}' is damaged or holds more than tensors ({reason}); fetch it again from a source you trust"
            ) from error
        if path.suffix != ".safetensors" and not isinstance(self._open, dict):
            raise CheckpointError(f"'{path}' is not a dictionary of tensors; this is no model checkpoint")
        self._open_name = file
        return self._open

    def __contains__(self, name: str) -> bool:
        return name in self.file_of

    def __iter__(self) -> Iterator[str]:
        return iter(self.file_of)

    def get(self, name: str) -> Tensor:
        """One tensor, still mapped to its file for pickles: copy it before keeping it."""
        opened = self._opened(self.file_of[name])
        tensor: Tensor = opened[name] if isinstance(opened, dict) else opened.get_tensor(name)
        return tensor

    def fingerprint(self) -> dict[str, int]:
        """File names and sizes: enough to notice that an interrupted run had other sources."""
        return {file: (self.folder / file).stat().st_size for file in sorted(set(self.file_of.values()))}


def _is_zip(path: Path) -> bool:
    """Only the zip format of torch >= 1.6 can be memory-mapped; older files are read whole."""
    with path.open("rb") as stream:
        return stream.read(4) == b"PK\x03\x04"


def _safetensors_dtype(name: str) -> torch.dtype:
    names = {
        "F64": torch.float64,
        "F32": torch.float32,
        "F16": torch.float16,
        "BF16": torch.bfloat16,
        "I64": torch.int64,
        "I32": torch.int32,
    }
    if name not in names:
        raise CheckpointError(f"tensors of type {name} are not expected in a checkpoint like this")
    return names[name]
