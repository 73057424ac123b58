"""A folder of files that were written once: what it must hold, so that a cut or altered file is noticed before it is used."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

SEAL = "complete.json"


def seal(folder: Path, about: dict[str, Any]) -> None:
    """Write the last file: `about`, and size, time and SHA-256 of every other one."""
    files = {path.name: _measure(path) for path in sorted(folder.iterdir()) if path.is_file() and path.name != SEAL}
    unfinished = folder / f"{SEAL}.writing"
    unfinished.write_text(json.dumps({**about, "files": files}, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(folder / SEAL)


def damage(folder: Path) -> str | None:
    """What is wrong with the folder, as the rest of a sentence; None where nothing is.

    Sizes are always compared. A file whose time of change is the sealed one is not read again; any other is, and its hash decides.
    """
    if not (folder / SEAL).exists():
        return "it is not complete"
    try:
        about = json.loads((folder / SEAL).read_text(encoding="utf-8"))
        files = about.get("files")
        if files is None:
            return _damage_of_unsealed(folder, about)
        for name, expected in files.items():
            path = folder / name
            if not path.is_file():
                return f"'{name}' is missing"
            status = path.stat()
            if status.st_size != expected["bytes"]:
                return f"'{name}' has {status.st_size:,} bytes of {expected['bytes']:,}"
            if status.st_mtime_ns != expected["mtime_ns"] and _sha256(path) != expected["sha256"]:
                return f"'{name}' was altered"
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return f"'{SEAL}' cannot be read"
    return None


def _damage_of_unsealed(folder: Path, about: dict[str, Any]) -> str | None:
    """A folder of an earlier version, which noted no sizes: sealed now, if its weights are as long as their header says."""
    path = folder / "model.safetensors"
    try:
        with safe_open(path, framework="pt"):
            pass
    except (SafetensorError, OSError):
        return f"'{path.name}' is damaged"
    missing = next((name for name in ("config.json", "tokenizer.json") if not (folder / name).is_file()), None)
    if missing is not None:
        return f"'{missing}' is missing"
    with contextlib.suppress(OSError):  # a cache that may only be read is used as it is
        seal(folder, about)
    return None


def _measure(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "mtime_ns": path.stat().st_mtime_ns, "sha256": _sha256(path)}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
