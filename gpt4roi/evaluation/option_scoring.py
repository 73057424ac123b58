"""Log-probabilities of answer options, with everything before the answer computed once for all of them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gpt4roi.evaluation.items import EvaluationError
from gpt4roi.evaluation.predictors import OptionScore
from gpt4roi.models import GPT4RoIForConditionalGeneration


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


@torch.inference_mode()
def score_with_shared_prefix(
    model: GPT4RoIForConditionalGeneration, prefix_embeds: Tensor, options: Sequence[Sequence[int]], options_per_batch: int = 16
) -> list[OptionScore]:
    """Scores of all options of one item; the prompt goes through the language model once.

    So do the tokens that all options begin with ("region 2 is …"): they join the prompt, and their log-probability is every option's.

    Args:
      prefix_embeds: float[1, P, D], the prompt with the picture's and the regions' features in place.
      options: token ids of each option.
      options_per_batch: options that share one forward; each holds a copy of the prompt's key-value cache.
    """
    device = prefix_embeds.device
    common = common_start(options)
    start_ids = torch.tensor([common], dtype=torch.long, device=device)
    inputs = torch.cat([prefix_embeds, model.get_input_embeddings()(start_ids).to(prefix_embeds.dtype)], dim=1)
    ones = torch.ones(inputs.shape[:2], dtype=torch.long, device=device)
    prefix = model.language_model(inputs_embeds=inputs, attention_mask=ones, use_cache=True, logits_to_keep=len(common) + 1)
    shared = _sum_log_probs(prefix.logits[:, :-1], start_ids, torch.ones_like(start_ids))[0]
    scores: list[OptionScore] = []
    rests = [list(option[len(common) :]) for option in options]
    for start in range(0, len(rests), options_per_batch):
        chunk = rests[start : start + options_per_batch]
        longest = max(len(rest) for rest in chunk)
        ids = torch.tensor([rest + [0] * (longest - len(rest)) for rest in chunk], device=device)
        valid = torch.tensor([[1] * len(rest) + [0] * (longest - len(rest)) for rest in chunk], device=device)
        logits = prefix.logits[:, -1:].expand(len(chunk), -1, -1)
        if longest > 1:
            cache = copy.deepcopy(prefix.past_key_values)
            cache.batch_repeat_interleave(len(chunk))
            mask = torch.cat([ones.expand(len(chunk), -1), valid[:, :-1]], dim=1)
            embeddings = model.get_input_embeddings()(ids[:, :-1])
            after = model.language_model(inputs_embeds=embeddings, attention_mask=mask, past_key_values=cache, use_cache=True)
            logits = torch.cat([logits, after.logits], dim=1)
        scores += _sum_log_probs(logits, ids, valid)
    return [OptionScore(shared.log_prob + rest.log_prob, shared.num_tokens + rest.num_tokens) for rest in scores]


def common_start(options: Sequence[Sequence[int]]) -> list[int]:
    """Tokens that all options begin with; at least the last token of each option is left over."""
    start: list[int] = []
    for tokens in zip(*(option[:-1] for option in options), strict=False):
        if len(set(tokens)) > 1:
            break
        start.append(tokens[0])
    return start


@torch.inference_mode()
def score_from_scratch(
    model: GPT4RoIForConditionalGeneration,
    tokens: OptionTokens,
    pixel_values: Tensor | None,
    boxes_xyxy_norm: Sequence[Tensor] | None,
) -> list[OptionScore]:
    """The same scores, the slow way: picture, regions, prompt and option together, one option after the other."""
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
        targets = torch.tensor([option], device=model.device)
        scores += _sum_log_probs(output.logits[:, :-1], targets, torch.ones_like(targets))
    return scores


def _sum_log_probs(logits: Tensor, ids: Tensor, valid: Tensor) -> list[OptionScore]:
    """logits float[K, T, V] that predict ids int[K, T], of which valid int[K, T] count."""
    log_probs = torch.log_softmax(logits.float(), dim=-1).gather(-1, ids[..., None])[..., 0] * valid
    return [OptionScore(float(total), int(count)) for total, count in zip(log_probs.sum(dim=1), valid.sum(dim=1), strict=True)]
