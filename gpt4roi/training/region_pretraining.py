"""The cheap warm-up of a region encoder: no language model in the loop (`objective: region_pretraining`).

Each region feature must tell, through linear heads on what the language model will see of it (its RMS-normalised value): the class
name (a free head, and the mean input embedding of the name's tokens, so that features land near words), the colours, and the box.
Image features must tell which classes are in the picture. The heads are thrown away.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from gpt4roi.data.colours import COLOURS
from gpt4roi.models import GPT4RoIConfig
from gpt4roi.models.embedded import base_language_model, base_tokenizer, embedded_config
from gpt4roi.models.region_encoder import RegionEncoder
from gpt4roi.models.vision_tower import VisionTower
from gpt4roi.pictures import open_picture


@dataclass
class RegionPretrainingArguments:
    """One run. Paths are relative to the working directory.

    tower_checkpoints: safetensors of each timm backbone, in the order of the config's backbones. init_from: an earlier output instead.
    learning_rate: of encoder, projector and heads. tower_learning_rate: 0 keeps the tower frozen.
    crop_min: smallest side of the random crop; repeats: a source's pictures that many times an epoch.
    """

    train: str
    dev: str
    output_dir: str
    tower_checkpoints: list[str] = field(default_factory=list)
    init_from: str | None = None
    epochs: float = 6
    batch_size: int = 16
    learning_rate: float = 1e-3
    tower_learning_rate: float = 0.0
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    crop_min: float = 0.6
    seed: int = 0
    workers: int = 1
    eval_every: int = 100000


class LabelledRegions(Dataset):
    """Pictures with labelled boxes, augmented when training: crop, flip, box jitter, brightness."""

    def __init__(self, path: str, classes: dict[str, int], image_size: int, crop_min: float | None, seed: int) -> None:
        self.records = [r for r in map(json.loads, Path(path).read_text(encoding="utf-8").splitlines()) if r["regions"]]
        self.classes, self.image_size, self.crop_min, self.seed, self.epoch = classes, image_size, crop_min, seed, 0

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        record = self.records[index]
        rng = np.random.default_rng((self.seed, self.epoch, index))
        picture = open_picture(record["image"])
        width, height = picture.size
        regions = record["regions"]
        if len(regions) > 14:
            regions = [regions[i] for i in sorted(rng.permutation(len(regions))[:14])] if self.crop_min else regions
        boxes = np.array([region["box_xyxy"] for region in regions], dtype=np.float64)
        keep = np.ones(len(boxes), dtype=bool)
        flip, gain = False, 1.0
        if self.crop_min:
            scale = rng.uniform(self.crop_min, 1.0, size=2) * [width, height]
            x0, y0 = rng.uniform(0, [width - scale[0], height - scale[1]])
            window = np.array([x0, y0, x0 + scale[0], y0 + scale[1]])
            clipped = np.concatenate([np.maximum(boxes[:, :2], window[:2]), np.minimum(boxes[:, 2:], window[2:])], axis=1)
            share = np.clip(clipped[:, 2:] - clipped[:, :2], 0, None).prod(1) / (boxes[:, 2:] - boxes[:, :2]).prod(1)
            keep = share > 0.6
            if keep.any():
                picture = picture.resize((self.image_size, self.image_size), Image.Resampling.BILINEAR, box=tuple(window))
                boxes = (clipped - window[[0, 1, 0, 1]]) / np.array([*scale, *scale])
            else:
                keep[:] = True
                boxes = boxes / [width, height, width, height]
            size = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
            boxes = np.clip(boxes + rng.normal(0, 0.04, boxes.shape).clip(-0.08, 0.08) * size, 0, 1)
            flip, gain = bool(rng.random() < 0.5), float(rng.uniform(0.8, 1.2))
        else:
            boxes = boxes / [width, height, width, height]
        if picture.size != (self.image_size, self.image_size):
            picture = picture.resize((self.image_size, self.image_size), Image.Resampling.BILINEAR)
        pixels = np.asarray(picture, dtype=np.float32)
        if flip:
            pixels, boxes = pixels[:, ::-1], np.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], axis=1)
        pixels = np.clip(pixels * gain, 0, 255) / 127.5 - 1
        present = np.zeros(len(self.classes), dtype=np.float32)
        labels = np.array([self.classes.get(region["label"], -100) for region in regions])
        present[labels[keep & (labels >= 0)]] = 1
        return {
            "pixels": torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))),
            "boxes": torch.from_numpy(boxes[keep]).float(),
            "labels": torch.from_numpy(labels[keep]),
            "colours": torch.tensor([r["colours"] for r, k in zip(regions, keep, strict=True) if k]),
            "present": torch.from_numpy(present),
        }


def collate(examples: list[dict[str, Tensor]]) -> dict[str, Any]:
    return {
        "pixels": torch.stack([e["pixels"] for e in examples]),
        "boxes": [e["boxes"] for e in examples],
        "labels": torch.cat([e["labels"] for e in examples]),
        "colours": torch.cat([e["colours"] for e in examples]),
        "present": torch.stack([e["present"] for e in examples]),
    }


def rms_normalise(features: Tensor) -> Tensor:
    return features.float() * features.float().pow(2).mean(-1, keepdim=True).add(1e-5).rsqrt()


class RegionPretrainingModel(nn.Module):
    """Tower, encoder and projector with throw-away heads; `forward` gives the loss's parts."""

    def __init__(self, config: GPT4RoIConfig, label_embeddings: Tensor) -> None:
        super().__init__()
        width = config.text_config.hidden_size
        self.vision_tower = VisionTower(config.vision_config)
        self.region_encoder = RegionEncoder(config.region_config, self.vision_tower.level_channels, width)
        self.region_encoder.initialise()
        self.multi_modal_projector = nn.Linear(self.vision_tower.feature_size, width)
        self.label_embeddings = nn.Buffer(F.normalize(label_embeddings - label_embeddings.mean(0), dim=-1), persistent=False)
        count = len(label_embeddings)
        self.class_head, self.colour_head, self.box_head = nn.Linear(width, count), nn.Linear(width, len(COLOURS)), nn.Linear(width, 6)
        self.presence_head = nn.Linear(width, count)

    def features(self, pixels: Tensor, boxes: list[Tensor]) -> tuple[Tensor, Tensor]:
        picture, levels = self.vision_tower(pixels)
        return rms_normalise(self.region_encoder(levels, boxes)), rms_normalise(self.multi_modal_projector(picture))

    def forward(self, batch: dict[str, Any], smoothing: float) -> tuple[dict[str, Tensor], Tensor]:
        regions, picture = self.features(batch["pixels"], batch["boxes"])
        logits = self.class_head(regions)
        boxes = torch.cat(batch["boxes"])
        size = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-3)
        geometry = torch.cat([(boxes[:, :2] + boxes[:, 2:]) - 1, size.log() / 2, boxes[:, 1::2] * 2 - 1], dim=1)
        near_words = 12 * F.normalize(regions, dim=-1) @ self.label_embeddings.T
        presence = self.presence_head(picture).amax(1)
        return {
            "class": F.cross_entropy(logits, batch["labels"], label_smoothing=smoothing),
            "words": 0.3 * F.cross_entropy(near_words, batch["labels"]),
            "colour": -0.5 * (batch["colours"] * self.colour_head(regions).log_softmax(-1)).sum(-1).mean(),
            "box": F.smooth_l1_loss(self.box_head(regions), geometry, beta=0.1),
            "presence": 5 * F.binary_cross_entropy_with_logits(presence, batch["present"]),
        }, logits

    def kept_state(self) -> dict[str, Tensor]:
        parts = ("vision_tower.", "region_encoder.", "multi_modal_projector.")
        return {name: value.detach().clone().contiguous() for name, value in self.state_dict().items() if name.startswith(parts)}


@torch.inference_mode()
def evaluate(model: RegionPretrainingModel, loader: DataLoader) -> dict[str, float]:
    """Accuracy by source: open class names among all classes, dominant colour among the two largest."""
    model.eval()
    hits: dict[str, list[float]] = {}
    position = 0
    for batch in loader:
        regions, _ = model.features(batch["pixels"], batch["boxes"])
        right = model.class_head(regions).argmax(-1) == batch["labels"]
        top = batch["colours"].topk(2, dim=-1).indices
        colour = (model.colour_head(regions).argmax(-1, keepdim=True) == top).any(-1)
        start = 0
        for boxes in batch["boxes"]:
            source = loader.dataset.records[position]["source"]  # type: ignore[attr-defined]
            areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
            for index in range(len(boxes)):
                hits.setdefault(source, []).append(float(right[start + index]))
                if source == "coco_small" and areas[index] > 0.02:
                    hits.setdefault("coco_small_big", []).append(float(right[start + index]))
                hits.setdefault("colour_top2", []).append(float(colour[start + index]))
            start += len(boxes)
            position += 1
    model.train()
    return {name: sum(values) / len(values) for name, values in sorted(hits.items())}


def load_towers(model: RegionPretrainingModel, checkpoints: list[str]) -> None:
    backbones = model.vision_tower.tower.backbones
    if len(checkpoints) != len(backbones):
        raise ValueError(
            f"tower_checkpoints has {len(checkpoints)} files but the config has {len(backbones)} backbones; give one for each, in order"
        )
    for backbone, path in zip(backbones, checkpoints, strict=True):
        missing, _ = backbone.load_state_dict(load_file(path), strict=False)
        missing = [name for name in missing if not name.endswith("num_batches_tracked")]
        if missing:
            raise ValueError(
                f"'{path}' lacks {len(missing)} tensors of the backbone, for example {missing[0]}; give the checkpoint of that backbone"
            )


def run(config: dict[str, Any], args: argparse.Namespace | None = None) -> int:
    """Train from a resolved YAML mapping; writes `model.safetensors` and `metrics.json` into `output_dir`."""
    known = {f.name for f in fields(RegionPretrainingArguments)}
    unknown = sorted(set(config) - known - {"objective"})
    if unknown:
        raise ValueError(f"unknown key '{unknown[0]}' in the config; known keys: {', '.join(sorted(known))}")
    run_args = RegionPretrainingArguments(**{key: value for key, value in config.items() if key in known})
    torch.manual_seed(run_args.seed)
    started = time.monotonic()
    model_config = embedded_config()
    image_size = model_config.vision_config.image_size_hw[0]
    labels = sorted(
        {
            region["label"]
            for line in Path(run_args.train).read_text(encoding="utf-8").splitlines()
            for region in json.loads(line)["regions"]
        }
    )
    classes = {label: index for index, label in enumerate(labels)}
    tokenizer, table = base_tokenizer(), base_language_model().get_input_embeddings().weight.detach().float()
    label_embeddings = torch.stack([table[tokenizer(f" {label}", add_special_tokens=False)["input_ids"]].mean(0) for label in labels])
    model = RegionPretrainingModel(model_config, label_embeddings)
    if run_args.init_from:
        model.load_state_dict(load_file(Path(run_args.init_from) / "model.safetensors"), strict=False)
        heads = Path(run_args.init_from) / "heads.safetensors"
        if heads.exists():
            model.load_state_dict(load_file(heads), strict=False)
    else:
        load_towers(model, run_args.tower_checkpoints)
    model.vision_tower.requires_grad_(run_args.tower_learning_rate > 0)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    train_set = LabelledRegions(run_args.train, classes, image_size, run_args.crop_min, run_args.seed)
    dev_set = LabelledRegions(run_args.dev, classes, image_size, None, run_args.seed)
    dev_loader = DataLoader(dev_set, batch_size=16, collate_fn=collate)
    tower = [p for p in model.vision_tower.parameters() if p.requires_grad]
    tower_ids = {id(p) for p in tower}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in tower_ids]
    groups: list[dict[str, Any]] = [{"params": rest, "lr": run_args.learning_rate}]
    if tower:
        groups.append({"params": tower, "lr": run_args.tower_learning_rate})
    optimizer = torch.optim.AdamW(groups, weight_decay=run_args.weight_decay)
    steps_per_epoch = math.ceil(len(train_set) / run_args.batch_size)
    total = max(1, int(steps_per_epoch * run_args.epochs))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(step / total, 1.0))))
    )
    output = Path(run_args.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    step, average = 0, {}
    bar = tqdm(total=total, desc="region pretraining", unit="step", mininterval=5)
    model.train()
    while step < total:
        train_set.epoch = step // steps_per_epoch
        generator = torch.Generator().manual_seed(run_args.seed + train_set.epoch)
        loader = DataLoader(
            train_set,
            run_args.batch_size,
            shuffle=True,
            generator=generator,
            collate_fn=collate,
            num_workers=run_args.workers,
            prefetch_factor=4 if run_args.workers else None,
        )
        for batch in loader:
            batch["pixels"] = batch["pixels"].contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                parts, _ = model(batch, run_args.label_smoothing)
            loss = torch.stack(list(parts.values())).sum()
            if not torch.isfinite(loss):
                raise ValueError(f"the loss became {loss.item()} at step {step}; lower learning_rate")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_([*rest, *tower], 1.0)
            optimizer.step()
            schedule.step()
            step += 1
            average = {name: 0.98 * average.get(name, value.item()) + 0.02 * value.item() for name, value in parts.items()}
            bar.update()
            bar.set_postfix({name: f"{value:.2f}" for name, value in average.items()})
            if step % run_args.eval_every == 0 or step >= total:
                with torch.autocast("cpu", torch.bfloat16):
                    scores = evaluate(model, dev_loader)
                tqdm.write(f"step {step}: " + ", ".join(f"{name} {value:.3f}" for name, value in scores.items()))
            if step >= total:
                break
    bar.close()
    save_file(model.kept_state(), output / "model.safetensors")
    kept = model.kept_state().keys()
    save_file({k: v.contiguous() for k, v in model.state_dict().items() if k not in kept}, output / "heads.safetensors")
    metrics = {"dev": scores, "steps": step, "wall_s": round(time.monotonic() - started, 1), "classes": labels, "arguments": config}
    (output / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    return 0
