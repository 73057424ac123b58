"""The same questions about the same regions at every save, so that one can read how the answers change."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gpt4roi.data.sample import Sample
from gpt4roi.models import GPT4RoIProcessor
from gpt4roi.training.config import TrainConfig

SAMPLES_NAME = "samples.jsonl"


@dataclass(frozen=True)
class AskedQuestion:
    """One fixed question; `reference` is the annotated answer where there is one."""

    image: str | None
    boxes: list[list[float]]
    question: str
    reference: str | None = None


def fixed_questions(config: TrainConfig, eval_samples: Sequence[Sample]) -> list[AskedQuestion]:
    """Those of the config, or the first questions of evaluation samples spread over the set."""
    if config.sample_questions:
        root = Path(config.data_root).expanduser()
        return [AskedQuestion(None if q.image is None else str(root / q.image), q.boxes, q.question) for q in config.sample_questions]
    count = min(config.num_sample_questions, len(eval_samples))
    chosen = [eval_samples[index * len(eval_samples) // count] for index in range(count)]
    questions = []
    for sample in chosen:
        asked = next(index for index, turn in enumerate(sample.conversation) if turn.role == "user")
        answer = next((turn.content for turn in sample.conversation[asked + 1 :] if turn.role == "assistant"), None)
        boxes = [list(region.box_xyxy) for region in sample.regions]
        questions.append(
            AskedQuestion(None if sample.image is None else str(sample.image), boxes, sample.conversation[asked].content, answer)
        )
    return questions


class SampleAnswers(TrainerCallback):
    """Asks at every save and appends to `samples.jsonl`. Every rank answers, because ZeRO-3 has split the weights; rank 0 writes."""

    def __init__(self, questions: Sequence[AskedQuestion], processor: GPT4RoIProcessor, output_dir: Path, max_new_tokens: int = 40) -> None:
        self.questions, self.processor = questions, processor
        self.path = output_dir / SAMPLES_NAME
        self.max_new_tokens = max_new_tokens

    @torch.no_grad()
    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any) -> None:
        was_training = model.training
        model.eval()
        records = []
        for question in self.questions:
            batch = self.processor(images=question.image, conversations=question.question, boxes=question.boxes, add_generation_prompt=True)
            inputs = {name: value.to(args.device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}
            end = self.processor.tokenizer.eos_token_id
            written = model.generate(**inputs, max_new_tokens=self.max_new_tokens, do_sample=False, eos_token_id=end, pad_token_id=end)
            answer = self.processor.decode(written[0, batch["input_ids"].shape[1] :].tolist())
            records.append({"step": state.global_step, **asdict(question), "answer": answer})
        model.train(was_training)
        if state.is_world_process_zero:
            with open(self.path, "a", encoding="utf-8") as file:
                file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
