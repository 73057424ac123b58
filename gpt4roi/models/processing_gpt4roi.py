"""GPT4RoIProcessor: images, boxes and text together.

It resizes an image and its boxes, renders the conversation, and writes exactly one placeholder per image feature and one per
region mention that carries features, so that the model never edits a sequence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from jinja2 import TemplateError
from PIL import Image
from torch import Tensor
from transformers import AutoTokenizer, BatchFeature, PreTrainedTokenizerBase

from gpt4roi.boxes import as_boxes, normalise, validate_box
from gpt4roi.conversation import STYLES, ConversationError, Turn, as_turns, check_mentions, render, without_separator
from gpt4roi.errors import UserError
from gpt4roi.images import ImageError, ImageLike, open_image
from gpt4roi.models.chat_template import bounded_rendering, check_template

CONFIG_NAME = "processor_config.json"
MAX_RATIO = 50
MAX_SIDE = 8192
RESIZE_MODES = ("bilinear", "clip_two_step")
# Llama 3 and SmolLM3 templates write the current date into the system turn.
TEMPLATE_DATE = date(2024, 7, 26)
TEMPLATE_NOW = re.compile(r"""strftime_now\(\s*(['"])(.*?)\1\s*\)""")
Conversation = str | Sequence[Turn | Mapping[str, str]]
Boxes = Sequence[Sequence[float]] | np.ndarray | Mapping[int, Sequence[float]]


@dataclass(frozen=True)
class EncodedConversation:
    """One conversation as tokens.

    input_ids: token ids with their placeholders. trained: whether the model is trained on that token.
    region_numbers: region number of each region placeholder, in order of appearance.
    """

    input_ids: list[int]
    trained: list[bool]
    region_numbers: list[int]


def number_boxes(boxes: Boxes | None) -> dict[int, tuple[float, ...]]:
    """Boxes by region number: a mapping as it is, a sequence numbered from 1."""
    if boxes is None:
        return {}
    if isinstance(boxes, Mapping):
        return {int(number): tuple(as_boxes([box])[0].tolist()) for number, box in boxes.items()}
    return {index + 1: tuple(box) for index, box in enumerate(as_boxes(boxes).tolist())}


class GPT4RoIProcessor:
    """Images, boxes and conversations to model inputs.

    Args:
      tokenizer: any fast tokenizer; the placeholders are added to it if it lacks them.
      image_size_hw: every image is resized to this, aspect ignored, so boxes in [0, 1] stay what they are.
      num_image_tokens: placeholders per image.
      prompt_style: a key of `gpt4roi.conversation.STYLES`.
      resize: `bilinear` with antialiasing, or `clip_two_step` as the released demo (reference section 6, path B).
      image_mean, image_std: of RGB in [0, 1].
      image_token, region_token: the placeholders' text.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        image_size_hw: Sequence[int],
        num_image_tokens: int,
        prompt_style: str = "chat_template",
        resize: str = "bilinear",
        image_mean: Sequence[float] = (0.5, 0.5, 0.5),
        image_std: Sequence[float] = (0.5, 0.5, 0.5),
        image_token: str = "<image>",
        region_token: str = "<region>",
    ) -> None:
        if resize not in RESIZE_MODES:
            raise UserError(f"resize is one of {', '.join(RESIZE_MODES)}; got '{resize}'")
        if not tokenizer.is_fast:
            raise UserError("GPT4RoIProcessor needs a fast tokenizer: labels are masked by character offsets")
        missing = [token for token in (image_token, region_token) if token not in tokenizer.get_vocab()]
        if missing:
            tokenizer.add_special_tokens({"additional_special_tokens": missing}, replace_extra_special_tokens=False)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        self.tokenizer = tokenizer
        self.image_size_hw = list(image_size_hw)
        self.num_image_tokens = num_image_tokens
        self.prompt_style = prompt_style
        self.style = STYLES[prompt_style]
        self.resize = resize
        self.image_mean = list(image_mean)
        self.image_std = list(image_std)
        self.image_token = image_token
        self.region_token = region_token
        self.image_token_id = _token_id(tokenizer, image_token)
        self.region_token_id = _token_id(tokenizer, region_token)

    @property
    def stop_strings(self) -> list[str]:
        """Texts that end an answer: for `generate(stop_strings=…, tokenizer=…)`. Empty where the tokenizer's end token does it."""
        return [self.style.separator] if self.style.separator is not None else []

    # Images

    def image_processor(self, image: ImageLike) -> Tensor:
        """One image to float32[3, H, W], normalised."""
        rgb = open_image(image)
        height, width = self.image_size_hw
        if self.resize == "clip_two_step":
            # The shortest side is scaled to the square's, so the other grows with the ratio: 224 x 11,200 at the limit.
            if max(rgb.size) > MAX_RATIO * min(rgb.size):
                raise ImageError(
                    f"the picture has {rgb.width} x {rgb.height} pixels; this model takes none thinner than 1:{MAX_RATIO}, cut out the part that matters"
                )
            # Bicubic to the shortest side on 8-bit pixels, then bilinear without antialiasing to the square, as the released demo.
            scale = min(height, width) / min(rgb.size)
            size_wh = tuple(int(side * scale) if side != min(rgb.size) else min(height, width) for side in rgb.size)
            pixels = _to_tensor(rgb.resize(size_wh, Image.Resampling.BICUBIC))  # type: ignore[arg-type]
            normalised = self._normalise(pixels)
            if normalised.shape[-2:] != (height, width):
                normalised = F.interpolate(normalised[None], size=(height, width), mode="bilinear", align_corners=False)[0]
            return normalised
        return self._normalise(_to_tensor(rgb.resize((width, height), Image.Resampling.BILINEAR)))

    def _normalise(self, pixels: Tensor) -> Tensor:
        mean, std = torch.tensor(self.image_mean)[:, None, None], torch.tensor(self.image_std)[:, None, None]
        return (pixels - mean) / std

    # Text

    def encode(
        self, conversation: Conversation, *, has_image: bool, known_numbers: Sequence[int] = (), add_generation_prompt: bool = False
    ) -> EncodedConversation:
        """One conversation to tokens.

        Args:
          conversation: one user turn as a string, or turns.
          has_image: whether the image's placeholders go before the first user turn.
          known_numbers: numbers of the regions that were drawn.
          add_generation_prompt: end where the next answer begins.
        Raises:
          ConversationError: a turn names a region that was never drawn, or the turns cannot be rendered.
        """
        turns = [Turn(turn.role, self._neutralise(turn.content)) for turn in as_turns(conversation)]
        for turn in turns:
            if turn.role == "user":
                check_mentions(turn.content, known_numbers)
        template = self._chat_template if getattr(self.tokenizer, "chat_template", None) else None
        segments = render(turns, self.style, has_image=has_image, add_generation_prompt=add_generation_prompt, chat_template=template)
        text, trained_characters, region_numbers = "", bytearray(), []
        for segment in segments:
            piece = segment.text
            if segment.is_image:
                piece = self.image_token * self.num_image_tokens
            elif segment.region_number is not None:
                piece = self.region_token
                region_numbers.append(segment.region_number)
            text += piece
            trained_characters += bytes([segment.trained]) * len(piece)
        # A rendered template already holds its own start token; a separated style relies on the tokenizer's.
        encoded = self.tokenizer(text, return_offsets_mapping=True, add_special_tokens=self.style.separator is not None, truncation=False)
        # A token is trained if its last character is: a leading space may still belong to the prompt.
        trained = [end > start and bool(trained_characters[end - 1]) for start, end in encoded["offset_mapping"]]
        return EncodedConversation(list(encoded["input_ids"]), trained, region_numbers)

    def _chat_template(self, messages: list[dict[str, str]], add_generation_prompt: bool) -> str:
        """The tokenizer's own template: without thinking, and with a fixed date, so that a prompt is the same tomorrow.

        Raises:
          ConversationError: the template refuses the turns (some take no system turn, some want roles to alternate).
        """
        try:
            with bounded_rendering():
                rendered = self.tokenizer.apply_chat_template(
                    cast(Any, messages),
                    tokenize=False,
                    add_generation_prompt=add_generation_prompt,
                    enable_thinking=False,
                    chat_template=_with_fixed_date(self.tokenizer.chat_template),
                )
        except TemplateError as error:
            raise ConversationError(f"the language model's chat template refuses this conversation: {error}") from error
        return str(rendered)

    def _neutralise(self, text: str) -> str:
        """Control tokens typed by a user become plain text: nobody can forge a turn or a placeholder."""
        controls = {str(token) for token in self.tokenizer.added_tokens_decoder.values()}
        for control in controls:
            if control and control.strip() and control in text:
                text = text.replace(control, f"{control[0]} {control[1:]}")
        return without_separator(text, self.style)

    def decode(self, token_ids: Sequence[int] | Tensor) -> str:
        """Answer tokens to text without control tokens, cut at the first stop string."""
        ids = token_ids if isinstance(token_ids, Tensor) else list(token_ids)
        text = str(self.tokenizer.decode(ids, skip_special_tokens=True))
        for stop in self.stop_strings:
            text = text.partition(stop)[0]
        return text.strip()

    # Together

    def __call__(
        self,
        images: ImageLike | Sequence[ImageLike | None] | None = None,
        conversations: Conversation | Sequence[Conversation] = "",
        boxes: Boxes | Sequence[Boxes | None] | None = None,
        labels: bool = False,
        add_generation_prompt: bool = False,
        padding_side: str | None = None,
    ) -> BatchFeature:
        """One sample, or lists of the same length for a batch.

        Args:
          images: image(s) of the sample(s); None for plain text.
          conversations: string, or turns, or a list of those.
          boxes: float[n, 4] pixels of the original image, row i is region i + 1; or a mapping from region number; or a list of those.
          labels: also give labels (-100 outside the assistant's words and their end mark).
          add_generation_prompt: end where the next answer begins.
          padding_side: `left` (default with `add_generation_prompt`) or `right`.
        Returns:
          `input_ids`, `attention_mask` int[B, T]; `pixel_values` float32[B_image, 3, H, W] of the samples that have an image;
          `boxes_xyxy_norm`, one float32[k, 4] per image with one row per region placeholder in order; `labels` when asked.
        Raises:
          BoxError, ConversationError, ImageError: each with one sentence.
        """
        conversation_list, image_list, boxes_list = _as_batch(conversations, images, boxes)
        encoded, pixels, box_rows = [], [], []
        for conversation, image, sample_boxes in zip(conversation_list, image_list, boxes_list, strict=True):
            numbered = number_boxes(sample_boxes)
            opened = None if image is None else open_image(image)
            if opened is None and numbered:
                raise UserError(f"{len(numbered)} boxes were given without a picture; give the picture they are drawn on")
            one = self.encode(
                conversation, has_image=opened is not None, known_numbers=list(numbered), add_generation_prompt=add_generation_prompt
            )
            encoded.append(one)
            if opened is not None:
                pixels.append(self.image_processor(opened))
                box_rows.append(self.region_boxes(numbered, one.region_numbers, opened.size))
        side = padding_side or ("left" if add_generation_prompt else "right")
        batch = self.pad(encoded, side, labels)
        if pixels:
            batch["pixel_values"] = torch.stack(pixels)
            batch["boxes_xyxy_norm"] = box_rows
        return BatchFeature(batch)

    def region_boxes(
        self, numbered: Mapping[int, Sequence[float]], region_numbers: Sequence[int], image_size_wh: tuple[int, int]
    ) -> Tensor:
        """One row per region placeholder: float32[k, 4] in [0, 1] of the image. Boxes are checked and clipped here."""
        checked = {number: validate_box(box, image_size_wh, f"<region{number}>") for number, box in numbered.items()}
        rows = normalise([checked[number] for number in region_numbers], image_size_wh)
        return torch.from_numpy(rows).to(torch.float32)

    def pad(self, encoded: Sequence[EncodedConversation], side: str, labels: bool) -> dict[str, Any]:
        """Encoded conversations as `input_ids`, `attention_mask` and, if asked, `labels`; padding on the `left` or `right`."""
        length = max(len(one.input_ids) for one in encoded)
        input_ids = torch.full((len(encoded), length), int(self.tokenizer.pad_token_id))
        attention_mask = torch.zeros((len(encoded), length), dtype=torch.long)
        targets = torch.full((len(encoded), length), -100)
        for row, one in enumerate(encoded):
            count = len(one.input_ids)
            span = slice(length - count, length) if side == "left" else slice(0, count)
            ids = torch.tensor(one.input_ids)
            input_ids[row, span] = ids
            attention_mask[row, span] = 1
            targets[row, span] = torch.where(torch.tensor(one.trained), ids, -100)
        batch: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask}
        if labels:
            batch["labels"] = targets
        return batch

    # Saving

    def to_dict(self) -> dict[str, Any]:
        names = ("image_size_hw", "num_image_tokens", "prompt_style", "resize", "image_mean", "image_std", "image_token", "region_token")
        return {"processor_class": type(self).__name__, **{name: getattr(self, name) for name in names}}

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer.save_pretrained(folder)
        (folder / CONFIG_NAME).write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> GPT4RoIProcessor:
        from transformers.utils import cached_file

        found = cached_file(str(pretrained_model_name_or_path), CONFIG_NAME)
        if found is None:
            raise FileNotFoundError(f"'{pretrained_model_name_or_path}' has no {CONFIG_NAME}; it is not a GPT4RoI model folder")
        settings = json.loads(Path(found).read_text(encoding="utf-8"))
        settings.pop("processor_class", None)
        sides, tokens = settings.get("image_size_hw"), settings.get("num_image_tokens")
        if not isinstance(sides, list) or len(sides) != 2 or not all(isinstance(n, int) and 0 < n <= MAX_SIDE for n in (*sides, tokens)):
            raise UserError(
                f"'{found}': image_size_hw is two whole numbers and num_image_tokens one, each up to {MAX_SIDE}; got {str(sides)[:40]} and {str(tokens)[:20]}"
            )
        tokenizer = AutoTokenizer.from_pretrained(pretrained_model_name_or_path, use_fast=True)
        check_template(getattr(tokenizer, "chat_template", None))
        return cls(tokenizer, **settings)


def _with_fixed_date(template: Any) -> Any:
    """`strftime_now('%d %b %Y')` in a template as the text that it gives on TEMPLATE_DATE (transformers takes no function in its place)."""
    if not isinstance(template, str):
        return template
    return TEMPLATE_NOW.sub(lambda match: f"{match[1]}{TEMPLATE_DATE.strftime(match[2])}{match[1]}", template)


def _token_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    token_id = tokenizer.convert_tokens_to_ids(token)
    if not isinstance(token_id, int):
        raise ValueError(f"the tokenizer has no single id for '{token}'")
    return token_id


def _to_tensor(rgb: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(rgb, dtype=np.float32) / 255.0).permute(2, 0, 1)


def _as_batch(conversations: Any, images: Any, boxes: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """Lists of the same length from single values or lists."""
    single = isinstance(conversations, str) or not conversations or isinstance(conversations[0], (Turn, Mapping))
    if single:
        return [conversations], [images], [boxes]
    count = len(conversations)
    image_list = list(images) if images is not None else [None] * count
    boxes_list = list(boxes) if boxes is not None else [None] * count
    if not count == len(image_list) == len(boxes_list):
        raise UserError(
            f"a batch needs as many pictures and box sets as conversations; got {count}, {len(image_list)} and {len(boxes_list)}"
        )
    return list(conversations), image_list, boxes_list
