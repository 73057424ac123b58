"""What the engine asks of a language model: run embeddings into a state, and step many states by one token each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel


class State(Protocol):
    """Keys and values of one sequence."""

    @property
    def length(self) -> int: ...

    @property
    def size_bytes(self) -> int: ...

    def fork(self, length: int, capacity: int) -> State:
        """A state of its own with the first `length` positions, with room for `capacity`."""

    def trim(self) -> None:
        """Give back room that is not needed any more."""


class Decoder(Protocol):
    """A language model that can run embeddings into a state, and step many states by one token each.

    `name` says what it is, for logs and benchmarks.
    """

    name: str

    def new_state(self, capacity: int) -> Any: ...

    def prefill(self, embeddings: Tensor, state: Any) -> Tensor:
        """float[T, D] after what the state holds; returns the logits float[V] after the last."""

    def step(self, token_ids: Sequence[int], states: Sequence[Any]) -> Tensor:
        """One token for each state; returns logits float[B, V]."""


class TransformersState:
    """A DynamicCache as a State."""

    def __init__(self, cache: DynamicCache) -> None:
        self.cache = cache

    @property
    def length(self) -> int:
        return int(self.cache.get_seq_length())

    @property
    def size_bytes(self) -> int:
        return sum(keys.nbytes + values.nbytes for keys, values in self._tensors())

    def _tensors(self) -> list[tuple[Tensor, Tensor]]:
        """float[1, heads, length, size] keys and values of every layer that holds any."""
        layers: list[Any] = self.cache.layers
        return [(layer.keys, layer.values) for layer in layers if layer.is_initialized]

    def fork(self, length: int, capacity: int) -> TransformersState:
        copy = DynamicCache()
        for index, (keys, values) in enumerate(self._tensors()):
            copy.update(keys[:, :, :length].clone(), values[:, :, :length].clone(), index)
        return TransformersState(copy)

    def trim(self) -> None:
        """A DynamicCache has no room to spare."""


class TransformersDecoder:
    """Any causal language model of transformers, on any device; sequences are stepped one after the other."""

    name = "transformers"

    def __init__(self, language_model: PreTrainedModel) -> None:
        self.language_model = language_model

    def new_state(self, capacity: int) -> TransformersState:
        return TransformersState(DynamicCache())

    def prefill(self, embeddings: Tensor, state: TransformersState) -> Tensor:
        output = self.language_model(inputs_embeds=embeddings[None], past_key_values=state.cache, use_cache=True, logits_to_keep=1)
        return output.logits[0, -1].float()

    def step(self, token_ids: Sequence[int], states: Sequence[TransformersState]) -> Tensor:
        rows = []
        for token, state in zip(token_ids, states, strict=True):
            ids = torch.tensor([[token]], device=self.language_model.device)
            output = self.language_model(input_ids=ids, past_key_values=state.cache, use_cache=True)
            rows.append(output.logits[0, -1].float())
        return torch.stack(rows)
