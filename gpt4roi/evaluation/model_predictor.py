"""The model as a predictor: batched greedy answers, options scored over a shared prompt, and the blind control."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpt4roi.engine import Engine, EngineSettings, Prompt
from gpt4roi.engine.features import FeatureCache
from gpt4roi.evaluation.items import EvaluationError, Item, fit_box, image_of
from gpt4roi.evaluation.option_scoring import OptionScorer
from gpt4roi.evaluation.predictors import OptionScore
from gpt4roi.images import open_image
from gpt4roi.models import GPT4RoIForConditionalGeneration, GPT4RoIProcessor
from gpt4roi.models.modeling_gpt4roi import ImageFeatures

logger = logging.getLogger(__name__)

# Images whose features are kept: data files name the questions about one image one after the other.
IMAGES_KEPT = 32


class ModelPredictor:
    """Greedy answers and option scores of a GPT4RoI model; the weights are loaded when the first item comes.

    Args:
      model: folder, hub id, or None for the embedded default.
      max_new_tokens: longest answer.
      blind: region features are set to zero; image and text stay. What it still answers right needed no region.
      device, dtype: as torch names them; None leaves the choice to the loader.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        max_new_tokens: int = 32,
        blind: bool = False,
        device: str | None = None,
        dtype: str | None = None,
        loaded: tuple[GPT4RoIForConditionalGeneration, GPT4RoIProcessor] | None = None,
    ) -> None:
        self.name = (model or "embedded") + (" (blind)" if blind else "")
        self._request = (model, device, dtype)
        self.max_new_tokens = max_new_tokens
        self.blind = blind
        self._loaded = loaded
        self._scorer: OptionScorer | None = None
        self._images: OrderedDict[Path, tuple[ImageFeatures, tuple[int, int]]] = OrderedDict()

    def blinded(self) -> ModelPredictor:
        """The same weights without region features."""
        twin = ModelPredictor(self._request[0], max_new_tokens=self.max_new_tokens, blind=True, loaded=self.loaded)
        twin._images = self._images
        return twin

    @property
    def loaded(self) -> tuple[GPT4RoIForConditionalGeneration, GPT4RoIProcessor]:
        if self._loaded is None:
            from gpt4roi.models.loading import load_model

            name, device, dtype = self._request
            model, processor = load_model(name, device=device, dtype=dtype)
            self._loaded = model, processor
        return self._loaded

    @torch.inference_mode()
    def generate(self, items: Sequence[Item]) -> list[str]:
        """One greedy answer per item, all items in one left-padded batch."""
        for item in items:
            if item.wants != "text":
                raise EvaluationError(
                    f"this model writes text, not {item.wants}; score a predictions file instead: gpt4roi evaluate score TASK PREDICTIONS.jsonl"
                )
        model, processor = self.loaded
        self._compute_images(items)
        prompts = [self._prompt_embeddings(item) for item in items]
        longest = max(prompt.shape[0] for prompt in prompts)
        embeddings = prompts[0].new_zeros(len(prompts), longest, prompts[0].shape[1])
        mask = torch.zeros(len(prompts), longest, dtype=torch.long, device=embeddings.device)
        for row, prompt in enumerate(prompts):
            embeddings[row, longest - len(prompt) :] = prompt
            mask[row, longest - len(prompt) :] = 1
        # A checkpoint may bring sampling settings of its own; every protocol here is greedy.
        language_model: Any = model.language_model
        new_tokens = language_model.generate(
            inputs_embeds=embeddings,
            attention_mask=mask,
            max_new_tokens=self.max_new_tokens,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            num_beams=1,
            pad_token_id=processor.tokenizer.pad_token_id,
            eos_token_id=_stop_tokens(model, processor),
            **({"stop_strings": processor.stop_strings, "tokenizer": processor.tokenizer} if processor.stop_strings else {}),
        )
        return [processor.decode(row) for row in new_tokens]

    def score_options(self, item: Item, options: Sequence[str]) -> list[OptionScore]:
        """Log-probability of each option as the whole answer, end mark included; image and prompt are computed once."""
        if self._scorer is None:
            engine = Engine(*self.loaded, EngineSettings(precision="transformers"))
            if self.blind:
                engine.features = _BlindFeatures(engine.model, engine.settings.image_bytes, engine.settings.region_bytes)
            self._scorer = OptionScorer(engine)
        return self._scorer.score(item, options)

    def _prompt_embeddings(self, item: Item) -> Tensor:
        numbers = list(range(1, len(item.boxes_xyxy) + 1))
        encoded = self.loaded[1].encode(item.question, has_image=item.image is not None, known_numbers=numbers, add_generation_prompt=True)
        return self._embed(item, encoded.input_ids, encoded.region_numbers)

    def _embed(self, item: Item, input_ids: list[int], region_numbers: list[int]) -> Tensor:
        """float[T, D]: the prompt with image and region features in their placeholders."""
        model, processor = self.loaded
        ids = torch.tensor([input_ids], device=model.device)
        if item.image is None:
            return model.embed(ids)[0]
        features, size_wh = self._images[item.image]
        boxes = {index + 1: fit_box(item, box, size_wh) for index, box in enumerate(item.boxes_xyxy)}
        rows = processor.region_boxes(boxes, region_numbers, size_wh).to(model.device)
        regions = model.get_region_features(features, [rows])
        return model.embed(ids, features.image_features, regions * 0 if self.blind else regions)[0]

    def _compute_images(self, items: Sequence[Item]) -> None:
        """Vision features of the items' images that are not kept yet, in one batch."""
        model, processor = self.loaded
        wanted = list(dict.fromkeys(path for path in map(image_of, items) if path is not None))
        for path in wanted:
            if path in self._images:
                self._images.move_to_end(path)
        missing = [path for path in wanted if path not in self._images]
        if missing:
            images = [open_image(path) for path in missing]
            pixels = torch.stack([processor.image_processor(image) for image in images]).to(model.device, model.dtype)
            features = model.get_image_features(pixels)
            for row, (path, image) in enumerate(zip(missing, images, strict=True)):
                one = ImageFeatures(
                    features.image_features[row : row + 1],
                    *([level[row : row + 1] for level in levels] for levels in (features.maps, features.levels)),
                )
                self._images[path] = one, image.size
        while len(self._images) > max(IMAGES_KEPT, len(wanted)):
            self._images.popitem(last=False)


class _BlindFeatures(FeatureCache):
    """Images as they are, regions as zeros."""

    def boxes(self, prompt: Prompt, features: ImageFeatures | None, timings: dict[str, float]) -> Tensor | None:
        rows = super().boxes(prompt, features, timings)
        return None if rows is None else torch.zeros_like(rows)


def _stop_tokens(model: GPT4RoIForConditionalGeneration, processor: GPT4RoIProcessor) -> list[int]:
    """End-of-sequence ids of the generation settings and of the tokenizer (the end-of-turn mark)."""
    configured: Any = model.generation_config.eos_token_id if model.generation_config is not None else None
    ids = configured if isinstance(configured, list) else [configured]
    return sorted({int(token) for token in [*ids, processor.tokenizer.eos_token_id] if token is not None})
