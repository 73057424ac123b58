"""The region encoder against outputs of the reference implementation on random weights (data/README.md says where they come from)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.ops import roi_align

from gpt4roi.models.configuration_gpt4roi import GPT4RoIRegionConfig
from gpt4roi.models.region_encoder import RegionEncoder
from gpt4roi.models.released_keys import region_name, region_names

DATA = Path(__file__).parent / "data" / "region_encoder_tiny.pt"
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    return torch.load(DATA, weights_only=True)


@pytest.fixture(scope="module")
def encoder(reference: dict[str, Any]) -> RegionEncoder:
    weights = {region_name(name): tensor.float() for name, tensor in reference["state_dict"].items()}
    output_size, hidden = weights["output_linear.weight"].shape
    config = GPT4RoIRegionConfig(channels=64, box_hidden_size=24, hidden_size=hidden)
    encoder = RegionEncoder(config, [64] * 4, output_size).eval()
    encoder.load_state_dict(weights)
    return encoder


@pytest.fixture(scope="module")
def levels(reference: dict[str, Any]) -> list[Tensor]:
    """Tokens [2, 256, 64] of hidden states 14, 17, 20, 23 as maps on their 16 x 16 grid."""
    return [tokens.float().transpose(1, 2).reshape(2, 64, 16, 16) for tokens in reference["feats"]]


@pytest.fixture(scope="module")
def maps(encoder: RegionEncoder, levels: list[Tensor]) -> list[Tensor]:
    with torch.no_grad():
        return encoder.fuse_levels(levels)


def difference(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max()) if ours.numel() else 0.0


def test_every_released_tensor_of_the_module_has_a_name_of_ours(reference: dict[str, Any], encoder: RegionEncoder) -> None:
    assert sorted(reference["state_dict"]) == sorted(region_names())
    assert sorted(filter(None, map(region_name, region_names()))) == sorted(encoder.state_dict())


@pytest.mark.parametrize("case", ["two_images", "one_empty_image", "degenerate_and_outside", "all_empty"])
def test_outputs(reference: dict[str, Any], encoder: RegionEncoder, maps: list[Tensor], case: str) -> None:
    boxes, expected = reference["cases"][case]["boxes"], reference["cases"][case]["out"]
    with torch.no_grad():
        features = encoder.pool_regions(maps, boxes)
    assert difference(features, torch.cat(expected)) < TOLERANCE


def test_fused_pyramid(reference: dict[str, Any], encoder: RegionEncoder, levels: list[Tensor], maps: list[Tensor]) -> None:
    inter = reference["cases"]["two_images"]["inter"]
    captured: dict[str, Tensor] = {}
    hooks = [
        conv.register_forward_hook(lambda _module, _inputs, output, name=f"input_conv{level}": captured.update({name: output}))
        for level, conv in enumerate(encoder.input_convs)
    ]
    with torch.no_grad():
        encoder.fuse_levels(levels)
    for hook in hooks:
        hook.remove()
    for level, fused in enumerate(maps):
        step = fused.shape[-1] // 8  # the reference kept every fourth channel on an 8 x 8 grid
        assert difference(captured[f"input_conv{level}"][:, ::4, ::step, ::step], inter[f"input_conv{level}"]) < TOLERANCE
        assert difference(fused[:, ::4, ::step, ::step], inter[f"fused{level}"]) < TOLERANCE


@pytest.mark.parametrize("case", ["two_images", "one_empty_image", "degenerate_and_outside"])
def test_crops_box_embedding_and_flattened_feature(
    reference: dict[str, Any], encoder: RegionEncoder, maps: list[Tensor], case: str
) -> None:
    boxes, inter = reference["cases"][case]["boxes"], reference["cases"][case]["inter"]
    captured: dict[str, Tensor] = {}
    hooks = [
        encoder.flatten_linear.register_forward_hook(lambda _m, _i, output: captured.update(flatten_linear_out=output)),
        encoder.box_embedding.register_forward_hook(lambda _m, _i, output: captured.update(pos_embedd=output)),
        *(
            conv.register_forward_pre_hook(lambda _m, inputs, name=f"roi{level}": captured.update({name: inputs[0][:, ::32]}))
            for level, conv in enumerate(encoder.roi_convs)
        ),
    ]
    with torch.no_grad():
        encoder.pool_regions(maps, boxes)
    for hook in hooks:
        hook.remove()
    for name, expected in inter.items():
        if not name.startswith(("input_conv", "fused")):
            torch.testing.assert_close(captured[name], expected, rtol=TOLERANCE, atol=TOLERANCE, msg=name)


def test_one_image_at_a_time_is_the_same(reference: dict[str, Any], encoder: RegionEncoder, maps: list[Tensor]) -> None:
    boxes = reference["cases"]["two_images"]["boxes"]
    with torch.no_grad():
        alone = [encoder.pool_regions([level[index : index + 1] for level in maps], [boxes[index]]) for index in range(2)]
        together = encoder.pool_regions(maps, boxes)
    assert difference(torch.cat(alone), together) < TOLERANCE


def ramp_crop(box_xyxy: tuple[float, float, float, float], bins: int) -> list[float]:
    """RoIAlign of the map f(x, y) = x + 10 y on a 5 x 5 grid: bilinear sampling of a plane is exact, so a bin's value is f at its centre.

    `aligned`: pixel centres lie at half coordinates, hence the 0.5.
    """
    x0, y0, x1, y1 = box_xyxy
    xs = [x0 + (x1 - x0) * (i + 0.5) / bins - 0.5 for i in range(bins)]
    ys = [y0 + (y1 - y0) * (i + 0.5) / bins - 0.5 for i in range(bins)]
    return [x + 10 * y for y in ys for x in xs]


@pytest.mark.parametrize("box", [(1.0, 1.0, 3.0, 3.0), (0.5, 0.5, 4.5, 4.5), (1.25, 2.0, 2.75, 4.0)])
def test_roi_align_on_a_ramp_by_hand(box: tuple[float, float, float, float]) -> None:
    y, x = torch.meshgrid(torch.arange(5.0), torch.arange(5.0), indexing="ij")
    ramp = (x + 10 * y)[None, None]
    crop = roi_align(ramp, [torch.tensor([box])], output_size=2, spatial_scale=1.0, sampling_ratio=2, aligned=True)
    assert crop.flatten().tolist() == pytest.approx(ramp_crop(box, 2), abs=1e-5)
