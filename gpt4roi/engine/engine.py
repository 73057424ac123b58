"""One model, many conversations: prompts in, tokens out."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from gpt4roi.engine.prompt import Prompt
from gpt4roi.models import GPT4RoIForConditionalGeneration, GPT4RoIProcessor


class Generation:
    """An answer being written: iterate for its token ids; `cancel` ends it at the next token. `timings` grow as it goes."""

    def __init__(self, engine: Engine, prompt: Prompt, max_new_tokens: int) -> None:
        self._engine, self._prompt, self._limit = engine, prompt, max_new_tokens
        self._cancelled = threading.Event()
        self.finish_reason: str | None = None
        self.timings: dict[str, float] = {}

    def cancel(self) -> None:
        self._cancelled.set()

    def __iter__(self) -> Iterator[int]:
        with self._engine.lock:
            start = time.perf_counter()
            count = 0
            for token in self._engine.tokens(self._prompt, self.timings):
                if self._cancelled.is_set():
                    self.finish_reason = "cancelled"
                    break
                if token in self._engine.end_ids:
                    self.finish_reason = "stop"
                    break
                if count == 0:
                    self.timings["first_token_s"] = time.perf_counter() - start
                count += 1
                self.timings["new_tokens"] = count
                yield token
                if count >= self._limit:
                    self.finish_reason = "length"
                    break
            self.timings["total_s"] = time.perf_counter() - start


class Engine:
    """Prompts to tokens with one model.

    Args:
      model, processor: a pair that belongs together; the model is put into inference mode.
    """

    def __init__(self, model: GPT4RoIForConditionalGeneration, processor: GPT4RoIProcessor) -> None:
        self.model = model.eval()
        self.processor = processor
        self.end_ids = end_token_ids(model, processor)
        # Turns of a separated style end in text, not in a token.
        self.stop_strings = [processor.style.separator] if processor.style.separator else []
        self.lock = threading.Lock()

    def submit(self, prompt: Prompt, max_new_tokens: int = 256) -> Generation:
        return Generation(self, prompt, max_new_tokens)

    def tokens(self, prompt: Prompt, timings: dict[str, float]) -> Iterator[int]:
        start = time.perf_counter()
        with torch.inference_mode():
            embeddings = self._embed(prompt)
            timings["vision_s"] = time.perf_counter() - start if prompt.picture else 0.0
            timings["prompt_tokens"] = len(prompt.input_ids)
            cache = DynamicCache()
            logits = self._forward(embeddings, cache)
        while True:
            token = int(logits.argmax())
            yield token
            with torch.inference_mode():
                ids = torch.tensor([[token]], device=self.model.device)
                logits = self._forward(self.model.get_input_embeddings()(ids), cache)

    def _embed(self, prompt: Prompt) -> Tensor:
        ids = torch.tensor([prompt.input_ids], device=self.model.device)
        if prompt.picture is None:
            return self.model.embed(ids)
        features = self.model.get_picture_features(prompt.picture.pixel_values[None].to(self.model.device))
        boxes = torch.tensor(prompt.region_boxes, dtype=torch.float32).reshape(-1, 4)
        return self.model.embed(ids, features.image_features, self.model.get_region_features(features, [boxes]))

    def _forward(self, embeddings: Tensor, cache: Any) -> Tensor:
        output = self.model.language_model(inputs_embeds=embeddings, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return output.logits[0, -1]


def end_token_ids(model: GPT4RoIForConditionalGeneration, processor: GPT4RoIProcessor) -> frozenset[int]:
    """Tokens that end an answer, from wherever this model names them."""
    found: set[int] = set()
    for source in (processor.tokenizer.eos_token_id, model.language_model.config.eos_token_id, model.generation_config.eos_token_id):
        found |= {int(i) for i in (source if isinstance(source, (list, tuple)) else [source]) if i is not None}
    return frozenset(found)
