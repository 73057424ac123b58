"""The model family, registered with the Auto classes of transformers."""

from __future__ import annotations

from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor

from gpt4roi.models.configuration_gpt4roi import GPT4RoIConfig, GPT4RoIRegionConfig, GPT4RoIVisionConfig
from gpt4roi.models.modeling_gpt4roi import GPT4RoIForConditionalGeneration, ImageFeatures
from gpt4roi.models.processing_gpt4roi import EncodedConversation, GPT4RoIProcessor

AutoConfig.register("gpt4roi", GPT4RoIConfig, exist_ok=True)
AutoModelForCausalLM.register(GPT4RoIConfig, GPT4RoIForConditionalGeneration, exist_ok=True)
AutoModelForImageTextToText.register(GPT4RoIConfig, GPT4RoIForConditionalGeneration, exist_ok=True)
AutoProcessor.register(GPT4RoIConfig, GPT4RoIProcessor, exist_ok=True)

__all__ = [
    "EncodedConversation",
    "GPT4RoIConfig",
    "GPT4RoIForConditionalGeneration",
    "GPT4RoIProcessor",
    "GPT4RoIRegionConfig",
    "GPT4RoIVisionConfig",
    "ImageFeatures",
]
