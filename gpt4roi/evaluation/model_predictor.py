"""The model as a predictor: batched greedy answers, options scored over a shared prompt, and the blind control."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpt4roi.boxes import as_boxes
from gpt4roi.conversation import Turn
from gpt4roi.evaluation.items import EvaluationError, Item
from gpt4roi.evaluation.option_scoring import SharedPrefixScorer, split_options
from gpt4roi.evaluation.predictors import OptionScore
from gpt4roi.images import open_picture
from gpt4roi.models import GPT4RoIForConditionalGeneration, GPT4RoIProcessor
from gpt4roi.models.modeling_gpt4roi import PictureFeatures

logger = logging.getLogger(__name__)

# Pictures whose features are kept: data files name the questions about one picture one after the other.
PICTURES_KEPT = 32
MIN_SIDE_PX = 1.0


class ModelPredictor:
    """Greedy answers and option scores of a GPT4RoI model; the weights are loaded when the first item comes.

    Args:
      model: folder, hub id, or None for the embedded default.
      max_new_tokens: longest answer.
      blind: region features are set to zero; picture and text stay. What it still answers right needed no region.
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
        self._scorer: SharedPrefixScorer | None = None
        self._pictures: OrderedDict[Path, tuple[PictureFeatures, tuple[int, int]]] = OrderedDict()

    def blinded(self) -> ModelPredictor:
        """The same weights without region features."""
        twin = ModelPredictor(self._request[0], max_new_tokens=self.max_new_tokens, blind=True, loaded=self.loaded)
        twin._pictures = self._pictures
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
        self._compute_pictures(items)
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

    @torch.inference_mode()
    def score_options(self, item: Item, options: Sequence[str]) -> list[OptionScore]:
        """Log-probability of each option as the whole answer, end mark included; picture and prompt are computed once."""
        model, processor = self.loaded
        self._compute_pictures([item])
        numbers = list(range(1, len(item.boxes_xyxy) + 1))
        encoded = [
            processor.encode(
                [Turn("user", item.question), Turn("assistant", option)], has_image=item.image is not None, known_numbers=numbers
            )
            for option in options
        ]
        tokens = split_options([one.input_ids for one in encoded], [one.trained for one in encoded])
        if self._scorer is None:
            self._scorer = SharedPrefixScorer(model)
        return self._scorer.score(self._embed(item, tokens.prefix, encoded[0].region_numbers), tokens.options)

    def _prompt_embeddings(self, item: Item) -> Tensor:
        numbers = list(range(1, len(item.boxes_xyxy) + 1))
        encoded = self.loaded[1].encode(item.question, has_image=item.image is not None, known_numbers=numbers, add_generation_prompt=True)
        return self._embed(item, encoded.input_ids, encoded.region_numbers)

    def _embed(self, item: Item, input_ids: list[int], region_numbers: list[int]) -> Tensor:
        """float[T, D]: the prompt with picture and region features in their placeholders."""
        model, processor = self.loaded
        ids = torch.tensor([input_ids], device=model.device)
        if item.image is None:
            return model.embed(ids)[0]
        if item.extra.get("problem"):
            raise EvaluationError(item.extra["problem"])
        features, size_wh = self._pictures[item.image]
        boxes = {index + 1: fit_box(item, box, size_wh) for index, box in enumerate(item.boxes_xyxy)}
        rows = processor.region_boxes(boxes, region_numbers, size_wh).to(model.device)
        regions = model.get_region_features(features, [rows])
        return model.embed(ids, features.image_features, regions * 0 if self.blind else regions)[0]

    def _compute_pictures(self, items: Sequence[Item]) -> None:
        """Vision features of the items' pictures that are not kept yet, in one batch."""
        for item in items:
            if item.image is not None and not item.image.exists():
                raise EvaluationError(
                    f"item {item.id}: there is no picture {item.image}; give --images, the folder that the data file's names start in"
                )
        model, processor = self.loaded
        wanted = list(dict.fromkeys(item.image for item in items if item.image is not None))
        for path in wanted:
            if path in self._pictures:
                self._pictures.move_to_end(path)
        missing = [path for path in wanted if path not in self._pictures]
        if missing:
            pictures = [open_picture(path) for path in missing]
            pixels = torch.stack([processor.image_processor(picture) for picture in pictures]).to(model.device, model.dtype)
            features = model.get_picture_features(pixels)
            for row, (path, picture) in enumerate(zip(missing, pictures, strict=True)):
                one = PictureFeatures(features.image_features[row : row + 1], [level[row : row + 1] for level in features.maps])
                self._pictures[path] = one, picture.size
        while len(self._pictures) > max(PICTURES_KEPT, len(wanted)):
            self._pictures.popitem(last=False)


def fit_box(item: Item, box: Sequence[float], image_size_wh: tuple[int, int]) -> tuple[float, float, float, float]:
    """A benchmark's box clipped to its picture, at least one pixel a side.

    Published boxes leave their picture by a few pixels and some are thinner than a pixel; to refuse them would make an item
    unanswerable that the protocol counts.

    Raises:
      EvaluationError: nothing of the box is inside: the annotation belongs to another size of the picture.
    """
    width, height = image_size_wh
    x0, y0, x1, y1 = as_boxes([box])[0].tolist()
    if x0 >= width or y0 >= height or x1 < 0 or y1 < 0:
        raise EvaluationError(f"item {item.id}: the box {tuple(box)} lies outside {item.image}, which is {width} x {height} pixels")
    (x0, x1), (y0, y1) = _clip_side(x0, x1, width), _clip_side(y0, y1, height)
    return x0, y0, x1, y1


def _clip_side(low: float, high: float, full: float) -> tuple[float, float]:
    low, high = max(0.0, min(low, full)), max(0.0, min(high, full))
    if high - low < MIN_SIDE_PX:
        low = max(0.0, min((low + high - MIN_SIDE_PX) / 2, full - MIN_SIDE_PX))
        high = low + MIN_SIDE_PX
    return low, high


def _stop_tokens(model: GPT4RoIForConditionalGeneration, processor: GPT4RoIProcessor) -> list[int]:
    """End-of-sequence ids of the generation settings and of the tokenizer (the end-of-turn mark)."""
    configured: Any = model.generation_config.eos_token_id if model.generation_config is not None else None
    ids = configured if isinstance(configured, list) else [configured]
    return sorted({int(token) for token in [*ids, processor.tokenizer.eos_token_id] if token is not None})
