"""Log-probabilities of answer options, with everything before the answer computed once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from gpt4roi.conversation import Turn
from gpt4roi.engine import Engine, PreparedImage, build_prompt, prepare_image
from gpt4roi.evaluation.items import EvaluationError, Item, fit_box, image_of
from gpt4roi.evaluation.predictors import OptionScore
from gpt4roi.models import GPT4RoIForConditionalGeneration
from gpt4roi.regions import Region


@dataclass(frozen=True)
class OptionTokens:
    """The prompt that all options share, and each option's own tokens with its end mark.

    An option is scored with its end mark, as the model was trained: otherwise "dog" would be at least as likely as "dog house".
    """

    prefix: list[int]
    options: list[list[int]]


def split_options(input_ids: Sequence[Sequence[int]], trained: Sequence[Sequence[bool]]) -> OptionTokens:
    """Whole conversations, one per option, into their common prompt and the options' tokens.

    Raises:
      EvaluationError: an option has no tokens, or the prompts differ although only the answers should.
    """
    starts = [next((i for i, flag in enumerate(flags) if flag), None) for flags in trained]
    if any(start is None for start in starts):
        raise EvaluationError("an answer option has no tokens; give it some text")
    cut = min(start for start in starts if start is not None)
    prefix = list(input_ids[0][:cut])
    options = []
    for ids, flags in zip(input_ids, trained, strict=True):
        if list(ids[:cut]) != prefix:
            raise EvaluationError("the answer options do not share one prompt, so they cannot be compared")
        last = max(i for i, flag in enumerate(flags) if flag)
        options.append(list(ids[cut : last + 1]))
    return OptionTokens(prefix, options)


class OptionScorer:
    """Options of items through an engine: the prompt once for all of them, and of it only what differs from the items before."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        # Data files name the questions about one image one after the other.
        self._image: tuple[Path, PreparedImage] | None = None

    def score(self, item: Item, options: Sequence[str]) -> list[OptionScore]:
        """Log-probability of each option as the whole answer, end mark included."""
        processor = self.engine.processor
        image = self._opened(item)
        regions = {} if image is None else {n: Region(n, fit_box(item, box, image.size_wh)) for n, box in enumerate(item.boxes_xyxy, 1)}
        encoded = [
            processor.encode(
                [Turn("user", item.question), Turn("assistant", option)], has_image=image is not None, known_numbers=list(regions)
            )
            for option in options
        ]
        tokens = split_options([one.input_ids for one in encoded], [one.trained for one in encoded])
        prompt = replace(build_prompt(processor, [Turn("user", item.question)], image, regions), input_ids=tokens.prefix)
        found = self.engine.log_probs(prompt, tokens.options)
        return [OptionScore(float(log_probs.sum()), len(log_probs)) for log_probs in found]

    def _opened(self, item: Item) -> PreparedImage | None:
        path = image_of(item)
        if path is None:
            return None
        if self._image is None or self._image[0] != path:
            self._image = path, prepare_image(path, self.engine.processor)
        return self._image[1]


@torch.inference_mode()
def score_from_scratch(
    model: GPT4RoIForConditionalGeneration,
    tokens: OptionTokens,
    pixel_values: Tensor | None,
    boxes_xyxy_norm: Sequence[Tensor] | None,
) -> list[OptionScore]:
    """The same scores, the slow way: image, regions, prompt and option together, one option after the other."""
    scores: list[OptionScore] = []
    for option in tokens.options:
        ids = torch.tensor([[*tokens.prefix, *option]], device=model.device)
        output = model(
            input_ids=ids,
            pixel_values=pixel_values,
            boxes_xyxy_norm=boxes_xyxy_norm,
            attention_mask=torch.ones_like(ids),
            use_cache=False,
            logits_to_keep=len(option) + 1,
        )
        log_probs = output.logits[0, :-1].float().log_softmax(dim=1)[range(len(option)), option]
        scores.append(OptionScore(float(log_probs.sum()), len(option)))
    return scores
