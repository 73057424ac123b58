"""RegionChat: one picture, its numbered regions and a conversation about them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from gpt4roi.boxes import BoxError, to_pixels, validate_box
from gpt4roi.conversation import ConversationError, Turn, check_mentions, mentioned_numbers
from gpt4roi.engine import Engine, EngineSettings, Generation, Picture, Prompt, Sampling, TextStream, build_prompt, load_picture
from gpt4roi.images import PictureError, PictureLike
from gpt4roi.models import GPT4RoIForConditionalGeneration, GPT4RoIProcessor
from gpt4roi.models.loading import load_model

Box = tuple[float, float, float, float]
Progress = Callable[[str, float | None], None]
DEFAULT_NEW_TOKENS = 256


@dataclass(frozen=True)
class Answer:
    """An answer, or the part of it that was written before it was stopped.

    timings: seconds `queue_s`, `vision_s`, `regions_s`, `prefill_s`, `first_token_s`, `total_s`; counts `prompt_tokens`, `reused_tokens`
      (of them, kept from before), `new_tokens`, `picture_cached` (0 or 1), `regions_cached`, `regions_encoded`; and `tokens_per_s`.
    stopped: `stop` ended it, not the model.
    """

    text: str
    timings: dict[str, float] = field(default_factory=dict)
    stopped: bool = False


class RegionChat:
    """One picture, its numbered regions and a conversation about them.

    `<region2>` is box 2, whoever mentions it first and however often. A number is never given twice and never shifts. Every mistake
    is a ValueError with one sentence, and what was said so far is kept. One object serves one conversation and may be used from
    several threads; `new_session` gives another conversation on the same model.

    Args:
      model, processor: a pair that belongs together.
      engine: what computes; a new one when none is given.
    """

    def __init__(self, model: GPT4RoIForConditionalGeneration, processor: GPT4RoIProcessor, engine: Engine | None = None) -> None:
        self.model = model
        self.processor = processor
        self.engine = engine if engine is not None else Engine(model, processor)
        self._lock = threading.RLock()
        self._generation: Generation | None = None
        self._stopped = False
        self._picture: Picture | None = None
        self._picture_name: str | None = None
        self._regions: dict[int, Box] = {}
        self._last_number = 0
        self._turns: list[Turn] = []
        self.last_answer: Answer | None = None

    @classmethod
    def from_pretrained(
        cls,
        model: str | None = None,
        *,
        device: str | None = None,
        dtype: torch.dtype | str | None = None,
        progress: Progress | None = None,
        settings: EngineSettings | None = None,
        quantization: str | None = None,
        attn_implementation: str | None = None,
    ) -> RegionChat:
        """The embedded default (None), a folder or a hub id; the arguments are those of `gpt4roi.models.loading.load_model`."""
        loaded_model, processor = load_model(model, device, dtype, progress, quantization, attn_implementation)
        return cls(loaded_model, processor, Engine(loaded_model, processor, settings))

    def new_session(self) -> RegionChat:
        """An empty conversation on the same model and engine."""
        return RegionChat(self.model, self.processor, self.engine)

    # The picture and its regions

    @property
    def image_size_wh(self) -> tuple[int, int] | None:
        """Width and height of the picture in pixels; None without a picture."""
        return None if self._picture is None else self._picture.size_wh

    def set_image(self, picture: PictureLike) -> None:
        """Take a picture and begin a new conversation about it: regions and turns of the last one are forgotten.

        Raises:
          PictureError: the picture cannot be used; the conversation so far is kept.
        """
        loaded = load_picture(picture, self.processor)
        with self._lock:
            self._refuse_while_answering()
            self._picture = loaded
            self._picture_name = str(picture) if isinstance(picture, (str, Path)) else None
            self._regions, self._turns, self._last_number, self.last_answer = {}, [], 0, None

    @property
    def regions(self) -> dict[int, Box]:
        """Boxes by region number, in pixels of the picture."""
        with self._lock:
            return dict(self._regions)

    def add_region(self, box: Sequence[float], space: str = "pixels", number: int | None = None) -> int:
        """Add a box and return its region number.

        Args:
          box: x0, y0, x1, y1.
          space: `pixels` of the picture, `unit` ([0, 1]) or `thousandths`.
          number: the number it shall have; by default the next that no region has ever had.
        Raises:
          PictureError: there is no picture.
          BoxError: the box is empty, outside, or the number is taken.
        """
        with self._lock:
            if number is None:
                number = self._last_number + 1
            if number < 1 or number in self._regions:
                raise BoxError(
                    f"<region{number}> exists already; move it instead" if number > 0 else f"region numbers count from 1; got {number}"
                )
            self._regions[number] = self._checked(box, space, number)
            self._last_number = max(self._last_number, number)
            return number

    def move_region(self, number: int, box: Sequence[float], space: str = "pixels") -> None:
        """Give region `number` another box; answers from now on are about the new one."""
        with self._lock:
            self._refuse_unknown(number)
            self._regions[number] = self._checked(box, space, number)

    def remove_region(self, number: int) -> None:
        """Remove region `number`. Earlier turns keep its name as a word; its number is not given again."""
        with self._lock:
            self._refuse_unknown(number)
            del self._regions[number]

    def _checked(self, box: Sequence[float], space: str, number: int) -> Box:
        if self._picture is None:
            raise PictureError("there is no picture to draw on yet; set one first")
        size = self._picture.size_wh
        return validate_box(to_pixels(box, size, space), size, f"<region{number}>")

    def _refuse_unknown(self, number: int) -> None:
        if number not in self._regions:
            drawn = ", ".join(f"<region{n}>" for n in sorted(self._regions)) or "none"
            raise BoxError(f"there is no <region{number}>; drawn so far: {drawn}")

    # The conversation

    @property
    def turns(self) -> list[Turn]:
        """What was said, questions and answers in turn."""
        with self._lock:
            return list(self._turns)

    def ask(self, text: str, max_new_tokens: int = DEFAULT_NEW_TOKENS) -> Answer:
        """Ask and wait for the whole answer; errors as in `stream`."""
        return self._whole(self.stream(text, max_new_tokens))

    def stream(self, text: str, max_new_tokens: int = DEFAULT_NEW_TOKENS) -> Iterator[str]:
        """Ask, and get the answer piece by piece; at the end `last_answer` holds the whole.

        What is wrong with the question is said here, before the first piece. Closing the iterator stops the answer.

        Raises:
          ConversationError: the question is empty, or names a region that is not there.
        """
        with self._lock:
            return self._begin(self._turns, text, max_new_tokens)

    def regenerate(self, max_new_tokens: int = DEFAULT_NEW_TOKENS) -> Answer:
        """Answer the last question again, about the regions as they are now."""
        return self._whole(self.stream_again(max_new_tokens))

    def stream_again(self, max_new_tokens: int = DEFAULT_NEW_TOKENS) -> Iterator[str]:
        """`regenerate`, piece by piece. The old answer stays until the new one is there."""
        with self._lock:
            if len(self._turns) < 2:
                raise ConversationError("there is no answer to give again yet; ask something first")
            return self._begin(self._turns[:-2], self._turns[-2].content, max_new_tokens)

    def stop(self) -> None:
        """End the answer that is being written, at the next token; what was written is kept. Without one this does nothing."""
        with self._lock:
            if self._generation is not None:
                self._stopped = True
                self._generation.cancel()

    def undo(self) -> str:
        """Take back the last question and its answer; returns the question."""
        with self._lock:
            self._refuse_while_answering()
            if len(self._turns) < 2:
                raise ConversationError("there is nothing to take back yet")
            question = self._turns[-2].content
            self._turns = self._turns[:-2]
            return question

    def reset(self) -> None:
        """Forget what was said; the picture and its regions stay."""
        with self._lock:
            self._refuse_while_answering()
            self._turns, self.last_answer = [], None

    def to_dict(self) -> dict[str, Any]:
        """The conversation in the project's region data format, with numbers and size beside it; JSON-ready."""
        with self._lock:
            return {
                "image": self._picture_name,
                "image_size_wh": list(self.image_size_wh) if self.image_size_wh else None,
                "regions": [{"number": number, "box_xyxy": list(box)} for number, box in sorted(self._regions.items())],
                "conversation": [turn.to_dict() for turn in self._turns],
            }

    def save(self, path: str | Path) -> None:
        """Write `to_dict` as JSON."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    # Answering

    def _begin(self, history: list[Turn], text: str, max_new_tokens: int) -> Iterator[str]:
        self._refuse_while_answering()
        question = text.strip()
        if not question:
            raise ConversationError("the question is empty; type one")
        sampling = Sampling(max_new_tokens)
        if self._picture is None and mentioned_numbers(question):
            raise PictureError("the question names a region but there is no picture; set one and draw on it first")
        check_mentions(question, self._regions)
        asked = Turn("user", question)
        # A question that was stopped before its answer began would teach the model to say nothing.
        told = [turn for pair in zip(history[::2], history[1::2], strict=True) if pair[1].content for turn in pair]
        prompt = build_prompt(self.processor, [*told, asked], self._picture, self._regions)
        return self._answer(history, asked, prompt, frozenset(self._regions), sampling)

    def _answer(self, history: list[Turn], asked: Turn, prompt: Prompt, known: frozenset[int], sampling: Sampling) -> Iterator[str]:
        with self._lock:
            self._refuse_while_answering()
            generation = self._generation = self.engine.submit(prompt, sampling)
            self._stopped = False
        text = TextStream(self.processor, known, self.engine.stop_strings)
        whole = False
        try:
            for token in generation:
                piece = text.feed(token)
                if piece:
                    yield piece
                if text.stopped:
                    break
            rest = text.finish()
            if rest:
                yield rest
            whole = True
        except GeneratorExit:
            self._stopped = whole = True
            raise
        finally:
            generation.cancel()
            with self._lock:
                self._generation = None
                # A failure inside the model leaves the conversation as it was.
                if whole:
                    self.last_answer = Answer(text.text, dict(generation.timings), self._stopped)
                    self._turns = [*history, asked, Turn("assistant", text.text)]

    def _whole(self, pieces: Iterator[str]) -> Answer:
        for _ in pieces:
            pass
        assert self.last_answer is not None  # set when the pieces end
        return self.last_answer

    def _refuse_while_answering(self) -> None:
        if self._generation is not None:
            raise ConversationError("an answer is still being written; stop it or wait for its end first")
