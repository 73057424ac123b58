"""What the tools of a plan work on: the picture that the user gave, the conversation's regions, and the picture as edited so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from gpt4roi.answers.phrases import parse_phrase
from gpt4roi.chat import RegionChat
from gpt4roi.engine.events import Answer
from gpt4roi.eyes.letters import INSTALL, can_read, read_lines
from gpt4roi.masks import decode
from gpt4roi.plans.actions import PlanError
from gpt4roi.regions import Region


class Scene:
    """Looking actions see the user's picture; editing ones take `image` and their result becomes it.

    Args:
      chat: the conversation, with its picture set and its regions.
      rgb: uint8[h, w, 3], the picture in full size.
    """

    def __init__(self, chat: RegionChat, rgb: np.ndarray) -> None:
        self.chat = chat
        self.original = rgb
        self.image = rgb
        self.edited: dict[str, np.ndarray] = {}
        self._masks: dict[int, np.ndarray] = {}

    @property
    def size_wh(self) -> tuple[int, int]:
        return self.original.shape[1], self.original.shape[0]

    @property
    def regions(self) -> Mapping[int, Region]:
        return self.chat.regions

    def find(self, what: str, step: str, image: str | None = None) -> list[Region]:
        """Every thing a phrase names, numbered in the conversation."""
        if image is not None:
            return self._elsewhere(image).find(what)
        return self.chat.find(what, step=step)

    def locate(self, phrase: str, step: str, image: str | None = None) -> list[Region]:
        """The one thing a phrase describes, or none."""
        if image is not None:
            return self._elsewhere(image).find(phrase, one=True)
        return self.chat.find(phrase, one=True, step=step)

    def ask(self, question: str, regions: Sequence[Region], image: str | None = None) -> Answer:
        """The chat model's answer; the regions are named in the question if they are not yet."""
        missing = [region for region in regions if region.mention not in question]
        said = f"{' and '.join(region.mention for region in missing)}: {question}" if missing else question
        return (self.chat if image is None else self._elsewhere(image)).ask(said)

    def _elsewhere(self, step: str) -> RegionChat:
        """A conversation about an edited picture, with the same regions where they still fit."""
        if step not in self.edited:
            raise PlanError(f"{step} gave no picture that could be looked at")
        from PIL import Image

        chat = self.chat.new_session()
        chat.set_image(Image.fromarray(self.edited[step][..., :3]))
        if chat.image_size_wh == self.size_wh:
            for number, region in self.regions.items():
                chat.add_region(region.box_xyxy, number=number, label=region.label)
        return chat

    def classify(self, region: Region, classes: Sequence[str]) -> dict[str, float]:
        """How likely each class is; those whose words are unknown get nothing."""
        look = self.chat.look()
        scores = {}
        for name in classes:
            meaning = look.sight.names.lookup(name)
            scores[name] = look.sight.probability(region.box_xyxy, meaning.ids) if meaning is not None else 0.0
        total = sum(scores.values())
        if total < 0.02:
            raise PlanError(f"none of {', '.join(classes)} is a name that can be told from a picture here")
        return {name: score / total for name, score in scores.items()}

    def has(self, region: Region, that: str) -> bool:
        """Whether a region has a property: a color, a kind of thing, or being large or small.

        Raises:
          PlanError: nothing here can judge it.
        """
        look = self.chat.look()
        phrase = parse_phrase(f"{that} thing", look.sight.names)
        if phrase.colors and not phrase.words:
            return look.has_colors(region, phrase.colors)
        meaning = look.sight.names.lookup(that)
        if meaning is not None and meaning.is_exact:
            return look.sight.probability(region.box_xyxy, meaning.ids) >= 0.5
        raise PlanError(f"I cannot judge whether something is {that!r}; I can tell names, colors, sizes and places")

    def read(self, region: Region | None, step: str) -> list[Region]:
        """Lines of letters as regions whose labels they are."""
        if not can_read():
            raise PlanError(f"reading letters needs the package rapidocr; install it with: {INSTALL}")
        x, y = (0, 0) if region is None else (int(region.box_xyxy[0]), int(region.box_xyxy[1]))
        part = self.original if region is None else _cut(self.original, region.box_xyxy)
        lines = [
            Region(1, (a + x, b + y, c + x, d + y), line.text, score=line.score, origin="found", step=step)
            for line in read_lines(part)
            for a, b, c, d in [line.box_xyxy]
        ]
        return self.chat.add_found(lines)

    def colors(self, region: Region) -> np.ndarray:
        return self.chat.look().colors(region)

    def outlined(self, region: Region) -> Region:
        return self.chat.outline(region.number)

    def mask(self, region: Region) -> np.ndarray:
        """bool[h, w] of the current image, which may have been turned or scaled since."""
        if region.number not in self._masks:
            self._masks[region.number] = decode(self.chat.outline_of(region)).astype(bool)
        mask = self._masks[region.number]
        if mask.shape != self.image.shape[:2]:
            raise PlanError("the picture was turned or scaled before, so its regions are elsewhere; edit first, then turn or scale")
        return mask

    def whole(self) -> Region:
        width, height = self.size_wh
        return Region(0, (0.0, 0.0, float(width), float(height)))

    def crop(self, region: Region) -> np.ndarray:
        return _cut(self.image, region.box_xyxy)

    def turned(self, angle: float) -> np.ndarray:
        """Clockwise; the picture grows so that nothing is cut off."""
        if angle % 90 == 0:
            return np.ascontiguousarray(np.rot90(self.image, -int(angle // 90) % 4))
        height, width = self.image.shape[:2]
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -angle, 1.0)
        cos, sin = abs(matrix[0, 0]), abs(matrix[0, 1])
        size = round(height * sin + width * cos), round(height * cos + width * sin)
        shift = np.array([[0, 0, (size[0] - width) / 2], [0, 0, (size[1] - height) / 2]])
        return cv2.warpAffine(self.image, np.asarray(matrix) + shift, size, flags=cv2.INTER_LINEAR)

    def scaled(self, factor: float) -> np.ndarray:
        height, width = self.image.shape[:2]
        size = max(1, round(width * factor)), max(1, round(height * factor))
        if size[0] * size[1] > 60_000_000:
            raise PlanError(f"the picture would have {size[0] * size[1] / 1e6:.0f} megapixels; at most 60 are made")
        return cv2.resize(self.image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)


def _cut(rgb: np.ndarray, box: Sequence[float]) -> np.ndarray:
    height, width = rgb.shape[:2]
    x0, y0 = min(max(int(box[0]), 0), width - 1), min(max(int(box[1]), 0), height - 1)
    return np.ascontiguousarray(rgb[y0 : max(y0 + 1, min(height, round(box[3]))), x0 : max(x0 + 1, min(width, round(box[2])))])
