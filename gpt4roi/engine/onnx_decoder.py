"""A LLaMA-shaped language model on CPU through ONNX Runtime, without what makes plain `generate` slow there.

Plain `generate` spends most of a token outside of the matrix products and reads float32 weights. ONNX Runtime runs the whole step as few
large operators (`onnx_graph`) and reads int8 weights; the graph is made from the model's own weights when it is loaded, nothing is compiled.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from gpt4roi.engine.branches import pack
from gpt4roi.engine.llama_shape import head_size
from gpt4roi.engine.llama_state import LlamaState, StateBatch
from gpt4roi.engine.onnx_graph import graph_and_weights
from gpt4roi.images import return_memory

PRECISIONS = ("float32", "int8")


def quiet_onnxruntime() -> Any:
    """ONNX Runtime, which reports its use to its maker (from 1.29 on also on Linux) unless it is told not to before it is imported."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    # Somebody else may have imported it before.
    onnxruntime.disable_telemetry_events()
    return onnxruntime


class OnnxDecoder:
    """See the module.

    Args:
      language_model: a `LlamaForCausalLM` on CPU; its weights are copied.
      precision: `float32` (exact), or `int8` (weights and, within products, activations).
      folder: where the copy is kept for the next start, and shared by processes; None keeps it in memory alone.
    """

    def __init__(self, language_model: PreTrainedModel, precision: str = "int8", folder: Path | None = None) -> None:
        onnxruntime = quiet_onnxruntime()
        config = language_model.config
        self.name = f"ONNX Runtime {precision}"
        self._layers: int = config.num_hidden_layers
        self._kv_heads: int = config.num_key_value_heads
        self._head_size: int = head_size(config)
        self._vocabulary_size: int = config.vocab_size
        embeddings: Any = language_model.get_input_embeddings()
        self._embedding: Tensor = embeddings.weight.detach()
        graph, weights = graph_and_weights(language_model, precision == "int8", folder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        # ONNX Runtime reads them where they are, so they must stay.
        self._weights = {name: onnxruntime.OrtValue.ortvalue_from_numpy(values) for name, values in weights.items()}
        options.add_external_initializers(list(self._weights), list(self._weights.values()))
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        # To lay the weights out as its products want them took a second copy.
        return_memory()
        self._batch = StateBatch()

    def new_state(self, capacity: int) -> LlamaState:
        return LlamaState(torch.empty(self._layers, 2, self._kv_heads, capacity, self._head_size))

    def prefill(self, embeddings: Tensor, state: LlamaState) -> Tensor:
        """float[T, D] after what the state holds; returns the logits float32[V] after the last."""
        end = state.length + embeddings.shape[0]
        state.reserve(end)
        logits = self._run(embeddings[None], state.block[:, :, None], [end])
        state.length = end
        return logits[0, 0]

    def step(self, token_ids: Sequence[int], states: Sequence[LlamaState]) -> Tensor:
        """One token for each state; returns logits float32[B, V]."""
        lengths = [state.length + 1 for state in states]
        for state, length in zip(states, lengths, strict=True):
            state.reserve(length)
        ids = torch.tensor(token_ids)
        if len(states) == 1:
            logits = self._run(self._embedding[ids][:, None], states[0].block[:, :, None], lengths)
        else:
            rows = self._batch.place(states)
            order = sorted(range(len(states)), key=rows.__getitem__)
            logits = self._run(self._embedding[ids[order]][:, None], self._batch.block[:, :, : len(states)], [lengths[i] for i in order])
            logits = logits[rows]
            self._batch.give_back(states)
        for state, length in zip(states, lengths, strict=True):
            state.length = length
        return logits[:, 0]

    def branch(self, branches: Sequence[Tensor], state: LlamaState) -> Sequence[Tensor]:
        """Continuations float[L, D] of what the state holds, none of which sees another; returns logits float32[L, V] for each."""
        counts = [len(branch) for branch in branches]
        positions, sees = pack(counts, state.length)
        # Their keys and values lie behind what is filled, where the next token overwrites them.
        end = state.length + sum(counts)
        state.reserve(end)
        bias = torch.zeros(sees.shape).masked_fill_(~sees, torch.finfo(torch.float32).min)
        return self._run(torch.cat(list(branches))[None], state.block[:, :, None], [end], (positions[None], bias))[0].split(counts)

    def _run(self, embeddings: Tensor, block: Tensor, lengths: Sequence[int], branched: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Embeddings [B, T, D] at the ends of B sequences, whose keys and values [layers, 2, B, kv_heads, capacity, head_size] are written in
        place. `lengths`: positions filled afterwards.

        Returns logits float32[B, 1, V] after the last token; with `branched`, positions int64[B, T] and bias float32[T, length], float32[B, T,
        V] after each.
        """
        embeddings = embeddings.float().contiguous()
        count = embeddings.shape[1]
        if branched is None:
            positions, bias = torch.tensor(lengths)[:, None] - count + torch.arange(count), torch.zeros(count, max(lengths))
            kept = np.array([count - 1])
        else:
            (positions, bias), kept = branched, np.arange(count)
        logits = torch.empty(len(lengths), len(kept), self._vocabulary_size)
        binding = self._session.io_binding()
        binding.bind_input("embeddings", "cpu", 0, np.float32, tuple(embeddings.shape), embeddings.data_ptr())
        # Held by name until the run is over: a binding refers to memory, it does not own it.
        last_positions, length = np.array(lengths, dtype=np.int32) - 1, np.array(max(lengths), dtype=np.int32)
        binding.bind_cpu_input("last_positions", last_positions)
        binding.bind_cpu_input("length", length)
        binding.bind_cpu_input("positions", positions.numpy())
        binding.bind_cpu_input("bias", bias[None, None].numpy())
        binding.bind_cpu_input("kept", kept)
        shape = tuple(block.shape[2:])
        for layer in range(self._layers):
            for index, part in enumerate("kv"):
                address = block[layer, index].data_ptr()
                binding.bind_input(f"past_{part}_{layer}", "cpu", 0, np.float32, shape, address)
                binding.bind_output(f"present_{part}_{layer}", "cpu", 0, np.float32, shape, address)
        binding.bind_output("logits", "cpu", 0, np.float32, tuple(logits.shape), logits.data_ptr())
        self._session.run_with_iobinding(binding)
        return logits
