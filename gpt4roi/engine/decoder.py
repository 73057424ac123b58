"""What the engine asks of a language model: run embeddings into a state, step many states by one token each, branch off from one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from gpt4roi.engine.branches import pack


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
    """A language model as the engine uses it. `name` says what it is, for logs and benchmarks."""

    name: str

    def new_state(self, capacity: int) -> Any: ...

    def prefill(self, embeddings: Tensor, state: Any) -> Tensor:
        """float[T, D] after what the state holds; returns the logits float[V] after the last."""

    def step(self, token_ids: Sequence[int], states: Sequence[Any]) -> Tensor:
        """One token for each state; returns logits float[B, V]."""

    def branch(self, branches: Sequence[Tensor], state: Any) -> Sequence[Tensor]:
        """Continuations float[L, D] of what the state holds, none of which sees another; returns logits float[L, V] for each.

        The state stays as long as it is; L is at least 1 and may differ.
        """


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

    def branch(self, branches: Sequence[Tensor], state: TransformersState) -> Sequence[Tensor]:
        if not takes_own_mask(self.language_model):
            return [self._branch([branch], state, {})[0] for branch in branches]
        positions, sees = pack([len(branch) for branch in branches], state.length)
        mask = torch.zeros(sees.shape, dtype=branches[0].dtype).masked_fill_(~sees, torch.finfo(branches[0].dtype).min)
        device = self.language_model.device
        return self._branch(branches, state, {"attention_mask": mask[None, None].to(device), "position_ids": positions[None].to(device)})

    def _branch(self, branches: Sequence[Tensor], state: TransformersState, places: dict[str, Tensor]) -> Sequence[Tensor]:
        cache = state.fork(state.length, state.length).cache
        output = self.language_model(inputs_embeds=torch.cat(list(branches))[None], past_key_values=cache, use_cache=True, **places)
        return output.logits[0].float().split([len(branch) for branch in branches])


def takes_own_mask(language_model: PreTrainedModel) -> bool:
    """Whether attention follows a mask given as a matrix, so that several branches can stand in one sequence.

    Flash attention knows causal masks only, and a matrix of ours would stand in for a sliding window.
    """
    config = language_model.config
    layer_types = getattr(config, "layer_types", None)
    is_full = all(kind == "full_attention" for kind in layer_types) if layer_types else getattr(config, "sliding_window", None) is None
    return is_full and config._attn_implementation in ("sdpa", "eager")
