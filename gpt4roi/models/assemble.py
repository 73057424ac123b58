"""A trainable model out of pretrained parts: any vision tower, any causal language model, a new region encoder and projector.

A recipe (`configs/model/*.json`) names the parts and the numbers of the new ones; widths, patch sizes and layers come from the parts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub.errors import HfHubHTTPError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    CLIPVisionModel,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    SiglipVisionModel,
)

from gpt4roi.errors import UserError
from gpt4roi.models.configuration_gpt4roi import GPT4RoIConfig, GPT4RoIRegionConfig, GPT4RoIVisionConfig
from gpt4roi.models.modeling_gpt4roi import GPT4RoIForConditionalGeneration
from gpt4roi.models.processing_gpt4roi import GPT4RoIProcessor
from gpt4roi.models.released_config import ADDED_TOKENS

# What a hub that cannot be reached, or does not have it, ends in: errors of its HTTP client come through as they are (the client's package
# has changed, its base error is always the first base of the hub's own), and RuntimeErrors of a client that was closed.
HUB_ERRORS: tuple[type[Exception], ...] = (
    *cast("tuple[type[Exception], ...]", HfHubHTTPError.__bases__),
    OSError,
    RuntimeError,
    ValueError,
)
# Whole two-tower models hold the vision tower that we want; transformers reads just that part of their weights.
VISION_PART = {"clip": CLIPVisionModel, "siglip": SiglipVisionModel}
# For language models that were never tuned to chat and so bring no template of their own.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{% if message.role == 'system' %}{{ message.content }}\n\n"
    "{% elif message.role == 'user' %}User: {{ message.content }}\n"
    "{% else %}Assistant: {{ message.content }}{{ eos_token }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}Assistant: {% endif %}"
)


class RecipeError(UserError):
    """A recipe or a part that cannot be used; the message is a sentence for the user."""


@dataclass
class Recipe:
    """One file of `configs/model/`.

    description: what it is for.
    vision_tower: folder or hub id of a ViT, or a list of timm backbones (see `GPT4RoIVisionConfig.backbone`).
    language_model: folder or hub id of a causal language model.
    image_size_hw: input size; None takes the tower's own.
    region_layers: hidden states of the region levels; None takes four, evenly spread, the last at `feature_layer`.
    feature_layer: hidden state of the image features (ViT).
    image_grid_hw: pool the image features to this grid.
    region: fields of `GPT4RoIRegionConfig`.
    prompt_style: a key of `gpt4roi.conversation.STYLES`.
    resize: see `GPT4RoIProcessor`.
    image_mean, image_std: of RGB in [0, 1], as the tower was trained with.
    backbone_weights: folder with `NAME.safetensors` of each timm backbone; None lets timm fetch them.
    download_gb: about what the parts weigh on the hub, by name; shown before anything is fetched.
    """

    description: str
    vision_tower: str | list[dict[str, Any]]
    language_model: str
    image_size_hw: list[int] | None = None
    region_layers: list[int] | None = None
    feature_layer: int = -2
    image_grid_hw: list[int] | None = None
    region: dict[str, Any] = field(default_factory=dict)
    prompt_style: str = "chat_template"
    resize: str = "bilinear"
    image_mean: list[float] = field(default_factory=lambda: [0.5, 0.5, 0.5])
    image_std: list[float] = field(default_factory=lambda: [0.5, 0.5, 0.5])
    backbone_weights: str | None = None
    download_gb: dict[str, float] = field(default_factory=dict)


def read_recipe(path: str | Path) -> Recipe:
    """Raises RecipeError: missing, not JSON, or a field that does not exist."""
    file = Path(path)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        near = ", ".join(sorted(p.stem for p in file.parent.glob("*.json"))) if file.parent.is_dir() else ""
        raise RecipeError(f"there is no model config '{file}'" + (f"; in that folder are {near}" if near else "")) from error
    except ValueError as error:
        raise RecipeError(f"'{file}' is not JSON ({error})") from error
    known = {item.name for item in fields(Recipe)}
    unknown = sorted(set(content) - known)
    if unknown:
        raise RecipeError(f"'{file}' has the unknown field '{unknown[0]}'; the fields are {', '.join(sorted(known))}")
    for name in ("description", "vision_tower", "language_model"):
        if name not in content:
            raise RecipeError(f"'{file}' lacks the field '{name}'")
    return Recipe(**content)


def part_config(name: str) -> PreTrainedConfig:
    """The config of a pretrained part, from a folder or the hub (a few kilobytes).

    Raises:
      RecipeError: not there, or not readable.
    """
    try:
        return cast(PreTrainedConfig, AutoConfig.from_pretrained(name))
    except (OSError, ValueError) as error:
        raise RecipeError(
            f"the config of '{name}' cannot be read ({_first_line(error)}); give a local folder or a hub id that can be reached"
        ) from error


def vision_part_config(config: PreTrainedConfig) -> PreTrainedConfig:
    """The vision tower's config out of a two-tower model's, or itself.

    Raises:
      RecipeError: it is no ViT.
    """
    part = cast(PreTrainedConfig, config.vision_config) if config.model_type in VISION_PART else config
    if not hasattr(part, "patch_size") or not hasattr(part, "image_size"):
        raise RecipeError(
            f"a model of type '{part.model_type}' is no vision tower: its config has no patch_size; give a ViT (CLIP, SigLIP, DINOv2)"
        )
    return part


def vision_settings(recipe: Recipe, tower: PreTrainedConfig | None) -> GPT4RoIVisionConfig:
    """`tower`: the ViT's own config; None for timm backbones."""
    if isinstance(recipe.vision_tower, list):
        size = recipe.image_size_hw or [224, 224]
        return GPT4RoIVisionConfig("pyramid", recipe.vision_tower, (size[0], size[1]), image_grid_hw=_pair(recipe.image_grid_hw))
    if tower is None:
        raise RecipeError("a ViT needs its config")
    backbone = {
        name: value for name, value in tower.to_diff_dict().items() if name not in ("architectures", "transformers_version", "dtype")
    }
    backbone["model_type"] = tower.model_type
    if tower.model_type == "siglip_vision_model":
        backbone["vision_use_head"] = False  # its pooled vector is not used, and parameters without gradient stop DDP
    num_states = int(tower.num_hidden_layers) + 1
    selected = recipe.feature_layer % num_states
    step = max(1, selected // 4 if selected < 12 else 3)
    layers = recipe.region_layers or list(range(selected, -1, -step))[:4][::-1]
    size = recipe.image_size_hw or [int(tower.image_size)] * 2
    return GPT4RoIVisionConfig(
        "transformer",
        backbone,
        (size[0], size[1]),
        feature_layer=recipe.feature_layer,
        region_layers=tuple(layers),
        num_prefix_tokens=prefix_tokens(tower),
        image_grid_hw=_pair(recipe.image_grid_hw),
    )


def prefix_tokens(tower: PreTrainedConfig) -> int:
    """Tokens before the patches: SigLIP has none, the others a CLS token and maybe registers."""
    return 0 if tower.model_type.startswith("siglip") else 1 + int(getattr(tower, "num_register_tokens", 0))


def _pair(size: list[int] | None) -> tuple[int, int] | None:
    return None if size is None else (size[0], size[1])


def build_config(recipe: Recipe, tower: PreTrainedConfig | None, text: PreTrainedConfig) -> GPT4RoIConfig:
    """Our config from those of the parts; the placeholders' ids come from the tokenizer, later."""
    return GPT4RoIConfig(
        vision_config=vision_settings(recipe, tower),
        region_config=GPT4RoIRegionConfig(**recipe.region),
        text_config=text,
        prompt_style=recipe.prompt_style,
    )


def build_processor(recipe: Recipe, tokenizer: PreTrainedTokenizerBase, model: GPT4RoIForConditionalGeneration) -> GPT4RoIProcessor:
    """The processor; the model's placeholder ids are set to the tokenizer's."""
    is_released = recipe.prompt_style == "vicuna_v0"
    if not is_released and not tokenizer.chat_template:
        tokenizer.chat_template = PLAIN_TEMPLATE
    processor = GPT4RoIProcessor(
        tokenizer,
        image_size_hw=model.config.vision_config.image_size_hw,
        num_image_tokens=model.num_image_tokens,
        prompt_style=recipe.prompt_style,
        resize=recipe.resize,
        image_mean=recipe.image_mean,
        image_std=recipe.image_std,
        **({"image_token": "<im_patch>", "region_token": "<bbox>"} if is_released else {}),
    )
    model.config.image_token_id = processor.image_token_id
    model.config.region_token_id = processor.region_token_id
    return processor


def assemble(recipe: Recipe, dtype: torch.dtype = torch.float32) -> tuple[GPT4RoIForConditionalGeneration, GPT4RoIProcessor]:
    """Load the pretrained parts and put new region and projection parts between them.

    Raises:
      RecipeError: a part cannot be loaded or does not fit.
    """
    text = part_config(recipe.language_model)
    whole = None if isinstance(recipe.vision_tower, list) else part_config(recipe.vision_tower)
    config = build_config(recipe, vision_part_config(whole) if whole is not None else None, text)
    language_model = _language_model(recipe, dtype)
    tokenizer = _tokenizer(recipe, language_model)
    config.text_config = language_model.config
    model = GPT4RoIForConditionalGeneration(config, language_model)
    _load_tower(recipe, whole, model)
    processor = build_processor(recipe, tokenizer, model)
    model.generation_config = GenerationConfig.from_dict(cast(GenerationConfig, language_model.generation_config).to_dict())
    model.generation_config.pad_token_id = cast(int, tokenizer.pad_token_id)
    cast(Any, model).to(dtype)
    return model, processor


def _language_model(recipe: Recipe, dtype: torch.dtype) -> PreTrainedModel:
    try:
        return cast(PreTrainedModel, AutoModelForCausalLM.from_pretrained(recipe.language_model, dtype=dtype))
    except (OSError, ValueError) as error:
        raise RecipeError(f"the language model '{recipe.language_model}' cannot be loaded ({_first_line(error)})") from error


def _tokenizer(recipe: Recipe, language_model: PreTrainedModel) -> PreTrainedTokenizerBase:
    if recipe.prompt_style != "vicuna_v0":
        return cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(recipe.language_model))
    from huggingface_hub import snapshot_download

    from gpt4roi.models.tokenizer_released import build_tokenizer

    folder = Path(recipe.language_model)
    if not folder.is_dir():
        folder = Path(snapshot_download(recipe.language_model, allow_patterns=["tokenizer*"]))
    tokenizer = build_tokenizer(folder)
    # New rows start as the mean of the others, as released (reference section 4).
    language_model.resize_token_embeddings(max(ADDED_TOKENS.values()) + 1)
    return tokenizer


def _load_tower(recipe: Recipe, whole: PreTrainedConfig | None, model: GPT4RoIForConditionalGeneration) -> None:
    tower = cast(Any, model.vision_tower.tower)
    if isinstance(recipe.vision_tower, list):
        for backbone, item in zip(tower.backbones, recipe.vision_tower, strict=True):
            backbone.load_state_dict(_timm_backbone(item, recipe.backbone_weights).state_dict())
        return
    if whole is None:
        raise RecipeError("a ViT needs its config")
    loader: Any = VISION_PART.get(whole.model_type, AutoModel)
    try:
        pretrained = loader.from_pretrained(recipe.vision_tower, dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise RecipeError(f"the vision tower '{recipe.vision_tower}' cannot be loaded ({_first_line(error)})") from error
    missing, unexpected = tower.backbone.load_state_dict(pretrained.state_dict(), strict=False)
    unexpected = [name for name in unexpected if "head." not in name]
    if missing or unexpected:
        raise RecipeError(f"the weights of '{recipe.vision_tower}' do not fit their config: {[*missing, *unexpected][0]}")


def _timm_backbone(item: dict[str, Any], folder: str | None) -> nn.Module:
    """One pretrained backbone of timm, from a folder or from where timm keeps its weights."""
    import timm

    name = str(item["name"])
    options: dict[str, Any] = {"features_only": True, "out_indices": item["out_indices"], **item.get("kwargs", {})}
    if folder is not None:
        options["pretrained_cfg_overlay"] = {"file": str(Path(folder) / f"{name}.safetensors")}
    try:
        return timm.create_model(name, pretrained=True, **options)
    except HUB_ERRORS as error:
        raise RecipeError(f"the weights of the timm backbone '{name}' cannot be loaded ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
