"""How much faster multiple choice is when the options share their prompt; `gpt4roi benchmark evaluate` calls `run`."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import torch
from PIL import Image

from gpt4roi.conversation import Turn
from gpt4roi.evaluation.items import Item
from gpt4roi.evaluation.model_predictor import ModelPredictor
from gpt4roi.evaluation.option_scoring import score_from_scratch, split_options
from gpt4roi.evaluation.tasks.vcr import vcr_question
from gpt4roi.models import GPT4RoIForConditionalGeneration, GPT4RoIProcessor

# The lengths are those of VCR: an answer has 7.5 words on average, a rationale 16 (arXiv:1811.10830, section 3).
QUESTION = "Why is <region2> pointing at <region3>?"
ANSWERS = (
    "<region2> is telling <region4> that <region3> ordered the pancakes.",
    "<region2> just told a joke about <region3>.",
    "<region2> is feeling accusatory towards <region3>.",
    "<region2> is giving <region3> directions to the door.",
)


def vcr_shaped_item(seed: int, image_size_wh: tuple[int, int]) -> Item:
    """A question of VCR's shape about four people: made up, so that no data are needed."""
    generator = np.random.default_rng(seed)
    width, height = image_size_wh
    corners = generator.uniform(0, 0.5, (4, 2)) * (width, height)
    sides = generator.uniform(0.2, 0.5, (4, 2)) * (width, height)
    boxes = tuple((float(x), float(y), float(x + w), float(y + h)) for (x, y), (w, h) in zip(corners, sides, strict=True))
    question = vcr_question(QUESTION, ["person"] * 4, first_number=1)
    return Item(id=f"made-up-{seed}", question=question, boxes_xyxy=boxes, wants="options", options=ANSWERS, answer_index=0)


@torch.inference_mode()
def run(model: GPT4RoIForConditionalGeneration, processor: GPT4RoIProcessor, num_items: int = 8, seed: int = 0) -> dict[str, Any]:
    """Score VCR-shaped items both ways, each item with a picture of its own.

    Returns:
      {"num_items", "options_per_item", "shared_s", "scratch_s" (median seconds an item), "ratio", "max_score_difference"
      (largest |difference| of log-probabilities), "same_choices"}.
    """
    import tempfile
    from pathlib import Path

    model = model.eval()
    generator = np.random.default_rng(seed)
    shared_s, scratch_s, differences, same = [], [], [], 0
    with tempfile.TemporaryDirectory() as folder:
        # One item more than asked for: the first warms up and is not counted.
        for index in range(num_items + 1):
            path = Path(folder) / f"{index}.png"
            Image.fromarray(generator.integers(0, 256, (360, 640, 3), dtype=np.uint8)).save(path)
            item = vcr_shaped_item(seed + index, (640, 360))
            item = Item(**{**item.__dict__, "image": path})
            start = _now(model)
            shared = ModelPredictor(loaded=(model, processor)).score_options(item, item.options)
            middle = _now(model)
            scratch = from_scratch(model, processor, item)
            end = _now(model)
            if index == 0:
                continue
            shared_s.append(middle - start)
            scratch_s.append(end - middle)
            differences += [abs(a.log_prob - b.log_prob) for a, b in zip(shared, scratch, strict=True)]
            same += int(np.argmax([s.log_prob for s in shared]) == np.argmax([s.log_prob for s in scratch]))
    median_shared, median_scratch = statistics.median(shared_s), statistics.median(scratch_s)
    return {
        "num_items": num_items,
        "options_per_item": len(ANSWERS),
        "shared_s": median_shared,
        "scratch_s": median_scratch,
        "ratio": median_scratch / median_shared,
        "max_score_difference": max(differences),
        "same_choices": same,
    }


def from_scratch(model: GPT4RoIForConditionalGeneration, processor: GPT4RoIProcessor, item: Item) -> list[Any]:
    """Every option as a prompt of its own: picture read, encoded and answered anew, as a plain loop would."""
    numbered = {index + 1: box for index, box in enumerate(item.boxes_xyxy)}
    encoded = [
        processor.encode([Turn("user", item.question), Turn("assistant", option)], has_image=True, known_numbers=list(numbered))
        for option in item.options
    ]
    tokens = split_options([one.input_ids for one in encoded], [one.trained for one in encoded])
    scores = []
    for option in tokens.options:
        with Image.open(str(item.image)) as picture:
            pixels = processor.image_processor(picture)[None].to(model.device, model.dtype)
            rows = processor.region_boxes(numbered, encoded[0].region_numbers, picture.size).to(model.device)
        scores += score_from_scratch(model, type(tokens)(tokens.prefix, [option]), pixels, [rows])
    return scores


def _now(model: GPT4RoIForConditionalGeneration) -> float:
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return time.perf_counter()
