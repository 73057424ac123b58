"""`gpt4roi train CONFIG --dry-run`: everything that can go wrong before hours are spent, and what the hours will be."""

from __future__ import annotations

import json
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import replace

import torch
import yaml

from gpt4roi.training.callbacks import clock_time
from gpt4roi.training.config import WHOLE_RUN_STEPS, TrainConfig, to_plain
from gpt4roi.training.run import Prepared, describe, prepare

SCANNED_SAMPLES = 500


def dry_run(config: TrainConfig, timed_steps: int = 2) -> int:
    """Print resolved config, data counts, trainable parameters, memory and the time of a step to stdout. Writes no run."""
    with tempfile.TemporaryDirectory() as scratch:
        prepared = prepare(replace(config, output_dir=scratch, num_workers=0))
        print(yaml.safe_dump(json.loads(json.dumps(to_plain(config))), sort_keys=False, allow_unicode=True))
        print(describe(prepared))
        dataset = prepared.trainer.train_dataset
        scanned = dataset.scan(min(SCANNED_SAMPLES, len(prepared.data.mixture)))  # type: ignore[union-attr, operator]
        print(f"length: {scanned}")
        for line in estimate(prepared, timed_steps):
            print(line)
    return 0


def estimate(prepared: Prepared, timed_steps: int = 2) -> list[str]:
    """Memory and time from real forward and backward passes over the first batches; weights do not change."""
    trainer, config = prepared.trainer, prepared.config
    model = prepared.model.train()
    model.to(trainer.args.device)  # type: ignore[arg-type]
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    batches = iter(trainer.get_train_dataloader())
    seconds, tokens = [], 0
    is_cuda = trainer.args.device.type == "cuda"
    for index in range(timed_steps + 1):
        inputs = trainer._prepare_inputs(next(batches))
        started = time.monotonic()
        with trainer.accelerator.autocast():
            loss = trainer.compute_loss(model, inputs)
        loss.backward()
        if is_cuda:
            torch.cuda.synchronize()
        model.zero_grad(set_to_none=True)
        if index:  # the first pass pays for allocation and kernels
            seconds.append(time.monotonic() - started)
            tokens += int(inputs["attention_mask"].sum())
        print(
            f"batch {index}: {len(inputs['sample_ids'])} samples, loss {float(loss.detach()):.3f}, {time.monotonic() - started:.1f} s",
            file=sys.stderr,
        )
    # ru_maxrss is in KiB on Linux and counts the interpreter and libraries too.
    peak = torch.cuda.max_memory_allocated() if is_cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    optimiser = trained * 8
    micro_batch = statistics.median(seconds)
    step = micro_batch * config.gradient_accumulation_steps
    steps = prepared.clock.max_steps
    gib = 2.0**30
    lines = [
        f"memory: weights {weights / gib:.2f} GiB, gradients {trained * 4 / gib:.2f} GiB, AdamW {optimiser / gib:.2f} GiB; "
        f"peak of a pass {peak / gib:.2f} GiB, with AdamW about {(peak + optimiser) / gib:.2f} GiB "
        f"({'one GPU' if is_cuda else 'this process'}, before any ZeRO split)",
        f"time: {micro_batch:.2f} s a batch, {step:.2f} s a step without the optimiser, {tokens / sum(seconds):.0f} tokens/s",
    ]
    if steps < WHOLE_RUN_STEPS:
        whole = step * steps
        limit = prepared.clock.max_seconds
        lines.append(f"the whole run: about {clock_time(whole)}" + (f", stopped after {clock_time(limit)}" if limit < whole else ""))
    return lines
