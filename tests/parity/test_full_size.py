"""The real sizes, on the meta device: no weights, only shapes. Counts are the reference's (docs: released key table, 368 tensors)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gpt4roi.models import GPT4RoIConfig, GPT4RoIForConditionalGeneration
from gpt4roi.models.released_config import build_config
from gpt4roi.models.released_keys import is_ignored, our_name, released_names

CLIP_L = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
    "projection_dim": 768,
}


def released(hidden: int = 4096, layers: int = 32, heads: int = 32, intermediate: int = 11008) -> GPT4RoIConfig:
    text = {"vocab_size": 32006, "hidden_size": hidden, "intermediate_size": intermediate, "num_hidden_layers": layers}
    text |= {"num_attention_heads": heads, "max_position_embeddings": 2048, "rms_norm_eps": 1e-6}
    text |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "mm_hidden_size": 1024, "mm_vision_select_layer": -2}
    shapes = {
        "model.spi_module.roi_align.pos_embedd.0.weight": (256, 4),
        "model.spi_module.roi_align.flatten_linear.weight": (1024, 200704),
    }
    return build_config(text, CLIP_L, shapes)


def on_meta(config: GPT4RoIConfig) -> GPT4RoIForConditionalGeneration:
    with torch.device("meta"):
        return GPT4RoIForConditionalGeneration(config)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module")
def model_7b() -> GPT4RoIForConditionalGeneration:
    return on_meta(released())


def test_parameters_of_the_released_7b(model_7b: GPT4RoIForConditionalGeneration) -> None:
    assert count(model_7b.region_encoder) == 299_142_912
    assert count(model_7b.multi_modal_projector) == 4_198_400
    assert count(model_7b.language_model) == 6_738_464_768
    assert model_7b.num_image_tokens == 256


def test_region_levels_are_the_released_ones(model_7b: GPT4RoIForConditionalGeneration) -> None:
    assert model_7b.config.vision_config.region_layers == [14, 17, 20, 23]
    assert model_7b.config.vision_config.feature_layer == -2


def test_the_key_map_covers_all_released_keys(model_7b: GPT4RoIForConditionalGeneration) -> None:
    loaded = released_names(32)
    rotary = [f"model.layers.{layer}.self_attn.rotary_emb.inv_freq" for layer in range(32)]
    assert len(loaded) + len(rotary) == 368
    assert len({*loaded, *rotary}) == 368
    assert all(map(is_ignored, rotary)) and not any(map(is_ignored, loaded))
    ours = [our_name(name) for name in loaded]
    expected = [name for name in model_7b.state_dict() if not name.startswith("vision_tower.")]
    assert sorted(map(str, ours)) == sorted(expected)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("model.embed_tokens.weight", (32006, 4096)),
        ("lm_head.weight", (32006, 4096)),
        ("model.layers.31.mlp.down_proj.weight", (4096, 11008)),
        ("model.mm_projector.weight", (4096, 1024)),
        ("model.spi_module.mlvl_fuse.input_conv.3.weight", (1024, 1026, 1, 1)),
        ("model.spi_module.mlvl_fuse.fuse_convs.4.gn.bias", (1024,)),
        ("model.spi_module.roi_align.pos_embedd.3.weight", (1024, 256)),
        ("model.spi_module.roi_align.flatten_linear.weight", (1024, 200704)),
        ("model.spi_module.roi_align.updims.weight", (4096, 1024)),
    ],
)
def test_released_shapes(model_7b: GPT4RoIForConditionalGeneration, name: str, shape: tuple[int, ...]) -> None:
    assert tuple(model_7b.state_dict()[str(our_name(name))].shape) == shape


@pytest.mark.parametrize("name", ["model.spi_module.roi_align.pos_embedd.1.weight", "model.layers.0.self_attn.q_proj.bias", "model.foo"])
def test_names_that_no_released_checkpoint_has(name: str) -> None:
    assert our_name(name) is None and not is_ignored(name)


def test_13b_builds() -> None:
    """The reference cannot: its widths are written into the code."""
    model = on_meta(released(hidden=5120, layers=40, heads=40, intermediate=13824))
    assert count(model.language_model) == 13_015_864_320 + 6 * 2 * 5120
    assert model.region_encoder.output_linear.out_features == 5120
