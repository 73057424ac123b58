"""How much faster multiple choice is when the options share their prompt; `gpt4roi benchmark evaluate` calls `run`."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from gpt4roi.conversation import Turn
from gpt4roi.evaluation.items import Item
from gpt4roi.evaluation.model_predictor import ModelPredictor
from gpt4roi.evaluation.option_scoring import OptionTokens, score_from_scratch, split_options
from gpt4roi.evaluation.predictors import OptionScore
from gpt4roi.evaluation.tasks.vcr import vcr_question
from gpt4roi.images import open_picture
from gpt4roi.models import GPT4RoIForConditionalGeneration, GPT4RoIProcessor

# Made up, in VCR's lengths: an answer has 7.5 words on average, a rationale 16 (arXiv:1811.10830, section 3).
QUESTION = "Why is <region2> pointing at <region3>?"
ANSWERS = (
    "<region2> is telling <region4> that <region3> ordered the pancakes.",
    "<region2> just told a joke about <region3>.",
    "<region2> is feeling accusatory towards <region3>.",
    "<region2> is giving <region3> directions to the door.",
)
RATIONALES = (
    "<region4> is delivering food to the table and may not know whose order is whose.",
    "<region2> has the pancakes in front of them and is looking at <region4> while pointing across the table.",
    "<region4> is standing at the table with a plate and everybody else is already eating what they ordered.",
    "<region3> is smiling and turned to <region2>, so the two of them seem to be talking about the food.",
)


def vcr_shaped_items(picture: Path, image_size_wh: tuple[int, int], seed: int) -> list[Item]:
    """The two questions of one VCR annotation about four people, with the whole picture as first region."""
    generator = np.random.default_rng(seed)
    width, height = image_size_wh
    corners = generator.uniform(0, 0.5, (4, 2)) * (width, height)
    sides = generator.uniform(0.2, 0.5, (4, 2)) * (width, height)
    boxes = [(float(x), float(y), float(x + w), float(y + h)) for (x, y), (w, h) in zip(corners, sides, strict=True)]
    parts = (("q2a", (), ANSWERS), ("qa2r", (f"Answer: {ANSWERS[0]}", "Why is this answer right?"), RATIONALES))
    return [
        Item(
            id=f"{seed}:{part}",
            question=vcr_question(QUESTION, ["person"] * 4, lines=lines),
            image=picture,
            boxes_xyxy=((0.0, 0.0, float(width), float(height)), *boxes),
            wants="options",
            options=options,
            answer_index=0,
        )
        for part, lines, options in parts
    ]


@torch.inference_mode()
def run(model: GPT4RoIForConditionalGeneration, processor: GPT4RoIProcessor, num_items: int = 8, seed: int = 0) -> dict[str, Any]:
    """Score VCR-shaped annotations (4 answers + 4 rationales) both ways, each with a picture of its own.

    Returns:
      {"num_items", "options_per_item", "shared_s", "scratch_s" (median seconds an annotation), "ratio", "max_score_difference"
      (largest |difference| of log-probabilities), "same_choices" (of 2 x num_items questions)}.
    """
    model.eval()
    generator = np.random.default_rng(seed)
    size_wh = (640, 360)
    shared_s, scratch_s, differences, same = [], [], [], 0
    with tempfile.TemporaryDirectory() as folder:
        # One annotation more than asked for: the first warms up and is not counted.
        for index in range(num_items + 1):
            path = Path(folder) / f"{index}.png"
            Image.fromarray(generator.integers(0, 256, (size_wh[1], size_wh[0], 3), dtype=np.uint8)).save(path)
            items = vcr_shaped_items(path, size_wh, seed + index)
            predictor = ModelPredictor(loaded=(model, processor))
            start = _now(model)
            shared = [predictor.score_options(item, item.options) for item in items]
            middle = _now(model)
            scratch = [from_scratch(model, processor, item) for item in items]
            end = _now(model)
            if index == 0:
                continue
            shared_s.append(middle - start)
            scratch_s.append(end - middle)
            for one, other in zip(shared, scratch, strict=True):
                differences += [abs(a.log_prob - b.log_prob) for a, b in zip(one, other, strict=True)]
                same += int(np.argmax([a.log_prob for a in one]) == np.argmax([b.log_prob for b in other]))
    median_shared, median_scratch = statistics.median(shared_s), statistics.median(scratch_s)
    return {
        "num_items": num_items,
        "options_per_item": len(ANSWERS) + len(RATIONALES),
        "shared_s": median_shared,
        "scratch_s": median_scratch,
        "ratio": median_scratch / median_shared,
        "max_score_difference": max(differences),
        "same_choices": same,
    }


def from_scratch(model: GPT4RoIForConditionalGeneration, processor: GPT4RoIProcessor, item: Item) -> list[OptionScore]:
    """Every option as a prompt of its own: picture read, encoded and answered anew, as a plain loop would."""
    numbered = {index + 1: box for index, box in enumerate(item.boxes_xyxy)}
    encoded = [
        processor.encode([Turn("user", item.question), Turn("assistant", option)], has_image=True, known_numbers=list(numbered))
        for option in item.options
    ]
    tokens = split_options([one.input_ids for one in encoded], [one.trained for one in encoded])
    scores: list[OptionScore] = []
    for option in tokens.options:
        picture = open_picture(str(item.image))
        pixels = processor.image_processor(picture)[None].to(model.device, model.dtype)
        rows = processor.region_boxes(numbered, encoded[0].region_numbers, picture.size).to(model.device)
        scores += score_from_scratch(model, OptionTokens(tokens.prefix, [option]), pixels, [rows])
    return scores


def _now(model: GPT4RoIForConditionalGeneration) -> float:
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return time.perf_counter()
