"""Configuration: every number of the architecture, and nothing that is not a number or a name."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from gpt4roi.conversation import STYLES
from gpt4roi.errors import UserError


class GPT4RoIVisionConfig(PreTrainedConfig):
    """The vision tower: a ViT of transformers, or convolutional backbones of timm.

    Args:
      kind: `transformer` (levels are hidden states of one ViT) or `pyramid` (levels are feature maps of timm backbones).
      backbone: for `transformer` the ViT's own config as a dict with its `model_type`; for `pyramid` a list of
        `{"name": …, "out_indices": […], "kwargs": {…}}`, each given to `timm.create_model(name, features_only=True, …)`.
      image_size_hw: the input size that every picture is resized to (aspect ignored), so a box in [0, 1] is the same box.
      feature_layer: `transformer`: index into `hidden_states` of the image features.
      region_layers: `transformer`: indices into `hidden_states` of the region levels, the one that is shown largest first.
      num_prefix_tokens: `transformer`: tokens before the patches (CLS, registers) that are dropped.
      image_grid_hw: pool the image features to this grid; None keeps one feature per patch.
    """

    model_type = "gpt4roi_vision"

    def __init__(
        self,
        kind: str = "transformer",
        backbone: dict[str, Any] | list[dict[str, Any]] | None = None,
        image_size_hw: tuple[int, int] = (224, 224),
        feature_layer: int = -2,
        region_layers: tuple[int, ...] = (14, 17, 20, 23),
        num_prefix_tokens: int = 1,
        image_grid_hw: tuple[int, int] | None = None,
        **kwargs: Any,
    ) -> None:
        if kind not in ("transformer", "pyramid"):
            raise UserError(f"vision_config.kind is 'transformer' or 'pyramid'; got '{kind}'")
        self.kind = kind
        self.backbone = backbone if backbone is not None else {"model_type": "clip_vision_model"}
        self.image_size_hw = list(image_size_hw)
        self.feature_layer = feature_layer
        self.region_layers = list(region_layers)
        self.num_prefix_tokens = num_prefix_tokens
        self.image_grid_hw = list(image_grid_hw) if image_grid_hw is not None else None
        super().__init__(**kwargs)


class GPT4RoIRegionConfig(PreTrainedConfig):
    """The region encoder (arXiv:2307.03601, the released spatial module; defaults are its numbers).

    Args:
      channels: width of the pyramid.
      level_scales: size of each level's map relative to that level's own grid, in the order of the levels.
      fuse_rounds: rounds of cross-level shuffling and 3x3 convolution.
      norm_groups: groups of the group norm after each round.
      roi_size: RoIAlign bins a side.
      sampling_ratio: RoIAlign samples a bin and axis.
      box_hidden_size: width of the box embedding's first layer.
      hidden_size: width of the flattened region feature and of the box embedding.
      dropout: of the flattened feature while training; 0 as released.
      members: region encoders whose mean is taken; 1 as released.
      memory_size: entries of the memory that each embedding is compared with; 0 as released.
    """

    model_type = "gpt4roi_region"

    def __init__(
        self,
        channels: int = 1024,
        level_scales: tuple[float, ...] = (8, 4, 2, 1),
        fuse_rounds: int = 5,
        norm_groups: int = 64,
        roi_size: int = 14,
        sampling_ratio: int = 2,
        box_hidden_size: int = 256,
        hidden_size: int = 1024,
        dropout: float = 0.0,
        members: int = 1,
        memory_size: int = 0,
        **kwargs: Any,
    ) -> None:
        self.channels = channels
        self.level_scales = list(level_scales)
        self.fuse_rounds = fuse_rounds
        self.norm_groups = norm_groups
        self.roi_size = roi_size
        self.sampling_ratio = sampling_ratio
        self.box_hidden_size = box_hidden_size
        self.hidden_size = hidden_size
        self.dropout = dropout
        self.members = members
        self.memory_size = memory_size
        super().__init__(**kwargs)


class GPT4RoIConfig(PreTrainedConfig):
    """Vision tower, region encoder and language model together.

    Args:
      vision_config, region_config: see their classes; dicts are accepted.
      text_config: the config of any causal language model of transformers.
      image_token_id, region_token_id: ids of the two placeholders. They need no row in the language model's embedding.
      prompt_style: a key of `gpt4roi.conversation.STYLES`.
    """

    model_type = "gpt4roi"
    sub_configs = {"vision_config": GPT4RoIVisionConfig, "region_config": GPT4RoIRegionConfig, "text_config": AutoConfig}

    def __init__(
        self,
        vision_config: GPT4RoIVisionConfig | dict[str, Any] | None = None,
        region_config: GPT4RoIRegionConfig | dict[str, Any] | None = None,
        text_config: PreTrainedConfig | dict[str, Any] | None = None,
        image_token_id: int = 32001,
        region_token_id: int = 32002,
        prompt_style: str = "chat_template",
        **kwargs: Any,
    ) -> None:
        if prompt_style not in STYLES:
            raise UserError(f"prompt_style is one of {', '.join(STYLES)}; got '{prompt_style}'")
        if vision_config is None or isinstance(vision_config, dict):
            vision_config = GPT4RoIVisionConfig(**(vision_config or {}))
        if region_config is None or isinstance(region_config, dict):
            region_config = GPT4RoIRegionConfig(**(region_config or {}))
        if text_config is None or isinstance(text_config, dict):
            text = dict(text_config or {"model_type": "llama"})
            text_config = AutoConfig.for_model(text.pop("model_type"), **text)
        self.vision_config = vision_config
        self.region_config = region_config
        self.text_config = text_config
        self.image_token_id = image_token_id
        self.region_token_id = region_token_id
        self.prompt_style = prompt_style
        kwargs.setdefault("tie_word_embeddings", getattr(text_config, "tie_word_embeddings", False))
        super().__init__(**kwargs)

    def get_text_config(self, *args: Any, **kwargs: Any) -> PreTrainedConfig:
        return self.text_config
