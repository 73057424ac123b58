"""One model, many conversations: prompts in, tokens out."""

from __future__ import annotations

import atexit
import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from gpt4roi.engine.branches import chunks
from gpt4roi.engine.cuda_decoder import CudaDecoder
from gpt4roi.engine.decoder import Decoder, TransformersDecoder
from gpt4roi.engine.features import FeatureCache, position_keys
from gpt4roi.engine.generation import Generation, Sampling, Sink, choose
from gpt4roi.engine.image import PreparedImage
from gpt4roi.engine.llama_shape import is_llama_shaped
from gpt4roi.engine.onnx_decoder import PRECISIONS, OnnxDecoder
from gpt4roi.engine.prefix_cache import PrefixCache
from gpt4roi.engine.prompt import Prompt
from gpt4roi.errors import UserError
from gpt4roi.models import GPT4RoIForConditionalGeneration, GPT4RoIProcessor

logger = logging.getLogger(__name__)
IDLE_S = 5.0
# The CPU decoder copies the language model's weights; beyond this the copy costs more than it is worth.
MAX_COPIED_PARAMETERS = 2_000_000_000
# Each brings logits of the whole vocabulary, all of a forward at once.
BRANCHED_TOKENS = 256


class EngineBusyError(UserError):
    """The queue is full; the message is a sentence for the user."""


class PromptTooLongError(UserError):
    """The model's positions are used up; the message is a sentence for the user."""


class EngineClosedError(EngineBusyError):
    """The engine takes nothing more; the message is a sentence for the user."""


@dataclass(frozen=True)
class EngineSettings:
    """Sizes of the engine.

    precision: `int8` or `float32` of ONNX Runtime's decoder on CPU; `transformers` for the model as it is; None chooses: for
      LLaMA-shaped language models int8 on CPU and CUDA graphs on CUDA, else `transformers`.
    max_active: answers that are written at the same time. max_waiting: answers that may wait for a place.
    prefill_chunk: tokens of a new prompt between two steps of the others, so that nobody's answer stands still.
    image_bytes, region_bytes, prefix_bytes: budgets of the caches; 0 turns one off.
    """

    precision: str | None = None
    max_active: int = 8
    max_waiting: int = 64
    prefill_chunk: int = 256
    image_bytes: int = 256 << 20
    region_bytes: int = 16 << 20
    prefix_bytes: int = 256 << 20


@dataclass
class _Running:
    """An answer in its place: the state of its conversation, the keys of what the state holds, and what is still to be run."""

    generation: Generation
    keys: list[Hashable]
    state: Any
    pending: Tensor | None
    generator: torch.Generator | None
    last_token: int | None = None
    new_tokens: int = 0
    prefill_s: float = 0.0


class Engine:
    """Prompts to tokens with one model, for many conversations at once.

    One thread computes: it admits waiting prompts first come, first served, runs them in chunks, and steps all running answers
    together by one token (continuous batching). It ends by itself when there is nothing to do.

    Args:
      model, processor: a pair that belongs together; the model is put into inference mode.
      settings: sizes.
    """

    def __init__(self, model: GPT4RoIForConditionalGeneration, processor: GPT4RoIProcessor, settings: EngineSettings | None = None) -> None:
        self.model = model.eval()
        self.processor = processor
        self.settings = settings or EngineSettings()
        self._make_decoder = choose_decoder(model, self.settings.precision)
        self.features = FeatureCache(model, self.settings.image_bytes, self.settings.region_bytes)
        self.prefixes = PrefixCache(self.settings.prefix_bytes)
        self.end_ids = end_token_ids(model, processor)
        # Turns of a separated style end in text, not in a token.
        self.stop_strings = [processor.style.separator] if processor.style.separator else []
        self._placeholder_ids = [i for i in (model.config.image_token_id, model.config.region_token_id) if i < self._vocabulary_size]
        self._waiting: deque[Generation] = deque()
        self._running: list[_Running] = []
        self._changed = threading.Condition()
        # Held by whoever uses decoder and caches; the engine's thread lets others go first.
        self._computing = threading.Lock()
        self._guests = 0
        self._thread: threading.Thread | None = None
        self._closed = False
        # A thread that the interpreter kills inside PyTorch aborts the whole process, so it is asked to end first.
        atexit.register(_stop_at_exit, weakref.ref(self))
        # The embedded default answers much without its language model; every other model needs it for its first answer.
        if not model.is_embedded_default:
            _ = self.decoder

    @cached_property
    def decoder(self) -> Decoder:
        """What computes the language model; made when it is first needed."""
        return self._make_decoder()

    @property
    def _vocabulary_size(self) -> int:
        return int(self.model.language_model.config.vocab_size)

    @property
    def waiting_count(self) -> int:
        return len(self._waiting)

    @property
    def running_count(self) -> int:
        return len(self._running)

    @torch.inference_mode()
    def levels(self, image: PreparedImage) -> list[Tensor]:
        """The vision tower's levels of an image, float[1, C_l, h_l, w_l], finest first, from the cache of image features."""
        with self._as_guest():
            return self.features.of(image)[0].levels

    @contextmanager
    def _as_guest(self) -> Iterator[None]:
        """Decoder and caches for another thread, after the step that is under way. A lock alone goes back to the thread that has just left it."""
        with self._changed:
            self._guests += 1
        try:
            with self._computing:
                yield
        finally:
            with self._changed:
                self._guests -= 1
                self._changed.notify_all()

    def submit(self, prompt: Prompt, sampling: Sampling | None = None, sink: Sink | None = None) -> Generation:
        """Queue a prompt; iterate over what is returned, or give a `sink` that is called from the engine's thread instead.

        Raises:
          EngineBusyError: as many prompts as may wait are waiting, or the engine is closed.
          PromptTooLongError: the prompt fills all positions of the language model.
        """
        sampling = sampling or Sampling()
        sampling = replace(sampling, max_new_tokens=min(sampling.max_new_tokens, self._room(prompt)))
        generation = Generation(prompt, sampling, self._cancelled, sink)
        with self._changed:
            if self._closed:
                raise EngineClosedError("the engine is shutting down and takes no more questions")
            idle_places = self.settings.max_active - len(self._running)
            if len(self._waiting) >= self.settings.max_waiting + idle_places:
                raise EngineBusyError(f"{len(self._waiting)} questions are waiting already; try again in a moment")
            self._waiting.append(generation)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="gpt4roi-engine", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return generation

    @torch.inference_mode()
    def log_probs(self, prompt: Prompt, continuations: Sequence[Sequence[int]]) -> list[Tensor]:
        """How likely each of several continuations of a prompt is: float32[L], the log-probability of each of its L tokens, L at least 1.

        The prompt runs once for all of them, and only as far as it differs from what was computed before.

        Raises:
          PromptTooLongError: the prompt with a continuation has more positions than the language model.
        """
        self._room(prompt, max(map(len, continuations)))
        with self._as_guest():
            keys, state, pending = self._prepared(prompt, 0, {})
            logits = self.decoder.prefill(pending, state)
            firsts = _log_probs(logits.expand(len(continuations), -1), [tokens[0] for tokens in continuations])
            # The last token of a continuation is predicted and predicts nothing.
            longer = [list(tokens) for tokens in continuations if len(tokens) > 1]
            followers = iter(
                _log_probs(rows, tokens[1:])
                for chunk in chunks(longer, BRANCHED_TOKENS)
                for tokens, rows in zip(chunk, self.decoder.branch([self._embedded(tokens[:-1]) for tokens in chunk], state), strict=True)
            )
            found = [
                torch.cat([first[None], next(followers)]) if len(tokens) > 1 else first[None]
                for first, tokens in zip(firsts, continuations, strict=True)
            ]
            self._keep(keys, state)
        return found

    def _embedded(self, ids: Sequence[int]) -> Tensor:
        """float[L, D] of L token ids."""
        return self.model.get_input_embeddings()(torch.tensor(ids, device=self.model.device))

    def _room(self, prompt: Prompt, wanted: int = 1) -> int:
        """Positions of the language model that a prompt leaves.

        Raises:
          PromptTooLongError: they are fewer than `wanted`.
        """
        positions: int = self.model.config.text_config.max_position_embeddings
        room = positions - len(prompt.input_ids)
        if room < wanted:
            raise PromptTooLongError(
                f"the conversation has {len(prompt.input_ids)} tokens and the model reads at most {positions}; take back some turns or start a new one"
            )
        return room

    def close(self, timeout_s: float | None = None) -> bool:
        """Take nothing new and wait for what is there; whether all of it ended in time."""
        with self._changed:
            self._closed = True
            return self._changed.wait_for(lambda: not self._waiting and not self._running, timeout=timeout_s)

    def stop(self, timeout_s: float = 10.0) -> None:
        """Cut off what is running or waiting and end the thread."""
        with self._changed:
            self._closed = True
            unfinished = [*self._waiting, *(one.generation for one in self._running)]
            thread = self._thread
            self._changed.notify_all()
        for generation in unfinished:
            generation.cancel()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)

    def clear_caches(self) -> None:
        """Forget every image, region and prefix."""
        with self._changed:
            self._changed.wait_for(lambda: not self._running)
        with self._as_guest():
            self.features.clear()
            self.prefixes.clear()

    def _cancelled(self, generation: Generation) -> None:
        with self._changed:
            if generation in self._waiting:
                self._waiting.remove(generation)
                generation.end("cancelled")
            self._changed.notify_all()

    # The thread

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._waiting and not self._running:
                    self._changed.wait_for(lambda: bool(self._waiting) or self._closed, timeout=IDLE_S)
                    if not self._waiting:
                        self._thread = None
                        return
                self._changed.wait_for(lambda: not self._guests)
                admitted = [self._waiting.popleft() for _ in range(min(len(self._waiting), self.settings.max_active - len(self._running)))]
                self._running += [_Running(generation, [], None, None, None) for generation in admitted]
            with self._computing, torch.inference_mode():
                self._advance()
            with self._changed:
                self._running = [one for one in self._running if one.generation.finish_reason is None]
                self._changed.notify_all()

    def _advance(self) -> None:
        """One chunk of one prompt that is not through yet, then one token for all that are."""
        for one in self._running:
            if one.generation.is_cancelled:
                self._finish(one, "cancelled")
        fresh = next((one for one in self._running if one.generation.finish_reason is None and one.last_token is None), None)
        if fresh is not None:
            self._guarded([fresh], self._prefill_chunk)
        ready = [one for one in self._running if one.generation.finish_reason is None and one.last_token is not None and one is not fresh]
        if ready:
            self._guarded(ready, self._step)

    def _guarded(self, running: list[_Running], work: Any) -> None:
        try:
            work(running)
        except Exception as error:  # the thread serves others too: the one who asked gets the error, the thread lives on
            logger.exception("an answer failed")
            for one in running:
                one.generation.end("error", error)

    def _prefill_chunk(self, running: list[_Running]) -> None:
        (one,) = running
        if one.state is None:
            self._begin(one)
        start = time.perf_counter()
        assert one.pending is not None
        chunk, rest = one.pending[: self.settings.prefill_chunk], one.pending[self.settings.prefill_chunk :]
        logits = self.decoder.prefill(chunk, one.state)
        one.prefill_s += time.perf_counter() - start
        one.pending = rest
        if not len(rest):
            one.pending = None
            one.generation.timings["prefill_s"] = one.prefill_s
            self._take(one, logits)

    def _begin(self, one: _Running) -> None:
        """Features, and the longest beginning that was computed before."""
        generation = one.generation
        generation.timings.update(queue_s=time.perf_counter() - generation.submitted_at, new_tokens=0)
        one.keys, one.state, one.pending = self._prepared(generation.prompt, generation.sampling.max_new_tokens, generation.timings)
        if generation.sampling.temperature > 0:
            one.generator = torch.Generator()
            if generation.sampling.seed is None:
                one.generator.seed()
            else:
                one.generator.manual_seed(generation.sampling.seed)

    def _prepared(self, prompt: Prompt, new_tokens: int, timings: dict[str, float]) -> tuple[list[Hashable], Any, Tensor]:
        """Keys of the prompt's positions, a state with the longest beginning that was computed before and room for `new_tokens` after the
        prompt, and the rest float[T, D], T at least 1."""
        config = self.model.config
        keys = position_keys(prompt, config.image_token_id, config.region_token_id)
        common, kept = self.prefixes.longest(keys)
        # The last position is always run: its logits are not kept.
        common = min(common, len(keys) - 1)
        capacity = len(keys) + new_tokens
        state = self.decoder.new_state(capacity) if kept is None or not common else kept.fork(common, capacity)
        features = self.features.image(prompt, timings)
        regions = self.features.boxes(prompt, features, timings)
        ids = torch.tensor([prompt.input_ids], device=self.model.device)
        embeddings = self.model.embed(ids, features.image_features if features is not None else None, regions)
        timings.update(prompt_tokens=len(keys), reused_tokens=common)
        return keys, state, embeddings[0, common:]

    def _keep(self, keys: list[Hashable], state: Any) -> None:
        state.trim()
        self.prefixes.keep(keys[: state.length], state)

    def _step(self, running: list[_Running]) -> None:
        tokens = [one.last_token for one in running if one.last_token is not None]
        states = [one.state for one in running]
        logits = self.decoder.step(tokens, states)
        for one, row in zip(running, logits, strict=True):
            one.keys.append(one.last_token)
            # What one answer's sampling does must not end the others, whose logits came out of the same step.
            self._guarded([one], lambda _, one=one, row=row: self._take(one, row))

    def _take(self, one: _Running, logits: Tensor) -> None:
        """Choose the next token and hand it on, or end the answer."""
        generation, timings = one.generation, one.generation.timings
        if self._placeholder_ids:
            logits[self._placeholder_ids] = -torch.inf
        constraint = generation.sampling.constraint
        if constraint is not None:
            constraint.restrict(logits)
        token = choose(logits.cpu(), generation.sampling, one.generator)
        if "first_token_s" not in timings:
            timings["first_token_s"] = time.perf_counter() - generation.submitted_at
        if token in self.end_ids:
            self._finish(one, "stop")
            return
        if constraint is not None:
            constraint.accept(token)
        one.last_token = token
        one.new_tokens += 1
        timings["new_tokens"] = one.new_tokens
        generation.push(token)
        if one.new_tokens >= generation.sampling.max_new_tokens:
            self._finish(one, "length")

    def _finish(self, one: _Running, reason: str) -> None:
        if one.state is not None and one.state.length:
            self._keep(one.keys, one.state)
        timings = one.generation.timings
        writing_s = time.perf_counter() - one.generation.submitted_at - timings.get("first_token_s", 0.0)
        if one.new_tokens > 1 and writing_s > 0:
            timings["tokens_per_s"] = (one.new_tokens - 1) / writing_s
        one.generation.end(reason)


def _log_probs(logits: Tensor, ids: Sequence[int]) -> Tensor:
    """float32[N] of N tokens, on the CPU, each predicted by a row of float32[N, V]."""
    targets = torch.tensor(ids, device=logits.device)
    return (logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(dim=1)).cpu()


def choose_decoder(model: GPT4RoIForConditionalGeneration, precision: str | None) -> Callable[[], Decoder]:
    """How to make the fastest decoder that fits the model and its device.

    Raises:
      UserError: the precision is none, or not one for this model.
    """
    language_model = model.language_model
    fits = is_llama_shaped(language_model)
    on_cpu = model.device.type == "cpu"
    if precision == "transformers" or (precision is None and not fits):
        return partial(TransformersDecoder, language_model)
    if precision is None and not on_cpu:
        return partial(CudaDecoder if model.device.type == "cuda" else TransformersDecoder, language_model)
    if precision is None and language_model.num_parameters() > MAX_COPIED_PARAMETERS:
        return partial(TransformersDecoder, language_model)
    if precision not in (None, *PRECISIONS):
        raise UserError(f"precision is one of {', '.join((*PRECISIONS, 'transformers'))}; got '{precision}'")
    if not fits or not on_cpu:
        raise UserError(
            f"precision '{precision}' is for LLaMA-shaped language models on CPU with weights as saved; use 'transformers' for this one"
        )
    # Training changes weights in place, which their versions count.
    is_as_loaded = all(parameter.is_inference() or parameter._version == 0 for parameter in language_model.parameters())
    return partial(OnnxDecoder, language_model, precision or "int8", model.decoder_dir if is_as_loaded else None)


def end_token_ids(model: GPT4RoIForConditionalGeneration, processor: GPT4RoIProcessor) -> frozenset[int]:
    """Tokens that end an answer, from wherever this model names them."""
    found: set[int] = set()
    for source in (processor.tokenizer.eos_token_id, model.language_model.config.eos_token_id, model.generation_config.eos_token_id):
        found |= {int(i) for i in (source if isinstance(source, (list, tuple)) else [source]) if i is not None}
    return frozenset(found)


def _stop_at_exit(reference: weakref.ref[Engine]) -> None:
    engine = reference()
    if engine is not None:
        engine.stop()
