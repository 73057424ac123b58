"""GPT4RoI: region features of user boxes among the text embeddings of an instruction (arXiv:2307.03601)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from gpt4roi.models.configuration_gpt4roi import GPT4RoIConfig
from gpt4roi.models.region_encoder import RegionEncoder
from gpt4roi.models.region_ensemble import Memory, region_encoder
from gpt4roi.models.vision_tower import VisionTower


class ImageFeatures(NamedTuple):
    """What depends on the image alone: keep it, and neither another box nor another turn computes it again.

    image_features: float[B, P, D] in the language model's width. maps: the region encoder's fused pyramid. levels: the vision tower's,
    float[B, C_l, h_l, w_l], finest first, for whoever looks at them otherwise.
    """

    image_features: Tensor
    maps: list[Tensor]
    levels: list[Tensor]


class GPT4RoIForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """Vision tower, region encoder, projector and language model.

    Images and boxes are ordinary arguments of `forward` and `generate`. The processor writes one placeholder per image feature and
    per region feature; this class puts the features into them in order and refuses, with both numbers, when the counts differ.
    """

    config_class = GPT4RoIConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flash_attn_2 = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    _skip_keys_device_placement = ["past_key_values"]
    # Set by `embedded.load`: the shipped detector and recogniser answer for this model. A model that was trained further speaks for itself.
    is_embedded_default = False
    # Set with it: a folder for what a decoder makes of the language model's weights, as long as those are as they were loaded.
    decoder_dir: Path | None = None

    def __init__(self, config: GPT4RoIConfig, language_model: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        text_width: int = config.text_config.hidden_size
        self.vision_tower = VisionTower(config.vision_config)
        self.multi_modal_projector = nn.Linear(self.vision_tower.feature_size, text_width)
        self.region_encoder = region_encoder(config.region_config, self.vision_tower.level_channels, text_width)
        self.language_model = language_model if language_model is not None else AutoModelForCausalLM.from_config(config.text_config)
        no_split = getattr(self.language_model, "_no_split_modules", None) or []
        # The tower too: it is small, and its blocks add tensors that must lie on one device.
        self._no_split_modules = [*no_split, "VisionTower", "RegionEncoder", "Memory"]
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (RegionEncoder, Memory)):
            module.initialise()
        elif module is getattr(self, "multi_modal_projector", None):
            nn.init.normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        return self.language_model.get_output_embeddings()

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        self.language_model.set_output_embeddings(new_embeddings)

    @property
    def num_image_tokens(self) -> int:
        return self.vision_tower.num_image_tokens

    def get_image_features(self, pixel_values: Tensor | None, vision_outputs: tuple[Tensor, list[Tensor]] | None = None) -> ImageFeatures:
        """float[B, 3, H, W], or the vision tower's outputs for it, to everything that depends on the images alone."""
        image, levels = vision_outputs if vision_outputs is not None else self.vision_tower(pixel_values)
        return ImageFeatures(self.multi_modal_projector(image), self.region_encoder.fuse_levels(levels), list(levels))

    def get_region_features(self, image: Tensor | ImageFeatures, boxes_xyxy_norm: Sequence[Tensor], bins: Tensor | None = None) -> Tensor:
        """Images (float[B, 3, H, W], or their `ImageFeatures`) and one float32[R_b, 4] per image to float[sum(R_b), D].

        `bins`: float[sum(R_b), roi_size, roi_size], how much of each RoI bin the region's mask covers; None looks at whole boxes.
        """
        features = image if isinstance(image, ImageFeatures) else self.get_image_features(image)
        return self.region_encoder.pool_regions(features.maps, boxes_xyxy_norm, bins)

    def embed(self, input_ids: Tensor, image_features: Tensor | None = None, region_features: Tensor | None = None) -> Tensor:
        """Text embeddings with features in their placeholders, in order of appearance over the flattened batch.

        Args:
          input_ids: int[B, T].
          image_features: float[B_image, P, D] or None.
          region_features: float[R, D] or None.
        Raises:
          ValueError: a count of placeholders is not the count of features.
        """
        is_image = input_ids == self.config.image_token_id
        is_region = input_ids == self.config.region_token_id
        # Placeholders may have no row in the embedding table; what is looked up for them is overwritten below.
        embeddings = self.get_input_embeddings()(input_ids.masked_fill(is_image | is_region, 0))
        for mask, features, name in ((is_image, image_features, "image"), (is_region, region_features, "region")):
            flat = None if features is None else features.reshape(-1, features.shape[-1])
            expected, found = int(mask.sum()), 0 if flat is None else flat.shape[0]
            if expected != found:
                raise ValueError(
                    f"the prompt has {expected} {name} placeholders but {found} {name} features were given; build both with one processor call"
                )
            if flat is not None and found:
                embeddings = embeddings.masked_scatter(mask[..., None], flat.to(device=embeddings.device, dtype=embeddings.dtype))
        return embeddings

    def _merge(
        self,
        input_ids: Tensor,
        pixel_values: Tensor | None,
        boxes_xyxy_norm: Sequence[Tensor] | None,
        vision_outputs: tuple[Tensor, list[Tensor]] | None = None,
    ) -> Tensor:
        features: ImageFeatures | None = None
        boxes = list(boxes_xyxy_norm) if boxes_xyxy_norm is not None else []
        if pixel_values is not None or vision_outputs is not None:
            features = self.get_image_features(pixel_values, vision_outputs)
            boxes = boxes or [torch.zeros(0, 4)] * features.image_features.shape[0]
        elif any(len(b) for b in boxes):
            raise ValueError(f"{sum(len(b) for b in boxes)} boxes were given without a picture; pass pixel_values too")
        # ZeRO-3 and DDP need every rank to touch every parameter, so a training batch without images or boxes runs blank ones.
        if features is None and self.training:
            height, width = self.config.vision_config.image_size_hw
            blank = torch.zeros(1, 3, height, width, device=input_ids.device)
            return self.embed(input_ids) + 0 * self._blank_contribution(self.get_image_features(blank), input_ids)
        if features is None:
            return self.embed(input_ids)
        region_features = self.region_encoder.pool_regions(features.maps, boxes)
        embeddings = self.embed(input_ids, features.image_features, region_features)
        if self.training and not len(region_features):
            embeddings = embeddings + 0 * self._blank_contribution(features, input_ids)
        return embeddings

    def _blank_contribution(self, features: ImageFeatures, input_ids: Tensor) -> Tensor:
        whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]], device=input_ids.device)
        pooled = self.region_encoder.pool_regions(features.maps, [whole] * features.image_features.shape[0])
        weight = cast(nn.Embedding, self.get_input_embeddings()).weight
        return (features.image_features.sum() + pooled.sum()).to(weight.dtype)

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        boxes_xyxy_norm: Sequence[Tensor] | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        vision_outputs: tuple[Tensor, list[Tensor]] | None = None,
        features: tuple[Tensor, Tensor] | None = None,
        trained_logits_only: bool = False,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Next-token prediction about images and regions.

        Args:
          input_ids: int[B, T] from the processor.
          pixel_values: float[B_image, 3, H, W], one per sample that has an image, in order.
          boxes_xyxy_norm: one float32[R, 4] per image in [0, 1] of it, one row per region placeholder in order of appearance.
          attention_mask: int[B, T], 0 at padding (left or right).
          labels: int[B, T], -100 = ignored.
          inputs_embeds: float[B, T, D] instead of `input_ids` and images, for engines that embed by themselves.
          vision_outputs: what the vision tower gave for the images, instead of `pixel_values`.
          features: image features float[B_image, P, D] and region features float[R, D] that were made elsewhere, instead of images and boxes.
          trained_logits_only: with `labels`, logits float[N, V] of the N places alone whose next token is trained, in order.
        Raises:
          ValueError: counts of placeholders and features differ.
        """
        if inputs_embeds is None:
            if input_ids is None:
                raise ValueError("give input_ids or inputs_embeds")
            inputs_embeds = (
                self.embed(input_ids, *features)
                if features is not None
                else self._merge(input_ids, pixel_values, boxes_xyxy_norm, vision_outputs)
            )
        if trained_logits_only and labels is not None:
            return self._trained_places(inputs_embeds, attention_mask, labels, **kwargs)
        return self.language_model(inputs_embeds=inputs_embeds, attention_mask=attention_mask, labels=labels, **kwargs)

    def _trained_places(
        self,
        inputs_embeds: Tensor,
        attention_mask: Tensor | None,
        labels: Tensor,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Loss as the language model's own, but the output head, a fifth of a small model's work, sees the trained places only."""
        hidden = self.language_model.get_decoder()(inputs_embeds=inputs_embeds, attention_mask=attention_mask, **kwargs)[0]
        targets = labels[:, 1:]
        is_trained = targets != -100
        logits = self.language_model.get_output_embeddings()(hidden[:, :-1][is_trained])
        total = F.cross_entropy(logits.float(), targets[is_trained].to(logits.device), reduction="sum")
        count = num_items_in_batch if num_items_in_batch is not None else max(int(is_trained.sum()), 1)
        return CausalLMOutputWithPast(loss=total / count, logits=logits)

    def prepare_inputs_for_generation(self, input_ids: Tensor, *args: Any, **kwargs: Any) -> dict[str, Any]:
        images = {name: kwargs.pop(name, None) for name in ("pixel_values", "boxes_xyxy_norm")}
        model_inputs: dict[str, Any] = cast(Any, super()).prepare_inputs_for_generation(input_ids, *args, **kwargs)
        # After the first step the placeholders are in the cache; without a cache every step sees them again.
        if kwargs.get("is_first_iteration") or not kwargs.get("use_cache", True):
            model_inputs.update(images)
        return model_inputs
