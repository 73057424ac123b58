"""Log-probabilities of answer options, with everything before the answer computed once for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from gpt4roi.engine.decoder import TransformersState
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


class SharedPrefixScorer:
    """Log-probabilities of the options of one item after another; nothing that was just computed is computed again.

    The prompt, and the tokens that all options begin with ("region 2 is …"), go through the language model once for all options. The
    options follow in the same forward, one behind the other without padding, each seeing the prompt and itself. Of the next item's
    prompt only what differs from this one's is run: the second question about an image begins like the first.

    Args:
      model: the model whose language model scores.
      tokens_per_forward: options beyond this many tokens go into another forward over the same prompt.
    """

    def __init__(self, model: GPT4RoIForConditionalGeneration, tokens_per_forward: int = 256) -> None:
        self.model = model
        self.tokens_per_forward = tokens_per_forward if takes_own_mask(model.language_model) else 0
        self._inputs: Tensor | None = None
        self._state = TransformersState(DynamicCache())

    @torch.inference_mode()
    def score(self, prefix_embeds: Tensor, options: Sequence[Sequence[int]]) -> list[OptionScore]:
        """Scores of token ids `options` after float[P, D], the prompt with the image's and the regions' features in place."""
        common = common_start(options)
        inputs = torch.cat([prefix_embeds, self._embed(common).to(prefix_embeds.dtype)])
        length = len(inputs)
        # The prompt's last place is always run: it predicts the options' first token.
        state = self._state.fork(min(self._num_equal(inputs), len(prefix_embeds) - 1), length)
        pending = inputs[state.length :]
        rests = [list(option[len(common) :]) for option in options]
        scores: list[OptionScore] = []
        last_logits: Tensor | None = None
        shared = OptionScore(0.0, len(common))
        for chunk in _chunks(rests, self.tokens_per_forward):
            # The last token of an option is predicted and predicts nothing.
            lengths = [len(rest) - 1 for rest in chunk]
            ids = [token for rest in chunk for token in rest[:-1]]
            if len(pending) or ids:
                kept = len(ids) + (len(common) + 1 if last_logits is None else 0)
                logits = self._forward(torch.cat([pending, self._embed(ids).to(pending.dtype)]), lengths, state, kept)
                state = state.fork(length, length)
                pending = pending[:0]
            if last_logits is None:
                shared = OptionScore(float(_log_probs(logits[: len(common)], common).sum()), len(common))
                last_logits, logits = logits[len(common) : len(common) + 1], logits[len(common) + 1 :]
            firsts = _log_probs(last_logits, [rest[0] for rest in chunk])
            followers = _log_probs(logits[: len(ids)], [token for rest in chunk for token in rest[1:]])
            for rest, first, follower in zip(chunk, firsts, followers.split(lengths), strict=True):
                scores.append(OptionScore(shared.log_prob + float(first) + float(follower.sum()), shared.num_tokens + len(rest)))
        self._inputs, self._state = inputs, state
        return scores

    def _embed(self, ids: Sequence[int]) -> Tensor:
        """float[N, D] of N token ids."""
        return self.model.get_input_embeddings()(torch.tensor(ids, dtype=torch.long, device=self.model.device))

    def _num_equal(self, inputs: Tensor) -> int:
        """How many of the leading rows are those of the item before."""
        if self._inputs is None or self._inputs.dtype != inputs.dtype:
            return 0
        length = min(len(self._inputs), len(inputs))
        differs = (self._inputs[:length] != inputs[:length]).any(dim=1).nonzero()
        return int(differs[0]) if len(differs) else length

    def _forward(self, embeddings: Tensor, lengths: Sequence[int], state: TransformersState, kept: int) -> Tensor:
        """float[N, D], of which the last sum(lengths) rows are options, to the logits float[kept, V] of the last `kept` rows."""
        count, past = len(embeddings), state.length
        places: dict[str, Tensor] = {}
        if len(lengths) > 1:
            prompt = count - sum(lengths)
            owner = torch.repeat_interleave(torch.arange(len(lengths) + 1), torch.tensor([prompt, *lengths]))
            sees = ((owner[:, None] == owner) | (owner == 0)).tril()
            mask = torch.zeros(count, past + count, dtype=embeddings.dtype)
            mask[:, past:].masked_fill_(~sees, torch.finfo(embeddings.dtype).min)
            positions = torch.cat([torch.arange(prompt), *(prompt + torch.arange(length) for length in lengths)]) + past
            places = {"attention_mask": mask[None, None].to(embeddings.device), "position_ids": positions[None].to(embeddings.device)}
        output = self.model.language_model(
            inputs_embeds=embeddings[None], past_key_values=state.cache, use_cache=True, logits_to_keep=kept, **places
        )
        return output.logits[0]


def takes_own_mask(language_model: PreTrainedModel) -> bool:
    """Whether attention follows a mask given as a matrix, so that several options can stand in one sequence.

    Flash attention knows causal masks only, and a matrix of ours would stand in for a sliding window.
    """
    config = language_model.config
    layer_types = getattr(config, "layer_types", None)
    is_full = all(kind == "full_attention" for kind in layer_types) if layer_types else getattr(config, "sliding_window", None) is None
    return is_full and config._attn_implementation in ("sdpa", "eager")


def _chunks(rests: Sequence[list[int]], tokens_per_chunk: int) -> Iterator[list[list[int]]]:
    """Consecutive options of together at most so many tokens; at least one option each."""
    chunk: list[list[int]] = []
    for rest in rests:
        if chunk and sum(map(len, chunk)) + len(rest) > tokens_per_chunk:
            yield chunk
            chunk = []
        chunk.append(rest)
    if chunk:
        yield chunk


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
        scores.append(OptionScore(float(_log_probs(output.logits[0, :-1], option).sum()), len(option)))
    return scores


def _log_probs(logits: Tensor, ids: Sequence[int]) -> Tensor:
    """float32[N] log-probabilities of N tokens, predicted by float[N, V], or all by the one row of float[1, V]."""
    targets = torch.tensor(ids, dtype=torch.long, device=logits.device)
    logits = logits.float()
    return logits.expand(len(ids), -1).gather(1, targets[:, None])[:, 0] - logits.logsumexp(dim=1)
