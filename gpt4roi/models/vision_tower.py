"""The vision tower: one interface over the ViTs of transformers and the convolutional backbones of timm."""

from __future__ import annotations

import inspect
from typing import Any, cast

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from gpt4roi.errors import UserError
from gpt4roi.models.configuration_gpt4roi import GPT4RoIVisionConfig


class TransformerTower(nn.Module):
    """Hidden states of one ViT: `feature_layer` for the picture, `region_layers` for the regions."""

    def __init__(self, config: GPT4RoIVisionConfig) -> None:
        super().__init__()
        if not isinstance(config.backbone, dict):
            raise UserError("vision_config.backbone of a transformer tower is one config (a dict with its model_type)")
        backbone = dict(config.backbone)
        vit_config = AutoConfig.for_model(backbone.pop("model_type"), **backbone)
        self.config = config
        self.backbone = AutoModel.from_config(vit_config)
        patch = int(vit_config.patch_size)
        if config.image_size_hw[0] % patch or config.image_size_hw[1] % patch:
            raise UserError(f"image_size_hw {config.image_size_hw} is not a multiple of the vision tower's patch size {patch}")
        # CLIP and SigLIP interpolate their positions only when asked to, DINOv2 always does.
        takes_flag = "interpolate_pos_encoding" in inspect.signature(self.backbone.forward).parameters
        is_native = list(config.image_size_hw) == [getattr(vit_config, "image_size", None)] * 2
        self.forward_options: dict[str, Any] = {"interpolate_pos_encoding": True} if takes_flag and not is_native else {}
        self.grid_hw = (config.image_size_hw[0] // patch, config.image_size_hw[1] // patch)
        self.feature_size: int = vit_config.hidden_size
        self.level_channels: list[int] = [vit_config.hidden_size] * len(config.region_layers)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, list[Tensor]]:
        hidden_states = self.backbone(pixel_values, output_hidden_states=True, **self.forward_options).hidden_states
        levels = [self._as_map(hidden_states[layer]) for layer in self.config.region_layers]
        return self._as_map(hidden_states[self.config.feature_layer]), levels

    def _as_map(self, hidden: Tensor) -> Tensor:
        patches = hidden[:, self.config.num_prefix_tokens :]
        height, width = self.grid_hw
        if patches.shape[1] != height * width:
            raise UserError(
                f"the vision tower gave {patches.shape[1]} patches where {height} x {width} were expected; check image_size_hw and num_prefix_tokens"
            )
        return patches.transpose(1, 2).reshape(hidden.shape[0], -1, height, width)


class PyramidTower(nn.Module):
    """Feature maps of one or more timm backbones, sorted finest first; the coarsest of each make the image features."""

    def __init__(self, config: GPT4RoIVisionConfig) -> None:
        super().__init__()
        if not isinstance(config.backbone, list) or not config.backbone:
            raise UserError("vision_config.backbone of a pyramid tower is a list of timm backbones")
        self.backbones = nn.ModuleList(
            timm.create_model(item["name"], pretrained=False, features_only=True, out_indices=item["out_indices"], **item.get("kwargs", {}))
            for item in config.backbone
        )
        reductions: list[int] = []
        channels: list[int] = []
        self.feature_size = 0
        for backbone in self.backbones:
            levels = cast(Any, backbone).feature_info
            reductions += levels.reduction()
            channels += levels.channels()
            self.feature_size += channels[-1]
        self.order = sorted(range(len(reductions)), key=lambda index: reductions[index])
        self.level_channels = [channels[index] for index in self.order]
        height, width = config.image_size_hw
        self.grid_hw = (-(-height // max(reductions)), -(-width // max(reductions)))
        self.train(False)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, list[Tensor]]:
        # Depthwise convolutions on CPU are several times faster with channels last.
        pixel_values = pixel_values.contiguous(memory_format=torch.channels_last)
        maps: list[Tensor] = []
        coarsest: list[Tensor] = []
        for backbone in self.backbones:
            maps += backbone(pixel_values)
            coarsest.append(maps[-1])
        smallest = min((m.shape[-2:] for m in coarsest), key=lambda hw: hw[0] * hw[1])
        picture = torch.cat(
            [m if m.shape[-2:] == smallest else F.adaptive_avg_pool2d(m, (smallest[0], smallest[1])) for m in coarsest], dim=1
        )
        return picture, [maps[index] for index in self.order]

    def train(self, mode: bool = True) -> PyramidTower:
        # Batch norms keep their pretrained statistics: our batches are a few pictures, theirs were whole data sets.
        return super().train(False)


class VisionTower(nn.Module):
    """Pictures to image features and region levels.

    `level_channels`: channels of each region level; `feature_size`: width of an image feature; `num_image_tokens`: image features a picture.
    """

    def __init__(self, config: GPT4RoIVisionConfig) -> None:
        super().__init__()
        self.config = config
        self.tower = TransformerTower(config) if config.kind == "transformer" else PyramidTower(config)
        self.level_channels = self.tower.level_channels
        self.feature_size = self.tower.feature_size
        height, width = config.image_grid_hw or self.tower.grid_hw
        self.num_image_tokens: int = height * width

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, list[Tensor]]:
        """float[B, 3, H, W] to image features float[B, num_image_tokens, feature_size] and levels float[B, C_l, h_l, w_l], finest first."""
        dtype = next(self.parameters()).dtype
        picture, levels = self.tower(pixel_values.to(dtype))
        if self.config.image_grid_hw is not None:
            height, width = self.config.image_grid_hw
            picture = F.adaptive_avg_pool2d(picture, (height, width))
        return picture.flatten(2).transpose(1, 2), levels
