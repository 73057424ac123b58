"""A LLaMA-shaped language model on CUDA: a step of all answers is one captured graph over preallocated keys and values.

Launching a step's thousand small kernels from Python takes longer than they run; a CUDA graph launches them at once. It wants every tensor
where it was, so positions are data, and attention looks at all the room there is and masks what is not filled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from gpt4roi.engine.branches import pack
from gpt4roi.engine.llama_shape import head_size
from gpt4roi.engine.llama_state import LlamaState, StateBatch


class CudaDecoder:
    """See the module. On a CPU it computes the same without a graph, which is how it is tested.

    Args:
      language_model: a `LlamaForCausalLM` on one device; its weights are used as they are, in their precision.
    """

    def __init__(self, language_model: PreTrainedModel) -> None:
        config = language_model.config
        self.name = "CUDA graph" if language_model.device.type == "cuda" else "static"
        self._model: Any = language_model
        self._heads: int = config.num_attention_heads
        self._kv_heads: int = config.num_key_value_heads
        self._head_size = head_size(config)
        self._batch = StateBatch()
        # By the number of answers; valid as long as the batch's block is where it was.
        self._graphs: dict[int, tuple[Any, Tensor, Tensor, Tensor]] = {}
        self._captured_block: Tensor | None = None

    def new_state(self, capacity: int) -> LlamaState:
        shape = (len(self._model.model.layers), 2, self._kv_heads, capacity, self._head_size)
        return LlamaState(torch.empty(shape, dtype=self._model.dtype, device=self._model.device))

    def prefill(self, embeddings: Tensor, state: LlamaState) -> Tensor:
        """float[T, D] after what the state holds; returns the logits float32[V] after the last."""
        start, end = state.length, state.length + embeddings.shape[0]
        state.reserve(end)
        positions = torch.arange(start, end, device=embeddings.device)[None]
        logits = self._forward(embeddings[None].to(self._model.dtype), positions, state.block[:, :, None, :, :end])
        state.length = end
        return logits[0, 0]

    def branch(self, branches: Sequence[Tensor], state: LlamaState) -> Sequence[Tensor]:
        """Continuations float[L, D] of what the state holds, none of which sees another; returns logits float32[L, V] for each."""
        counts = [len(branch) for branch in branches]
        positions, sees = pack(counts, state.length)
        # Their keys and values lie behind what is filled, where the next token overwrites them.
        end = state.length + sum(counts)
        state.reserve(end)
        device = self._model.device
        x = torch.cat(list(branches))[None].to(self._model.dtype)
        places = torch.arange(state.length, end, device=device)[None]
        branched = places, sees[None].to(device)
        return self._forward(x, positions[None].to(device), state.block[:, :, None, :, :end], branched)[0].split(counts)

    def step(self, token_ids: Sequence[int], states: Sequence[LlamaState]) -> Tensor:
        """One token for each state; returns logits float32[B, V]."""
        for state in states:
            state.reserve(state.length + 1)
        rows = self._batch.place(states)
        order = sorted(range(len(states)), key=rows.__getitem__)
        ids = torch.tensor([token_ids[i] for i in order])
        logits = self._step_rows(ids, torch.tensor([states[i].length for i in order]))[rows]
        self._batch.give_back(states)
        for state in states:
            state.length += 1
        return logits

    def _step_rows(self, ids: Tensor, positions: Tensor) -> Tensor:
        """int64[B] each, of the batch's first rows; float32[B, V]."""
        block, device = self._batch.block, self._model.device
        if device.type != "cuda":
            return self._forward(self._model.get_input_embeddings()(ids[:, None]), positions[:, None], block[:, :, : len(ids)])[:, 0]
        if self._captured_block is not block:
            self._graphs.clear()
            self._captured_block = block
        if len(ids) not in self._graphs:
            self._graphs[len(ids)] = self._captured(ids.to(device), positions.to(device), block[:, :, : len(ids)])
        graph, own_ids, own_positions, logits = self._graphs[len(ids)]
        own_ids.copy_(ids)
        own_positions.copy_(positions)
        graph.replay()
        return logits

    def _captured(self, ids: Tensor, positions: Tensor, block: Tensor) -> tuple[Any, Tensor, Tensor, Tensor]:
        """A graph of one step, the tensors that it reads, and the one that it writes."""

        def work() -> Tensor:
            return self._forward(self._model.get_input_embeddings()(ids[:, None]), positions[:, None], block)[:, 0]

        # Libraries set themselves up in their first calls, which a graph must not record; running a step twice writes the same values twice.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                work()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            logits = work()
        return graph, ids, positions, logits

    def _forward(self, x: Tensor, positions: Tensor, block: Tensor, branched: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Embeddings [B, T, D] at positions int64[B, T]; keys and values [layers, 2, B, kv_heads, capacity, head_size] are written in place.

        Returns logits float32[B, 1, V] after the last; with `branched`, the places int64[B, T] of the keys and what each position sees,
        bool[B, T, capacity], float32[B, T, V] after each.
        """
        inner = self._model.model
        grouped = self._heads != self._kv_heads
        batch, count, _ = x.shape
        # Each position sees what is before it, and itself.
        places, sees = branched or (positions, torch.arange(block.shape[4], device=x.device) <= positions[..., None])
        rows = torch.arange(batch, device=x.device)[:, None]
        cos, sin = (part[:, :, None] for part in inner.rotary_emb(x, positions))
        for layer, (kept_keys, kept_values) in zip(inner.layers, block, strict=True):
            attention = layer.self_attn
            normed = layer.input_layernorm(x)
            queries = attention.q_proj(normed).view(batch, count, self._heads, self._head_size)
            keys = attention.k_proj(normed).view(batch, count, self._kv_heads, self._head_size)
            kept_keys[rows, :, places] = _rotated(keys, cos, sin)
            kept_values[rows, :, places] = attention.v_proj(normed).view(keys.shape)
            queries = _rotated(queries, cos, sin).transpose(1, 2)
            mixed = F.scaled_dot_product_attention(queries, kept_keys, kept_values, attn_mask=sees[:, None], enable_gqa=grouped)
            x = x + attention.o_proj(mixed.transpose(1, 2).reshape(batch, count, -1))
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        return self._model.lm_head(inner.norm(x if branched else x[:, -1:])).float()


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions: [B, T, heads, head_size] with [B, T, 1, head_size]."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin
