"""Random choices that are a function of names, not of call order: the same on every rank, in every worker and after resume."""

from __future__ import annotations

import hashlib

import numpy as np


def stable_hash(*parts: object) -> int:
    """64 bits of BLAKE2 over the parts' text. Python's own `hash` differs from process to process."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest(), "big")


def generator(*parts: object) -> np.random.Generator:
    """A random generator that depends on the parts alone."""
    return np.random.default_rng(stable_hash(*parts))
