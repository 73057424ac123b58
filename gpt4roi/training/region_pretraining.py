"""The cheap warm-up of a region encoder: no language model in the loop (`objective: region_pretraining`).

Each region feature becomes a word of the language model: its RMS-normalised value must be near the input embedding of the class name and
of the colours, and its projections on left-right, top-bottom and small-large (differences of the embeddings of those words) must be the
box's centre and size, with a fixed share of the feature's length so that half precision keeps them apart. Free linear heads ask for names
and colours once more; image features must tell which classes are in the picture. The heads are thrown away, and what is kept is scaled
to the length of a word embedding.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.ops import roi_align
from tqdm import tqdm

from gpt4roi.data.colours import COLOURS
from gpt4roi.models import GPT4RoIConfig
from gpt4roi.models.embedded import base_language_model, base_tokenizer, embedded_config
from gpt4roi.models.region_encoder import RegionEncoder, coordinate_channels
from gpt4roi.models.vision_tower import VisionTower
from gpt4roi.pictures import open_picture


@dataclass
class RegionPretrainingArguments:
    """One run. Paths are relative to the working directory.

    tower_checkpoints: safetensors of each timm backbone, in the order of the config's backbones; they stay frozen.
    views: passes of the tower over the pictures; the first is plain, the others are augmented. crop_min: smallest side of a crop.
    batch_size: boxes a step; learning_rate: of encoder, projector and heads.
    """

    train: str
    dev: str
    output_dir: str
    tower_checkpoints: list[str] = field(default_factory=list)
    views: int = 4
    epochs: float = 12
    batch_size: int = 128
    learning_rate: float = 2e-3
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


@dataclass
class WordTargets:
    """Where features shall land among the input embeddings of the language model.

    names: unit float[N, D] of the class names, common part removed; colours: the same of the colour words, float[11, D].
    places: unit float[3, D], from left to right, top to bottom, small to large.
    common: float[D], what all word embeddings share; length: usual distance of a word from it.
    """

    names: Tensor
    colours: Tensor
    places: Tensor
    common: Tensor
    length: float


def word_targets(labels: list[str], tokenizer: Any, table: Tensor) -> WordTargets:
    """Args: table: float[V, D] input embeddings."""

    def mean_of(word: str) -> Tensor:
        return table[tokenizer(f" {word}", add_special_tokens=False)["input_ids"]].mean(0)

    names, colours = torch.stack([mean_of(label) for label in labels]), torch.stack([mean_of(colour) for colour in COLOURS])
    places = torch.stack([mean_of(high) - mean_of(low) for low, high in (("left", "right"), ("top", "bottom"), ("small", "large"))])
    common = table.mean(0)
    return WordTargets(
        F.normalize(names - names.mean(0), dim=-1),
        F.normalize(colours - colours.mean(0), dim=-1),
        F.normalize(places, dim=-1),
        common,
        (table - common).norm(dim=-1).mean().item(),
    )


# The share of a feature's length that a box's centre at the picture's right edge, or a box as large as the picture, takes.
PLACE_SHARE = 0.35


class RegionPretrainingModel(nn.Module):
    """Tower, encoder and projector with throw-away heads."""

    def __init__(self, config: GPT4RoIConfig, words: WordTargets) -> None:
        super().__init__()
        if config.region_config.fuse_rounds:
            raise ValueError(
                f"region pretraining works on cached crops, which needs region_config.fuse_rounds 0; got {config.region_config.fuse_rounds}"
            )
        width = config.text_config.hidden_size
        self.vision_tower = VisionTower(config.vision_config)
        self.region_encoder = RegionEncoder(config.region_config, self.vision_tower.level_channels, width)
        self.region_encoder.initialise()
        self.multi_modal_projector = nn.Linear(self.vision_tower.feature_size, width)
        self.words = words
        count = len(words.names)
        self.class_head, self.colour_head = nn.Linear(width, count), nn.Linear(width, len(COLOURS))
        self.presence_head = nn.Linear(width, count)

    @torch.inference_mode()
    def crop(self, pixels: Tensor, boxes: list[Tensor]) -> tuple[Tensor, Tensor]:
        """What the trained layers see of each box: RoIAlign commutes with the 1x1 input convolution when there is no fuse round.

        Returns:
          float16[R, sum(C_l + 2), s, s], levels concatenated, and the picture's features float16[B, P, C].
        """
        config = self.region_encoder.config
        with torch.autocast("cpu", torch.bfloat16):
            picture, levels = self.vision_tower(pixels)
        crops = []
        for level in levels:
            full = torch.cat([level.float(), coordinate_channels(level.float())], dim=1)
            height, width = full.shape[-2:]
            size = torch.tensor([width, height, width, height], dtype=torch.float32)
            crops.append(roi_align(full, [b * size for b in boxes], config.roi_size, 1.0, config.sampling_ratio, True))
        return torch.cat(crops, dim=1).half(), picture.half()

    def encode_crops(self, crops: Tensor, boxes: Tensor) -> Tensor:
        """The region encoder from `crop`'s output on."""
        encoder = self.region_encoder
        pooled = torch.zeros(())
        start = 0
        for conv, roi_conv in zip(encoder.input_convs, encoder.roi_convs, strict=True):
            width = cast(nn.Conv2d, conv).in_channels
            pooled = pooled + roi_conv(conv(crops[:, start : start + width]))
            start += width
        flat = encoder.dropout(encoder.flatten_linear(F.relu(pooled).flatten(1)))
        return encoder.output_linear(flat + encoder.box_embedding(boxes))

    def loss(self, crops: Tensor, boxes: Tensor, labels: Tensor, colours: Tensor, smoothing: float) -> dict[str, Tensor]:
        regions = rms_normalise(self.encode_crops(crops, boxes))
        directions = F.normalize(regions, dim=-1)
        side = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-3).log().mean(1, keepdim=True)
        places = torch.cat([boxes[:, :2] + boxes[:, 2:] - 1, side / 1.5 + 1], dim=1)
        return {
            "class": F.cross_entropy(self.class_head(regions), labels, label_smoothing=smoothing),
            "name": 0.5 * F.cross_entropy(16 * directions @ self.words.names.T, labels, label_smoothing=smoothing),
            "colour": -0.4 * (colours * self.colour_head(regions).log_softmax(-1)).sum(-1).mean(),
            "colour_word": -0.3 * (colours * (16 * directions @ self.words.colours.T).log_softmax(-1)).sum(-1).mean(),
            "place": 8 * F.smooth_l1_loss(directions @ self.words.places.T / PLACE_SHARE, places, beta=0.1),
        }

    def presence_loss(self, picture: Tensor, present: Tensor) -> Tensor:
        logits = self.presence_head(rms_normalise(self.multi_modal_projector(picture))).amax(1)
        return 5 * F.binary_cross_entropy_with_logits(logits, present)

    @torch.inference_mode()
    def scale_to_words(self, crops: Tensor, boxes: Tensor, pictures: Tensor) -> None:
        """Make features as long as word embeddings, around what these share: the last layers take in the factor.

        The language model adds to a feature what its layers find; beside a feature of a hundred times that length it would be lost.
        """
        for layer, features in (
            (self.region_encoder.output_linear, self.encode_crops(crops, boxes)),
            (self.multi_modal_projector, self.multi_modal_projector(pictures).flatten(0, 1)),
        ):
            factor = self.words.length / features.norm(dim=-1).mean()
            layer.weight.mul_(factor)
            layer.bias.mul_(factor).add_(self.words.common)

    def kept_state(self) -> dict[str, Tensor]:
        parts = ("vision_tower.", "region_encoder.", "multi_modal_projector.")
        return {name: value.detach().clone().contiguous() for name, value in self.state_dict().items() if name.startswith(parts)}


@dataclass
class CropTable:
    """Every box of every view, and every picture of every view, as the trained layers see them."""

    crops: Tensor
    boxes: Tensor
    labels: Tensor
    colours: Tensor
    pictures: Tensor
    present: Tensor
    sources: list[str]


def cut_crops(model: RegionPretrainingModel, data: LabelledRegions, views: int, workers: int) -> CropTable:
    """Run the frozen tower once over `views` augmented passes of the pictures."""
    columns: dict[str, list[Tensor]] = {name: [] for name in ("crops", "boxes", "labels", "colours", "pictures", "present")}
    sources: list[str] = []
    augmented = data.crop_min
    for view in range(views):
        # The first view is the picture as it is, which is what the model will be asked about.
        data.epoch, data.crop_min = view, augmented if view else None
        loader = DataLoader(data, 16, collate_fn=collate, num_workers=workers)
        position = 0
        for batch in tqdm(loader, desc=f"view {view + 1} of {views}", unit="batch", mininterval=10):
            crops, pictures = model.crop(batch["pixels"], batch["boxes"])
            for name, value in (("crops", crops), ("boxes", torch.cat(batch["boxes"])), ("pictures", pictures)):
                columns[name].append(value)
            for name in ("labels", "colours", "present"):
                columns[name].append(batch[name])
            for boxes in batch["boxes"]:
                sources += [data.records[position]["source"]] * len(boxes)
                position += 1
    data.crop_min = augmented
    return CropTable(**{name: torch.cat(values) for name, values in columns.items()}, sources=sources)


@torch.inference_mode()
def evaluate(model: RegionPretrainingModel, table: CropTable) -> dict[str, float]:
    """Accuracy by source: open class names among all classes, dominant colour among the two largest."""
    model.eval()
    regions = rms_normalise(model.encode_crops(table.crops.float(), table.boxes))
    right = (model.class_head(regions).argmax(-1) == table.labels).float()
    top = table.colours.topk(2, dim=-1).indices
    colour = (model.colour_head(regions).argmax(-1, keepdim=True) == top).any(-1).float()
    directions = F.normalize(regions, dim=-1)
    near_name = ((directions @ model.words.names.T).argmax(-1) == table.labels).float()
    x_error = (directions @ model.words.places[0] / PLACE_SHARE - (table.boxes[:, 0] + table.boxes[:, 2] - 1)).abs() / 2
    areas = (table.boxes[:, 2:] - table.boxes[:, :2]).prod(1)
    sources = np.array(table.sources)
    scores = {name: right[torch.from_numpy(sources == name)].mean().item() for name in sorted(set(table.sources))}
    if "coco_small" in scores:
        scores["coco_small_big"] = right[torch.from_numpy(sources == "coco_small") & (areas > 0.02)].mean().item()
    scores |= {"colour_top2": colour.mean().item(), "nearest_name": near_name.mean().item(), "x_error": x_error.mean().item()}
    model.train()
    return scores


def load_towers(model: RegionPretrainingModel, checkpoints: list[str]) -> None:
    backbones = cast(nn.ModuleList, model.vision_tower.tower.backbones)
    if len(checkpoints) != len(backbones):
        raise ValueError(
            f"tower_checkpoints has {len(checkpoints)} files but the config has {len(backbones)} backbones; give one for each, in order"
        )
    for backbone, path in zip(backbones, checkpoints, strict=True):
        missing, _ = backbone.load_state_dict(load_file(path), strict=False)
        lacking = [str(name) for name in missing if not name.endswith("num_batches_tracked")]
        if lacking:
            raise ValueError(
                f"'{path}' lacks {len(lacking)} tensors of the backbone, for example {lacking[0]}; give the checkpoint of that backbone"
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
    tokenizer = base_tokenizer()
    table = cast(nn.Embedding, base_language_model().get_input_embeddings()).weight.detach().float()
    model = RegionPretrainingModel(model_config, word_targets(labels, tokenizer, table))
    load_towers(model, run_args.tower_checkpoints)
    model.vision_tower.requires_grad_(False)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    train = cut_crops(
        model, LabelledRegions(run_args.train, classes, image_size, run_args.crop_min, run_args.seed), run_args.views, run_args.workers
    )
    dev = cut_crops(model, LabelledRegions(run_args.dev, classes, image_size, None, run_args.seed), 1, run_args.workers)
    scores, steps = fit(model, train, dev, run_args)
    model.eval()
    model.scale_to_words(dev.crops.float(), dev.boxes, dev.pictures.float())
    output = Path(run_args.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    save_file(model.kept_state(), output / "model.safetensors")
    metrics = {"dev": scores, "steps": steps, "wall_s": round(time.monotonic() - started, 1), "classes": labels, "arguments": config}
    (output / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    return 0


def fit(model: RegionPretrainingModel, train: CropTable, dev: CropTable, args: RegionPretrainingArguments) -> tuple[dict[str, float], int]:
    """Train encoder, projector and heads on the crops; the scores on dev after the last step, and the steps."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=args.learning_rate, weight_decay=args.weight_decay)
    known = (train.labels >= 0).nonzero()[:, 0]
    steps_per_epoch = len(known) // args.batch_size
    total = max(1, int(steps_per_epoch * args.epochs))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.learning_rate, total_steps=total + 1, pct_start=0.1)
    generator = torch.Generator().manual_seed(args.seed)
    scores: dict[str, float] = {}
    average: dict[str, float] = {}
    model.train()
    bar = tqdm(total=total, desc="region pretraining", unit="step", mininterval=5)
    for step in range(total):
        if step % steps_per_epoch == 0:
            order = known[torch.randperm(len(known), generator=generator)]
        rows = order[(step % steps_per_epoch) * args.batch_size :][: args.batch_size]
        parts = model.loss(train.crops[rows].float(), train.boxes[rows], train.labels[rows], train.colours[rows], args.label_smoothing)
        pictures = torch.randint(len(train.pictures), (64,), generator=generator)
        parts["presence"] = model.presence_loss(train.pictures[pictures].float(), train.present[pictures])
        loss = torch.stack(list(parts.values())).sum()
        if not torch.isfinite(loss):
            raise ValueError(f"the loss became {loss.item()} at step {step}; lower learning_rate")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        average = {name: 0.98 * average.get(name, value.item()) + 0.02 * value.item() for name, value in parts.items()}
        bar.update()
        bar.set_postfix({name: f"{value:.2f}" for name, value in average.items()}, refresh=False)
        if (step + 1) % args.eval_every == 0 or step + 1 == total:
            scores = evaluate(model, dev)
            tqdm.write(f"step {step + 1}: " + ", ".join(f"{name} {value:.3f}" for name, value in scores.items()))
    bar.close()
    return scores, total
