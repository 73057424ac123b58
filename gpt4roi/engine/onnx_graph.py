"""A LLaMA-shaped language model as an ONNX graph for ONNX Runtime: few, large operators, weights int8 or float32."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from gpt4roi.engine.llama_shape import head_size

# Weights of an input row that share one scale.
BLOCK = 32
# ONNX Runtime's own operators: the fused ones of language models.
FUSED = "com.microsoft"
# What the graph is called among its weights, where both are kept.
GRAPH = "graph"


class OnnxGraph:
    """The graph, and its weights beside it.

    Inputs: `embeddings` float[B, T, D]; `last_positions` int32[B], the place of each row's last token; `length` int32, the largest of them
    and one; `positions` int64[B, T], by which keys and queries are rotated; `bias` float[1, 1, T, length], added to what attention weighs;
    `kept` int64[K], the tokens whose logits are wanted; `past_{k,v}_LAYER` float[B, kv_heads, capacity, head_size], keys already rotated.
    Outputs: `logits` float[B, K, V]; `present_{k,v}_LAYER`, meant to be the same memory as the past.

    Args:
      quantise: int8 weights, one scale for `BLOCK` of them, and int8 activations in the products; else float32.
    """

    def __init__(self, language_model: PreTrainedModel, quantise: bool) -> None:
        config = language_model.config
        self.quantise = quantise
        self.weights: dict[str, np.ndarray] = {}
        self._nodes: list[Any] = []
        self._epsilon = float(config.rms_norm_eps)
        inner: Any = language_model.model
        heads, kv_heads, size = config.num_attention_heads, config.num_key_value_heads, head_size(config)
        inputs = [
            ("embeddings", TensorProto.FLOAT, ["batch", "count", config.hidden_size]),
            ("last_positions", TensorProto.INT32, ["batch"]),
        ]
        inputs += [
            ("length", TensorProto.INT32, []),
            ("positions", TensorProto.INT64, ["batch", "count"]),
            ("bias", TensorProto.FLOAT, [1, 1, "count", "length"]),
            ("kept", TensorProto.INT64, ["kept_count"]),
        ]
        outputs = [("logits", TensorProto.FLOAT, ["batch", "kept_count", config.vocab_size])]
        self._rotations(size, float(config.rope_parameters["rope_theta"]), config.max_position_embeddings)
        # Norms are folded into the products behind them; what is left of one is a division by the length.
        self._weight("ones", torch.ones(config.hidden_size))
        residual, added = "embeddings", ""
        for index, layer in enumerate(inner.layers):
            block = ["batch", kv_heads, "capacity", size]
            inputs += [(f"past_{part}_{index}", TensorProto.FLOAT, block) for part in "kv"]
            outputs += [(f"present_{part}_{index}", TensorProto.FLOAT, block) for part in "kv"]
            attention, mlp = layer.self_attn, layer.mlp
            residual, normed = self._norm(residual, added, f"attention_{index}")
            into_attention = [attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight]
            qkv = self._product(normed, into_attention, f"qkv_{index}", layer.input_layernorm.weight)
            mixed = self._fused(
                "GroupQueryAttention",
                [qkv, "", "", f"past_k_{index}", f"past_v_{index}", "last_positions", "length", "cos", "sin",
                 "positions", "bias"],
                [f"mixed_{index}", f"present_k_{index}", f"present_v_{index}"],
                num_heads=heads, kv_num_heads=kv_heads, do_rotary=1, rotary_interleaved=0,
            )  # fmt: skip
            added = self._product(mixed, [attention.o_proj.weight], f"output_{index}")
            residual, normed = self._norm(residual, added, f"mlp_{index}")
            gate = self._product(normed, [mlp.gate_proj.weight], f"gate_{index}", layer.post_attention_layernorm.weight)
            up = self._product(normed, [mlp.up_proj.weight], f"up_{index}", layer.post_attention_layernorm.weight)
            gate = self._fused("QuickGelu", [gate], [f"silu_{index}"], alpha=1.0)
            self._nodes.append(helper.make_node("Mul", [gate, up], [f"gated_{index}"]))
            added = self._product(f"gated_{index}", [mlp.down_proj.weight], f"down_{index}")
        _, normed = self._norm(residual, added, "final")
        self._nodes.append(helper.make_node("Gather", [normed, "kept"], ["kept_rows"], axis=1))
        self._product("kept_rows", [language_model.lm_head.weight], "logits", inner.norm.weight)
        self.proto = self._serialised(inputs, outputs)

    def _rotations(self, size: int, theta: float, positions: int) -> None:
        half = size // 2
        angles = torch.arange(positions, dtype=torch.float32)[:, None] / theta ** (torch.arange(half, dtype=torch.float32) / half)
        self._weight("cos", angles.cos())
        self._weight("sin", angles.sin())

    def _weight(self, name: str, values: Tensor) -> str:
        self.weights[name] = values.contiguous().numpy()
        return name

    def _fused(self, kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> str:
        self._nodes.append(helper.make_node(kind, inputs, outputs, domain=FUSED, **attributes))
        return outputs[0]

    def _norm(self, residual: str, added: str, name: str) -> tuple[str, str]:
        """The residual with what is added to it, and that normed."""
        if not added:
            self._nodes.append(
                helper.make_node("SimplifiedLayerNormalization", [residual, "ones"], [f"{name}_normed"], epsilon=self._epsilon, axis=-1)
            )
            return residual, f"{name}_normed"
        outputs = [f"{name}_normed", "", "", f"{name}_residual"]
        self._fused("SkipSimplifiedLayerNormalization", [residual, added, "ones"], outputs, epsilon=self._epsilon)
        return outputs[3], outputs[0]

    def _product(self, x: str, weights: Sequence[Tensor], name: str, norm: Tensor | None = None) -> str:
        """`x` times the weights float[out, in] one below the other."""
        joined = torch.cat([weight.detach().float() for weight in weights])
        if norm is not None:
            joined *= norm.detach().float()
        if not self.quantise:
            self._nodes.append(helper.make_node("MatMul", [x, self._weight(f"{name}_weight", joined.T)], [name]))
            return name
        rows, width = joined.shape
        blocks = F.pad(joined, (0, -width % BLOCK)).view(rows, -1, BLOCK)
        scales = blocks.abs().amax(dim=-1).clamp(min=1e-8) / 127
        # The operator's integers are unsigned, with their zero at 128. In place: `joined` is a copy, and large.
        integers = blocks.div_(scales[..., None]).round_().add_(128).to(torch.uint8)
        inputs = [x, self._weight(f"{name}_integers", integers), self._weight(f"{name}_scales", scales)]
        # Level 4: activations are rounded to int8 too, which is what makes the product fast.
        return self._fused("MatMulNBits", inputs, [name], N=rows, K=width, bits=8, block_size=BLOCK, accuracy_level=4)

    def _serialised(self, inputs: Sequence[tuple[str, int, list[Any]]], outputs: Sequence[tuple[str, int, list[Any]]]) -> bytes:
        """The graph without its weights: those are handed over in memory, and may be larger than the 2 GiB that the format holds."""
        placeholders = []
        for name, values in self.weights.items():
            kind = helper.np_dtype_to_tensor_dtype(values.dtype)
            placeholder = TensorProto(name=name, data_type=kind, dims=values.shape, data_location=TensorProto.EXTERNAL)
            placeholder.external_data.add(key="location", value="in memory")
            placeholders.append(placeholder)
        graph = helper.make_graph(
            self._nodes,
            "llama",
            [helper.make_tensor_value_info(*one) for one in inputs],
            [helper.make_tensor_value_info(*one) for one in outputs],
            placeholders,
        )
        imports = [helper.make_opsetid("", 18), helper.make_opsetid(FUSED, 1)]
        return helper.make_model(graph, opset_imports=imports, ir_version=10).SerializeToString()


def graph_and_weights(language_model: PreTrainedModel, quantise: bool, folder: Path | None) -> tuple[bytes, dict[str, np.ndarray]]:
    """The graph and its weights by name; with a `folder` they are made once, and mapped from a file there ever after.

    Making them reads every weight of the model and takes longer than all else that a start does.
    """
    if folder is None:
        graph = OnnxGraph(language_model, quantise)
        return graph.proto, graph.weights
    # Another version of this file makes another graph.
    version = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    path = folder / f"onnx-{'int8' if quantise else 'float32'}-{version}.safetensors"
    with contextlib.suppress(OSError, SafetensorError, KeyError):
        kept = {name: values.numpy() for name, values in load_file(path).items()}
        return kept.pop(GRAPH).tobytes(), kept
    graph = OnnxGraph(language_model, quantise)
    tensors = {GRAPH: torch.frombuffer(bytearray(graph.proto), dtype=torch.uint8)}
    tensors |= {name: torch.from_numpy(values) for name, values in graph.weights.items()}
    with contextlib.suppress(OSError, SafetensorError), tempfile.TemporaryDirectory(dir=folder, prefix=".onnx-") as scratch:
        save_file(tensors, Path(scratch) / path.name)
        for old in folder.glob(f"{path.name.rsplit('-', 1)[0]}-*"):
            old.unlink()
        os.replace(Path(scratch) / path.name, path)
    return graph.proto, graph.weights
