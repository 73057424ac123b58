"""A LLaMA-shaped language model on CPU without what makes plain `generate` slow there.

Plain `generate` spends most of a token outside of the matrix products and reads float32 weights. Here projections that share their
input are one product, norms are folded into them, keys and values lie in one preallocated block, and a step reads int8 weights (one
scale a row) through PyTorch's own kernel: nothing to compile, nothing to install. Prefill, which is bound by arithmetic and not by
reading weights, uses dense weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

# Layer index and queries, keys and values [N, heads + 2 kv_heads, head_size] to the mixed values [..., head_size].
Attend = Callable[[int, Tensor], Tensor]
PRECISIONS = ("float32", "bfloat16", "int8")
# PyTorch's int8 kernel is made for few rows; from here on the dense product is faster.
MAX_INT8_ROWS = 16


class LlamaState:
    """Keys and values of one sequence: one block [layers, 2, kv_heads, capacity, head_size], of which `length` positions are filled."""

    def __init__(self, block: Tensor, length: int = 0) -> None:
        self.block = block
        self.length = length

    @property
    def size_bytes(self) -> int:
        return self.block.nbytes

    def fork(self, length: int, capacity: int) -> LlamaState:
        layers, two, heads, _, size = self.block.shape
        block = self.block.new_empty(layers, two, heads, max(capacity, length), size)
        block[:, :, :, :length] = self.block[:, :, :, :length]
        return LlamaState(block, length)

    def trim(self) -> None:
        """Give back the room that was not needed."""
        if self.block.shape[3] > self.length:
            self.block = self.block[:, :, :, : self.length].clone()


class Projection:
    """One linear map, dense for many rows and int8 for few."""

    def __init__(self, weight: Tensor, dtype: torch.dtype, quantised: bool) -> None:
        """`weight`: float32[out, in]."""
        self.dense = weight.to(dtype)
        self.rows: Tensor | None = None
        self.scales: Tensor | None = None
        if quantised:
            scales = weight.abs().amax(dim=1).clamp(min=1e-8) / 127
            # Rounded as the kernel will read them, so that the integers fit the scales that are used.
            self.scales = scales.bfloat16()
            self.rows = torch.round(weight / self.scales.float()[:, None]).clamp(-128, 127).to(torch.int8)

    def __call__(self, x: Tensor, dense: bool = False) -> Tensor:
        """[N, in] to [N, out]; `dense`: not from the int8 weights, however few the rows."""
        if self.rows is not None and x.shape[0] <= MAX_INT8_ROWS and not dense:
            # The kernel is fast for bfloat16 alone; float32 takes ten times as long.
            return torch.ops.aten._weight_int8pack_mm(x.bfloat16(), self.rows, self.scales).to(x.dtype)
        return F.linear(x.to(self.dense.dtype), self.dense).to(x.dtype)

    @property
    def size_bytes(self) -> int:
        return self.dense.nbytes + (self.rows.nbytes if self.rows is not None else 0)


@dataclass
class _Layer:
    qkv: Projection
    output: Projection
    gate_up: Projection
    down: Projection


def is_supported(language_model: PreTrainedModel) -> bool:
    """Whether the architecture is exactly what is computed here."""
    config = language_model.config
    rope = getattr(config, "rope_parameters", None) or {}
    return (
        config.model_type == "llama"
        and config.hidden_act == "silu"
        and not config.attention_bias
        and not config.mlp_bias
        and rope.get("rope_type", "default") == "default"
        # Quantised weights are integers in a library's own layout, and spread ones may lie on disk: neither can be copied as rows of numbers.
        and all(parameter.is_floating_point() and not parameter.is_meta for parameter in language_model.parameters())
    )


def is_bfloat16_fast() -> bool:
    """Whether this CPU multiplies bfloat16 matrices faster than float32 ones; without its own instructions it is many times slower."""

    def best_s(dtype: torch.dtype) -> float:
        x, weight = torch.ones(128, 512, dtype=dtype), torch.ones(1024, 512, dtype=dtype)
        taken = []
        for _ in range(6):
            start = time.perf_counter()
            F.linear(x, weight)
            taken.append(time.perf_counter() - start)
        return min(taken)

    return best_s(torch.bfloat16) < best_s(torch.float32)


class LlamaDecoder:
    """See the module.

    Args:
      language_model: a `LlamaForCausalLM` on CPU; its weights are copied.
      precision: `float32` (exact), `bfloat16`, or `int8` (int8 weights and bfloat16 activations in steps).
      prefill_dtype: of the dense products of `int8`; None is bfloat16 where this CPU multiplies it faster than float32.
    """

    def __init__(self, language_model: PreTrainedModel, precision: str = "int8", prefill_dtype: torch.dtype | None = None) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision is one of {', '.join(PRECISIONS)}; got '{precision}'")
        config = language_model.config
        self.name = f"lean {precision}"
        self.dtype = torch.float32 if precision == "float32" else torch.bfloat16
        self.heads: int = config.num_attention_heads
        self.kv_heads: int = config.num_key_value_heads
        self.head_size: int = config.head_dim or config.hidden_size // self.heads
        self.eps: float = config.rms_norm_eps
        quantised = precision == "int8"
        self.prefill_dtype = self.dtype
        if quantised:
            self.prefill_dtype = prefill_dtype or (torch.bfloat16 if is_bfloat16_fast() else torch.float32)

        def projection(weights: Sequence[Tensor], norm: Tensor | None = None) -> Projection:
            joined = torch.cat([weight.detach().float() for weight in weights])
            if norm is not None:
                joined = joined * norm.detach().float()
            return Projection(joined, self.prefill_dtype, quantised)

        inner: Any = language_model.model
        self.layers = [
            _Layer(
                projection(
                    [layer.self_attn.q_proj.weight, layer.self_attn.k_proj.weight, layer.self_attn.v_proj.weight],
                    layer.input_layernorm.weight,
                ),
                projection([layer.self_attn.o_proj.weight]),
                projection([layer.mlp.gate_proj.weight, layer.mlp.up_proj.weight], layer.post_attention_layernorm.weight),
                projection([layer.mlp.down_proj.weight]),
            )
            for layer in inner.layers
        ]
        self.head = projection([language_model.lm_head.weight], inner.norm.weight)
        embeddings: Any = language_model.get_input_embeddings()
        self.embedding: Tensor = embeddings.weight.detach()
        half = self.head_size // 2
        theta = float(config.rope_parameters["rope_theta"])
        self._frequencies = 1.0 / theta ** (torch.arange(half, dtype=torch.float32) / half)
        self._cos, self._sin = self._rotations(2048)

    def _rotations(self, count: int) -> tuple[Tensor, Tensor]:
        """float32[count, 1, head_size] each; the sine carries the sign of rotate-half."""
        angles = torch.arange(count, dtype=torch.float32)[:, None] * self._frequencies
        cos, sin = angles.cos(), angles.sin()
        return torch.cat([cos, cos], 1)[:, None], torch.cat([-sin, sin], 1)[:, None]

    def _rotation_rows(self, end: int) -> None:
        if end > self._cos.shape[0]:
            self._cos, self._sin = self._rotations(max(end, 2 * self._cos.shape[0]))

    def new_state(self, capacity: int) -> LlamaState:
        return LlamaState(torch.empty(len(self.layers), 2, self.kv_heads, capacity, self.head_size, dtype=self.dtype))

    def prefill(self, embeddings: Tensor, state: LlamaState) -> Tensor:
        """float[T, D] after what the state holds; returns the logits float32[V] after the last."""
        count, start = embeddings.shape[0], state.length
        end = start + count
        if end > state.block.shape[3]:
            state.block = state.fork(start, end).block
        self._rotation_rows(end)
        cos, sin = self._cos[start:end], self._sin[start:end]
        mask = None
        if start and count > 1:
            # `is_causal` would align the triangle with the first key, not with the last.
            mask = torch.ones(count, end, dtype=torch.bool).tril(diagonal=start)
        groups = self.heads // self.kv_heads

        def attend(layer: int, qkv: Tensor) -> Tensor:
            state.block[layer, :, :, start:end] = qkv[:, self.heads :].view(count, 2, self.kv_heads, self.head_size).permute(1, 2, 0, 3)
            keys, values = state.block[layer, :, :, :end].repeat_interleave(groups, dim=1)[:, None].to(qkv.dtype)
            queries = qkv[:, : self.heads].transpose(0, 1)[None]
            mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, is_causal=mask is None and count > 1)
            return mixed[0].transpose(0, 1)

        # Dense however few the rows: a question whose beginning was kept must be answered as one that was computed whole.
        x = self._layers(embeddings.to(self.prefill_dtype), cos, sin, attend, dense=True)
        state.length = end
        return self._logits(x[-1:], dense=True)[0]

    def step(self, token_ids: Sequence[int], states: Sequence[LlamaState]) -> Tensor:
        """One token for each state; returns logits float32[B, V]."""
        for state in states:
            if state.length + 1 > state.block.shape[3]:
                state.block = state.fork(state.length, 2 * state.length + 1).block
        positions = [state.length for state in states]
        self._rotation_rows(max(positions) + 1)
        if len(states) == 1:
            cos, sin = self._cos[positions[0] : positions[0] + 1], self._sin[positions[0] : positions[0] + 1]
        else:
            rows = torch.tensor(positions)
            cos, sin = self._cos[rows], self._sin[rows]
        groups = self.heads // self.kv_heads
        blocks = [state.block for state in states]

        def attend(layer: int, qkv: Tensor) -> Tensor:
            mixed = []
            for row, (block, position) in enumerate(zip(blocks, positions, strict=True)):
                kept = block[layer]
                kept[:, :, position] = qkv[row, self.heads :].view(2, self.kv_heads, self.head_size)
                # The queries of one group look at the same keys: they go as so many rows of one head, and need no mask.
                queries = qkv[row, : self.heads].view(1, self.kv_heads, groups, self.head_size)
                mixed.append(F.scaled_dot_product_attention(queries, kept[:1, :, : position + 1], kept[1:, :, : position + 1]))
            joined = mixed[0] if len(mixed) == 1 else torch.cat(mixed)
            return joined

        x = self.embedding[torch.tensor(list(token_ids))].to(self.dtype)
        x = self._layers(x, cos, sin, attend)
        for state in states:
            state.length += 1
        return self._logits(x)

    def _layers(self, x: Tensor, cos: Tensor, sin: Tensor, attend: Attend, dense: bool = False) -> Tensor:
        count, width = x.shape
        cos, sin = cos.to(x.dtype), sin.to(x.dtype)
        rotated_heads, half = self.heads + self.kv_heads, self.head_size // 2
        intermediate = self.layers[0].down.dense.shape[1]
        for index, layer in enumerate(self.layers):
            qkv = layer.qkv(F.rms_norm(x, (width,), None, self.eps), dense).view(count, -1, self.head_size)
            turning = qkv[:, :rotated_heads]
            swapped = turning.view(count, rotated_heads, 2, half).flip(2).view(count, rotated_heads, self.head_size)
            turning.mul_(cos).addcmul_(swapped, sin)
            x = x + layer.output(attend(index, qkv).reshape(count, -1), dense)
            gate_up = layer.gate_up(F.rms_norm(x, (width,), None, self.eps), dense)
            x = x + layer.down(F.silu(gate_up[:, :intermediate]) * gate_up[:, intermediate:], dense)
        return x

    def _logits(self, x: Tensor, dense: bool = False) -> Tensor:
        return self.head(F.rms_norm(x, (x.shape[1],), None, self.eps), dense).float()

    @property
    def size_bytes(self) -> int:
        layers = sum(p.size_bytes for layer in self.layers for p in (layer.qkv, layer.output, layer.gate_up, layer.down))
        return layers + self.head.size_bytes
