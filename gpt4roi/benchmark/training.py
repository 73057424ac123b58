"""Training speed on this machine: a plain loop against ours, alternating in one run, on the same samples.

What trains: adapters of rank 32 in the language model, as in recipes/embedded/train_stage2.yaml, and the projector.
Plain: float32, samples in random order padded to the longest of their batch, every picture decoded and put through the frozen tower
every time, logits at every position. Ours: batches by token budget, grouped by length, cached tower outputs, logits at trained places,
bfloat16 where the processor has it, on a CPU the recipe's attention.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from gpt4roi.conversation import Turn
from gpt4roi.data.collator import RegionCollator
from gpt4roi.data.mixture import Mixture
from gpt4roi.data.sample import Region, Sample
from gpt4roi.training.batches import BatchPlan, RankBatches
from gpt4roi.training.config import LoraSettings, PartSettings, TrainConfig
from gpt4roi.training.export import load_start
from gpt4roi.training.features import CachedFeaturesProcessor, FeatureCache, tower_fingerprint
from gpt4roi.training.hardware import is_bf16_fast
from gpt4roi.training.parts import parameter_groups

NAMES = ("dog", "red bicycle", "traffic light", "wooden chair", "bottle of milk", "parking meter")
QUESTIONS = (
    "What is <region1>?",
    "Describe <region1> and <region2> and say how they lie to each other.",
    "Is <region2> larger than <region1>?",
)
# Exchanges a sample, as counted in the embedded recipe's conversations: a few single questions, most of them drills of eleven.
EXCHANGES, SHARES = (1, 3, 11), (0.07, 0.21, 0.72)


def make_samples(folder: Path, count: int, seed: int = 0) -> list[Sample]:
    """Pictures of noise (640 x 480 JPEG) and conversations that are as long as the embedded recipe's: about 170 tokens of text, 17 to 280."""
    rng = np.random.default_rng(seed)
    samples = []
    for index in range(count):
        path = folder / f"{index}.jpg"
        Image.fromarray(rng.integers(0, 255, (480, 640, 3), dtype=np.uint8)).save(path, quality=80)
        corners = rng.uniform(0, 300, (2, 2))
        sizes = rng.uniform(40, 170, (2, 2))
        regions = tuple(Region((x, y, x + w, y + h)) for (x, y), (w, h) in zip(corners.tolist(), sizes.tolist(), strict=True))
        turns: list[Turn] = []
        for _ in range(int(rng.choice(EXCHANGES, p=SHARES))):
            words = [NAMES[int(rng.integers(len(NAMES)))] for _ in range(int(rng.choice([1, 1, 2, 3])))]
            turns += [Turn("user", QUESTIONS[int(rng.integers(len(QUESTIONS)))]), Turn("assistant", f"I see {', '.join(words)}.")]
        samples.append(Sample(path, regions, tuple(turns), f"sample{index}"))
    return samples


@dataclass
class Side:
    """One way of training: its model, its batches, and one pass over all samples."""

    model: Any
    batches: list[list[int]]
    collate: Callable[[list[Sample]], Mapping[str, Any]]
    optimizer: torch.optim.Optimizer
    trained_logits_only: bool
    bf16: bool
    device: str

    def one_pass(self, samples: list[Sample]) -> tuple[float, int]:
        """(seconds, padded tokens) of a pass with an optimiser step a batch."""
        started, padded = time.monotonic(), 0
        self.model.train()
        for batch in self._prepared(samples):
            with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
                loss = self.model(**batch, trained_logits_only=self.trained_logits_only, use_cache=False).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_([p for group in self.optimizer.param_groups for p in group["params"]], 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
            padded += batch["input_ids"].numel()
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.monotonic() - started, padded

    def _prepared(self, samples: list[Sample]) -> Iterator[dict[str, Any]]:
        for indices in self.batches:
            batch = self.collate([samples[index] for index in indices])
            yield {name: _to(value, self.device) for name, value in batch.items()}


def _to(value: Any, device: str) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device)
    return type(value)(_to(item, device) for item in value) if isinstance(value, list | tuple) else value


def run(
    model: str = "embedded", num_samples: int = 48, batch_size: int = 8, tokens_per_batch: int = 1024, repeats: int = 3, seed: int = 0,
    device: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Compare both ways.

    Args:
      model: what is trained.
      num_samples: pictures and conversations a pass.
      batch_size: of the plain loop. tokens_per_batch: of ours.
      repeats: passes of each, alternating; medians are compared.
    Returns:
      samples_per_second and tokens_per_second (real tokens, padding not counted) and padding_share of `plain` and `ours`, `speedup`,
      its lowest and highest value over the pairs, the seconds that filling the cache took, threads and device.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    bf16 = is_bf16_fast(device)
    trains = PartSettings(learning_rate=1e-4)
    parts: dict[str, PartSettings | None] = {"projector": trains, "language_model": replace(trains, lora=LoraSettings(r=32))}
    plain = TrainConfig(model=model, seed=seed, parts=parts)
    configs = {"plain": plain, "ours": replace(plain, attention="eager" if device == "cpu" else None)}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        samples = make_samples(folder, num_samples, seed)
        sides: dict[str, Side] = {}
        fill_seconds = 0.0
        real_tokens = 0
        for name in ("plain", "ours"):
            is_ours = name == "ours"
            start, processor = load_start(configs[name], bf16=bf16 and is_ours)
            start.to(device)  # type: ignore[arg-type]
            reader: Any = processor
            if is_ours:
                cache = FeatureCache(folder / "features", tower_fingerprint(start, processor))
                started = time.monotonic()
                cache.fill([sample.image for sample in samples if sample.image is not None], start, processor, show_progress=False)
                fill_seconds = time.monotonic() - started
                reader = CachedFeaturesProcessor(processor, cache)
                plan = BatchPlan(None, tokens_per_batch, 1, True, seed)
            else:
                plan = BatchPlan(batch_size, None, 1, False, seed)
                for sample in samples:
                    numbers = range(1, len(sample.regions) + 1)
                    real_tokens += len(processor.encode(sample.conversation, has_image=True, known_numbers=numbers).input_ids)
            batches = RankBatches(Mixture([samples]), plan, processor.num_image_tokens, 4096).batches(0)
            optimizer = torch.optim.AdamW(parameter_groups(start, configs[name]))
            sides[name] = Side(start, batches, RegionCollator(reader), optimizer, is_ours, bf16 and is_ours, device)
        seconds: dict[str, list[float]] = {"plain": [], "ours": []}
        padded: dict[str, int] = {}
        for side in sides.values():  # kernels and allocator warm up on one batch
            replace(side, batches=side.batches[:1]).one_pass(samples)
        for _ in range(repeats):
            for name, side in sides.items():
                spent, padded[name] = side.one_pass(samples)
                seconds[name].append(spent)
    ratios = [plain / ours for plain, ours in zip(seconds["plain"], seconds["ours"], strict=True)]
    result: dict[str, Any] = {
        name: {
            "samples_per_second": round(num_samples / statistics.median(spent), 3),
            "tokens_per_second": round(real_tokens / statistics.median(spent), 1),
            "padding_share": round(1 - real_tokens / padded[name], 3),
        }
        for name, spent in seconds.items()
    }
    return {
        **result,
        "speedup": round(statistics.median(seconds["plain"]) / statistics.median(seconds["ours"]), 2),
        "speedup_range": [round(min(ratios), 2), round(max(ratios), 2)],
        "cache_fill_seconds": round(fill_seconds, 2),
        "num_samples": num_samples,
        "bf16": bf16,
        "threads": torch.get_num_threads(),
        "device": device,
    }
