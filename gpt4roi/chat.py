"""RegionChat: one image, its numbered regions and a conversation about them."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from gpt4roi.answers import Fact, FindError, Look, find_phrases, respond
from gpt4roi.answers.places import iou
from gpt4roi.answers.translate import to_english
from gpt4roi.boxes import Box
from gpt4roi.conversation import ConversationError, Turn, check_mentions, mentioned_numbers
from gpt4roi.engine import Engine, EngineSettings, Generation, PreparedImage, Prompt, Sampling, TextStream, build_prompt, prepare_image
from gpt4roi.engine.events import Answer, Event, Failed, Finished, FinishReason, Found, Text, Timings
from gpt4roi.eyes import eyes_of, has_eyes
from gpt4roi.eyes.letters import can_read, read_lines
from gpt4roi.eyes.names import names
from gpt4roi.images import ImageError, ImageLike
from gpt4roi.masks import Rle
from gpt4roi.meaning import meant, points_back
from gpt4roi.measured import color_answer, measurable, region_colors
from gpt4roi.models import GPT4RoIForConditionalGeneration, GPT4RoIProcessor
from gpt4roi.models.loading import load_model
from gpt4roi.models.mask_head import has_mask_head, mask_head_of
from gpt4roi.models.point_masks import mask_at_points
from gpt4roi.regions import Region, RegionSet

Progress = Callable[[str, float | None], None]
DEFAULT_NEW_TOKENS = 256
# A region that is found again is the same one.
SAME_IOU = 0.8
# Where a region was when something was said about it.
Place = tuple[Box, str | None]


@dataclass(frozen=True)
class Exchange:
    """One question and its answer.

    Attributes:
      question: as it was typed.
      asked: as the model read it: every region that was meant is named.
      regions: numbers of the regions that were meant, named or not.
      places: where those regions were.
      corrected: what a person says the answer should have been.
      stale: a region that was meant has been moved or removed since.
    """

    question: str
    asked: str
    regions: tuple[int, ...]
    answer: Answer
    places: Mapping[int, Place] = field(default_factory=dict)
    corrected: str | None = None
    stale: bool = False

    @property
    def text(self) -> str:
        """The answer that counts: the corrected one, if there is any."""
        return self.answer.text if self.corrected is None else self.corrected

    @property
    def timings(self) -> Timings:
        return self.answer.timings

    def turns(self) -> list[Turn]:
        return [Turn("user", self.asked), Turn("assistant", self.text)]


class RegionChat:
    """One image, its numbered regions and a conversation about them.

    `<region2>` is the region with number 2, whoever mentions it first and however often. A question that names no region is about the
    selected one, else the only one, else the last one made, unless it speaks of the whole image (`gpt4roi.meaning`). What was said about a
    region is forgotten by the model as soon as the region is elsewhere, and what was said about one region is not told when another is asked
    about. Every mistake is a `UserError` with one sentence, and what was said so far is kept. One object serves one conversation and may be
    used from several threads; `new_session` gives another conversation on the same model.

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
        self._image: PreparedImage | None = None
        self._image_name: str | None = None
        self._regions = RegionSet()
        self._selected: int | None = None
        self._rejected: list[Region] = []
        self._exchanges: list[Exchange] = []
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

    # The image and its regions

    @property
    def image_size_wh(self) -> tuple[int, int] | None:
        """Width and height of the image in pixels; None without an image."""
        return None if self._image is None else self._image.size_wh

    @property
    def image_key(self) -> str:
        """SHA-256 of the image.

        Raises:
          ImageError: there is none.
        """
        self._refuse_without_image()
        assert self._image is not None
        return self._image.key

    def set_image(self, image: ImageLike | PreparedImage, name: str | None = None, regions: RegionSet | None = None) -> None:
        """Take an image and begin a new conversation about it: regions and exchanges of the last one are forgotten.

        Args:
          name: the file name that saved conversations give; by default the path, if `image` is one.
          regions: regions that were drawn before the model was there; they become this conversation's.
        Raises:
          ImageError: the image cannot be used; the conversation so far is kept.
        """
        loaded = image if isinstance(image, PreparedImage) else prepare_image(image, self.processor)
        if regions is None:
            regions = RegionSet(loaded.size_wh)
        elif regions.image_size_wh != loaded.size_wh:
            raise ValueError(f"the regions are of an image of {regions.image_size_wh}, this one is {loaded.size_wh}")
        with self._lock:
            self._refuse_while_answering()
            self._image = loaded
            self._image_name = name or (str(image) if isinstance(image, (str, Path)) else None)
            self._regions = regions
            self._selected, self._exchanges, self.last_answer, self._rejected = None, [], None, []

    @property
    def regions(self) -> RegionSet:
        """The regions by number: a mapping that the methods below change."""
        return self._regions

    def add_region(
        self,
        box: Sequence[float] | None = None,
        space: str = "pixels",
        number: int | None = None,
        *,
        label: str | None = None,
        points: Sequence[Sequence[float]] = (),
        mask: Rle | None = None,
    ) -> int:
        """Add a region and return its number.

        Args:
          box: x0, y0, x1, y1.
          space: `pixels` of the image, `unit` ([0, 1]) or `thousandths`.
          number: the number it shall have; by default the next that no region has ever had.
          mask: COCO run lengths of the image's size; only what it covers is looked at.
          points: clicks or a scribble, x, y in pixels; without a box or mask the outline of what is there is found.
        Raises:
          ImageError: there is no image.
          BoxError, MaskError, RegionError: the box or mask is empty, outside or of another size, or the number is taken.
        """
        with self._lock:
            self._refuse_without_image()
            if points and box is None and mask is None:
                mask = self._mask_at(points)
            return self._regions.add(box, space=space, number=number, label=label, points=points, mask=mask).number

    def move_region(self, number: int, box: Sequence[float] | None = None, space: str = "pixels", mask: Rle | None = None) -> None:
        """Give region `number` another box or mask. Answers from now on are about the new place; earlier ones about it are stale."""
        with self._lock:
            self._regions.move(number, box, space=space, mask=mask)

    def label_region(self, number: int, label: str | None) -> None:
        """Say what region `number` is. Saved conversations carry the label."""
        with self._lock:
            self._regions.label(number, label)

    def remove_region(self, number: int) -> None:
        """Remove region `number`. Its number is not given again; earlier answers about it are stale; if it was found it is not found again."""
        with self._lock:
            removed = self._regions.remove(number)
            if removed.origin == "found":
                self._rejected.append(removed)

    def _was_rejected(self, region: Region) -> bool:
        return any(old.label == region.label and iou(old.box_xyxy, region.box_xyxy) >= SAME_IOU for old in self._rejected)

    def find(
        self, what: str, *, one: bool = False, without: Sequence[str] = (), threshold: float | None = None, step: str | None = None
    ) -> list[Region]:
        """Find things by words: `dog`, `red car`, `the second cup from the left`; several phrases are separated by commas.

        What is found becomes regions of the conversation with label and score, origin `found`, the surest first; nothing is a result too.
        A region that was found and removed does not come back.

        Args:
          one: only the best.
          without: names that are not meant ("cup", without "glass").
          threshold: least score, 0 to 1; by default 0.3.
          step: the plan step that asks.
        Raises:
          ImageError: there is no image. FindError: no phrase, one twice, an unknown word, or this model has no eyes.
        """
        with self._lock:
            found = self.candidates(what, one=one, without=without, threshold=threshold)
            return self.add_found([replace(region, step=step) for region in found])

    def candidates(self, what: str, *, one: bool = False, without: Sequence[str] = (), threshold: float | None = None) -> list[Region]:
        """What `find` would take, as yet without numbers: for a person who takes some and rejects others. Arguments and errors as in `find`."""
        with self._lock:
            self._refuse_without_image()
            found = find_phrases(self.look(), what, one, without, threshold)
            return [region for region in found if not self._was_rejected(region)]

    def reject(self, candidate: Region) -> None:
        """Do not find this again."""
        with self._lock:
            self._rejected.append(candidate)

    def add_found(self, regions: Sequence[Region]) -> list[Region]:
        """Take regions that were found; each gets its number, or keeps the one it was found with before."""
        with self._lock:
            return [self._numbered(region) for region in regions]

    def look(self) -> Look:
        """What there is to look at, for questions that facts answer.

        Raises:
          ImageError: there is no image. FindError: the model has another vision tower than the embedded default's.
        """
        self._refuse_without_image()
        if not has_eyes(self.model):
            raise FindError(
                "this model has another vision tower than the embedded default, so it cannot find things; use the embedded default"
            )
        return self._look()

    def outline(self, number: int) -> Region:
        """Give region `number` the outline of what is in its box, as its mask."""
        with self._lock:
            region = self._regions[number]
            return region if region.mask is not None else self._regions.outline(number, self.outline_of(region))

    def outline_of(self, region: Region) -> Rle:
        """A region's mask, or the outline of what is in its box.

        Raises:
          MaskError: the model has no mask head.
        """
        self._refuse_without_image()
        assert self._image is not None
        head = mask_head_of(self.model)
        return region.mask or head.masks_of(self.engine.levels(self._image), [region.box_xyxy], self._image.size_wh)[0]

    def undo_region(self) -> bool:
        """Take back the last change of the regions; False where there is none."""
        with self._lock:
            return self._regions.undo()

    def redo_region(self) -> bool:
        """Make an undone change of the regions again; False where there is none."""
        with self._lock:
            return self._regions.redo()

    @property
    def selected(self) -> int | None:
        """The region that questions are about that name none; None where nothing is selected or it is gone."""
        return self._selected if self._selected in self._regions else None

    def select(self, number: int | None) -> None:
        """Choose the region that questions are about that name none."""
        with self._lock:
            self._selected = None if number is None else self._regions[number].number

    # The conversation

    @property
    def exchanges(self) -> list[Exchange]:
        """What was said; `stale` is as of now."""
        with self._lock:
            return [replace(one, stale=self._is_stale(one)) for one in self._exchanges]

    @property
    def turns(self) -> list[Turn]:
        """What was said, questions and answers in turn."""
        return [turn for exchange in self.exchanges for turn in exchange.turns()]

    def ask(self, text: str, max_new_tokens: int = DEFAULT_NEW_TOKENS) -> Answer:
        """Ask and wait for the whole answer; errors as in `events`."""
        return self._whole(self.events(text, max_new_tokens))

    def stream(self, text: str, max_new_tokens: int = DEFAULT_NEW_TOKENS) -> Iterator[str]:
        """The answer's text piece by piece; at the end `last_answer` holds the whole. Errors as in `events`."""
        return _pieces(self.events(text, max_new_tokens))

    def events(self, text: str, max_new_tokens: int = DEFAULT_NEW_TOKENS) -> Iterator[Event]:
        """Ask, and get the answer as events. Raises before yielding if the question is invalid. Closing the iterator stops the answer.

        Raises:
          ConversationError: the question is empty, or names a region that is not there.
        """
        with self._lock:
            return self._begin(self._exchanges, text, max_new_tokens)

    def regenerate(self, max_new_tokens: int = DEFAULT_NEW_TOKENS) -> Answer:
        """Answer the last question again, about the regions as they are now."""
        return self._whole(self.events_again(max_new_tokens))

    def stream_again(self, max_new_tokens: int = DEFAULT_NEW_TOKENS) -> Iterator[str]:
        """`regenerate`, piece by piece."""
        return _pieces(self.events_again(max_new_tokens))

    def events_again(self, max_new_tokens: int = DEFAULT_NEW_TOKENS) -> Iterator[Event]:
        """`regenerate` as events. The old answer stays until the new one is there."""
        with self._lock:
            if not self._exchanges:
                raise ConversationError("there is no answer to give again yet; ask something first")
            return self._begin(self._exchanges[:-1], self._exchanges[-1].question, max_new_tokens)

    def stop(self) -> None:
        """End the answer that is being written, at the next token; what was written is kept. Without one this does nothing."""
        with self._lock:
            if self._generation is not None:
                self._generation.cancel()

    def undo(self) -> str:
        """Take back the last question and its answer; returns the question."""
        with self._lock:
            self._refuse_while_answering()
            if not self._exchanges:
                raise ConversationError("there is nothing to take back yet")
            question = self._exchanges[-1].question
            self._exchanges = self._exchanges[:-1]
            return question

    def correct(self, index: int, text: str) -> None:
        """Say what answer `index` should have been. The model reads it from now on, and saved conversations carry it.

        Raises:
          ConversationError: there is no such answer, or the text is empty.
        """
        with self._lock:
            if not -len(self._exchanges) <= index < len(self._exchanges):
                raise ConversationError(f"there is no answer {index}; there are {len(self._exchanges)}")
            if not text.strip():
                raise ConversationError("the corrected answer is empty; write one, or take the question back")
            self._exchanges[index] = replace(self._exchanges[index], corrected=text.strip())

    def reset(self) -> None:
        """Forget what was said; the image and its regions stay."""
        with self._lock:
            self._refuse_while_answering()
            self._exchanges, self.last_answer = [], None

    # Saving

    def to_record(self, image: str | None = None) -> dict[str, Any]:
        """The conversation as one record of the region data format, which `gpt4roi data check` and `gpt4roi train` take as it is.

        What was said about regions that have been moved or removed since would teach wrong things; it stands under `stale`, which training
        ignores.

        Args:
          image: how the record names the image; by default the name it was set with.
        """
        with self._lock:
            usable = [one for one in self.exchanges if one.text]
            record: dict[str, Any] = {"image": image or self._image_name}
            if self._image is not None:
                record["width"], record["height"] = self._image.size_wh
            record["regions"] = self._regions.to_records()
            record["conversation"] = [turn.to_dict() for one in usable if not one.stale for turn in one.turns()]
            stale = [turn.to_dict() for one in usable if one.stale for turn in one.turns()]
            return record | ({"stale": stale} if stale else {})

    def save(self, path: str | Path) -> None:
        """Write the conversation as one line of JSONL; the image is named relative to the file.

        Raises:
          ConversationError: nothing was answered, or the image has no name that the file could give.
        """
        path = Path(path)
        record = self.to_record()
        if not record["conversation"]:
            raise ConversationError("nothing has been said yet that could be saved; ask something first")
        if self._image is not None and self._image_name is None:
            raise ConversationError(
                "the image has no file that the saved conversation could name; give its name with set_image(image, name=…)"
            )
        if self._image_name is not None:
            source = Path(self._image_name)
            record["image"] = Path(os.path.relpath(source, path.parent)).as_posix() if source.exists() else source.name
        path.write_text(json.dumps(record, ensure_ascii=False) + "\n", encoding="utf-8")

    # Answering

    def prompt_of(self, text: str) -> Prompt:
        """What the model would read if `text` were asked now; errors as in `events`."""
        with self._lock:
            return self._prompt(self._exchanges, *self._meant(self._exchanges, text))

    def _meant(self, history: Sequence[Exchange], text: str) -> tuple[str, tuple[int, ...]]:
        """The question with its regions named, and their numbers."""
        if not text.strip():
            raise ConversationError("the question is empty; type one")
        drawn = [number for number, region in self._regions.items() if region.origin != "found"]
        spoken_of = [region.number for region in history[-1].answer.regions if region.number in self._regions] if history else []
        # "What color is it?" after "where is the cat?" is about the cat that was found.
        chosen = self.selected if self.selected is not None else spoken_of[0] if spoken_of and (not drawn or points_back(text)) else None
        if self._looks():
            text = to_english(text, names()).text
        what = meant(text, [*self._regions] if chosen is not None else drawn, chosen, history[-1].asked if history else None)
        if self._image is None and what.numbers:
            raise ImageError("the question names a region but there is no picture; set one and draw on it first")
        check_mentions(what.text, self._regions)
        return what.text, what.numbers

    def _prompt(self, history: Sequence[Exchange], asked: str, numbers: tuple[int, ...]) -> Prompt:
        told = [turn for one in history if self._may_be_told(one, numbers) for turn in one.turns()]
        return build_prompt(self.processor, [*told, Turn("user", asked)], self._image, self._regions)

    def _may_be_told(self, exchange: Exchange, numbers: tuple[int, ...]) -> bool:
        """Whether an earlier exchange may stand in the prompt of a question about regions `numbers`.

        A small model copies what it reads: an answer about another region, or about this one when it was elsewhere, would become the
        answer. A question that was stopped before its answer began would teach it to say nothing.
        """
        if not exchange.text or self._is_stale(exchange):
            return False
        return not numbers or not exchange.regions or set(exchange.regions) == set(numbers)

    def _is_stale(self, exchange: Exchange) -> bool:
        return any(self._place(number) != place for number, place in exchange.places.items())

    def _place(self, number: int) -> Place | None:
        if number not in self._regions:
            return None
        region = self._regions[number]
        return region.box_xyxy, None if region.mask is None else region.mask["counts"]

    def _begin(self, history: list[Exchange], text: str, max_new_tokens: int) -> Iterator[Event]:
        self._refuse_while_answering()
        sampling = Sampling(max_new_tokens)
        asked, numbers = self._meant(history, text)
        started = time.perf_counter()
        fact = self._fact(asked, numbers)
        places = {number: place for number in numbers if (place := self._place(number)) is not None}
        exchange = Exchange(text.strip(), asked, numbers, Answer(""), places)
        if fact is not None:
            return self._say(history, exchange, fact, started)
        return self._answer(history, exchange, self._prompt(history, asked, numbers), sampling)

    def _fact(self, asked: str, numbers: tuple[int, ...]) -> Fact | None:
        """What looking tells better than a language model; None where the model is to speak."""
        if self._image is None or not has_mask_head(self.model):
            return None
        offered = measurable(asked, len(numbers))
        if offered is not None:
            regions = [self._regions[number] for number in numbers]
            return Fact(color_answer(offered, regions, self._colors))
        return respond(asked, self._look(numbers)) if self._looks() else None

    def _looks(self) -> bool:
        """Whether facts answer: for the embedded default as it is shipped. A model that was trained further speaks for itself."""
        return self._image is not None and self.model.is_embedded_default and has_eyes(self.model)

    def _look(self, numbers: tuple[int, ...] = ()) -> Look:
        assert self._image is not None  # the caller has looked
        sight = eyes_of(self.model).sight(self._image, self.engine.levels(self._image))
        return Look(sight, self._regions, numbers, self._colors, self._read if can_read() else None)

    def _read(self, box: Sequence[float] | None) -> str:
        """The letters in a box, or in the whole image."""
        assert self._image is not None  # the caller has looked
        rgb, (width, height) = self._image.rgb, self._image.size_wh
        if box is not None:
            x, y = rgb.shape[1] / width, rgb.shape[0] / height
            rgb = rgb[
                int(box[1] * y) : max(int(box[1] * y) + 1, round(box[3] * y)), int(box[0] * x) : max(int(box[0] * x) + 1, round(box[2] * x))
            ]
        return " ".join(line.text for line in read_lines(rgb))

    def _colors(self, region: Region) -> np.ndarray:
        """Share of each of `COLORS` in a region, measured inside its outline."""
        assert self._image is not None  # the caller has looked
        image = self._image
        return region_colors(region, image.rgb, image.size_wh, mask_head_of(self.model), self.engine.levels(image))

    def fact(self, text: str) -> Answer | None:
        """What looking tells to a question, without the language model and without keeping the exchange; None where the model is to speak."""
        with self._lock:
            started = time.perf_counter()
            fact = self._fact(*self._meant(self._exchanges, text))
            return None if fact is None else self._known(fact, started)

    def _known(self, fact: Fact, started: float) -> Answer:
        """A fact that was looked up since `started` (of `time.perf_counter`) as an answer; what was found gets its numbers."""
        found = tuple(self._numbered(region) for region in fact.found)
        text = fact.text.format(*(region.mention for region in found)) if found else fact.text
        taken = time.perf_counter() - started
        return Answer(text, found, timings=Timings(first_token_s=taken, total_s=taken), scores=dict(fact.scores))

    def _say(self, history: list[Exchange], exchange: Exchange, fact: Fact, started: float) -> Iterator[Event]:
        """A fact as events."""
        with self._lock:
            answer = self.last_answer = self._known(fact, started)
            seen = {region.number: place for region in answer.regions if (place := self._place(region.number)) is not None}
            self._exchanges = [*history, replace(exchange, answer=answer, places={**seen, **exchange.places})]
        if answer.regions:
            yield Found(answer.regions)
        yield Text(answer.text)
        yield Finished("stop", answer.timings)

    def _numbered(self, region: Region) -> Region:
        """A found region with its number; the one that is there already, where it was found before."""
        for known in self._regions.values():
            if known.origin == "found" and known.label == region.label and iou(known.box_xyxy, region.box_xyxy) >= SAME_IOU:
                return known
        return self._regions.add_found([region])[0]

    def _answer(self, history: list[Exchange], exchange: Exchange, prompt: Prompt, sampling: Sampling) -> Iterator[Event]:
        with self._lock:
            self._refuse_while_answering()
            generation = self._generation = self.engine.submit(prompt, sampling)
        text = TextStream(self.processor, frozenset(self._regions), self.engine.stop_strings)
        answer = Answer("", finish_reason="cancelled")
        whole = False
        try:
            for event in _events_of(generation, text):
                match event:
                    case Text(piece):
                        answer = replace(answer, text=answer.text + piece)
                    case Finished(reason, timings):
                        answer, whole = replace(answer, finish_reason=reason, timings=timings), True
                    case Failed(error):
                        raise error
                yield event
        except GeneratorExit:
            whole = True
            raise
        finally:
            generation.cancel()
            with self._lock:
                self._generation = None
                # A failure inside the model leaves the conversation as it was.
                if whole:
                    self.last_answer = answer
                    named = {number: place for number in mentioned_numbers(answer.text) if (place := self._place(number)) is not None}
                    self._exchanges = [*history, replace(exchange, answer=answer, places={**named, **exchange.places})]

    def _whole(self, events: Iterator[Event]) -> Answer:
        for _ in events:
            pass
        assert self.last_answer is not None  # set when the events end
        return self.last_answer

    def _refuse_while_answering(self) -> None:
        if self._generation is not None:
            raise ConversationError("an answer is still being written; stop it or wait for its end first")

    def _mask_at(self, points: Sequence[Sequence[float]]) -> Rle:
        """The outline of what is at the points.

        Raises:
          MaskError: a point is outside, or this model has no mask head.
        """
        assert self._image is not None  # the caller has looked
        return mask_at_points(mask_head_of(self.model), self.engine.levels(self._image), points, self._image.size_wh).mask

    def _refuse_without_image(self) -> None:
        if self._image is None:
            raise ImageError("there is no picture to draw on yet; set one first")


def _pieces(events: Iterator[Event]) -> Iterator[str]:
    """The text of a stream of events."""
    return (event.piece for event in events if isinstance(event, Text))


def _events_of(generation: Generation, text: TextStream) -> Iterator[Event]:
    """Tokens of the engine as events."""
    for token in generation:
        piece = text.feed(token)
        if piece:
            yield Text(piece)
        if text.stopped:
            break
    rest = text.finish()
    if rest:
        yield Text(rest)
    known = {name: value for name, value in generation.timings.items() if name in Timings.__dataclass_fields__}
    reason = "stop" if text.stopped else generation.finish_reason or "stop"
    yield Finished(cast("FinishReason", reason), Timings(**cast(Any, known)))
