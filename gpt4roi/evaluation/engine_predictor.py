"""The chat engine as a predictor: what people get from the page and the API, its quantised decoder and caches included."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gpt4roi.chat import RegionChat
from gpt4roi.evaluation.items import EvaluationError, Item, fit_box
from gpt4roi.evaluation.option_scoring import OptionScorer
from gpt4roi.evaluation.predictors import OptionScore


class EnginePredictor:
    """Greedy answers of `RegionChat`, one conversation an item, one after the other; options are scored by its engine.

    Args:
      model: folder, hub id, or None for the embedded default.
      max_new_tokens: longest answer.
      device: as torch names it; None leaves the choice to the loader.
      chat: a conversation on a loaded model, instead of `model` and `device`.
    """

    def __init__(
        self, model: str | None = None, *, max_new_tokens: int = 32, device: str | None = None, chat: RegionChat | None = None
    ) -> None:
        self.name = f"{model or 'embedded'} (chat engine)"
        self.max_new_tokens = max_new_tokens
        self._chat = chat if chat is not None else RegionChat.from_pretrained(model, device=device)
        self._scorer = OptionScorer(self._chat.engine)
        self._image: Path | None = None

    def generate(self, items: Sequence[Item]) -> list[str]:
        return [self._answer(item) for item in items]

    def score_options(self, item: Item, options: Sequence[str]) -> list[OptionScore]:
        """As of `ModelPredictor`, in the engine's precision."""
        return self._scorer.score(item, options)

    def _answer(self, item: Item) -> str:
        if item.wants != "text":
            raise EvaluationError(f"item {item.id}: this model writes text, not {item.wants}")
        if item.extra.get("problem"):
            raise EvaluationError(item.extra["problem"])
        if item.image != self._image:
            self._chat = self._chat.new_session()
            if item.image is not None:
                self._chat.set_image(item.image)
            self._image = item.image
        self._chat.reset()
        for number in list(self._chat.regions):
            self._chat.remove_region(number)
        for number, box in enumerate(item.boxes_xyxy, 1):
            size_wh = self._chat.image_size_wh
            if size_wh is None:
                raise EvaluationError(f"item {item.id} has boxes but no picture")
            self._chat.add_region(fit_box(item, box, size_wh), number=number)
        return self._chat.ask(item.question, self.max_new_tokens).text
