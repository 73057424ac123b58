"""The cheap warm-up of a region encoder: no language model in the loop (`objective: region_pretraining`).

Each region feature becomes a word of the language model: its RMS-normalised value must be near the input embedding of the class name and
of the colours, and its projections on left-right, top-bottom and small-large (differences of the embeddings of those words) must be the
box's centre and size, with a fixed share of the feature's length so that half precision keeps them apart. Free linear heads ask for names
and colours once more; image features must tell which classes are in the image. The heads are thrown away, and what is kept is scaled
to the length of a word embedding.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from gpt4roi.colors import COLORS
from gpt4roi.errors import UserError
from gpt4roi.models import GPT4RoIConfig
from gpt4roi.models.embedded import base_language_model, base_tokenizer, embedded_config
from gpt4roi.models.region_encoder import RegionEncoder, crop_regions
from gpt4roi.models.region_ensemble import Memory, RegionEnsemble
from gpt4roi.models.vision_tower import VisionTower
from gpt4roi.training.cross_fitting import FOLDS_NAME, fold_file, fold_of
from gpt4roi.training.region_crops import CropTable, LabelledRegions, cut_crops


@dataclass
class RegionPretrainingArguments:
    """One run. Paths are relative to the working directory.

    tower_checkpoints: safetensors of each timm backbone, in the order of the config's backbones; they stay frozen.
    views: passes of the tower over the images; the first is plain, the others are augmented. crop_min: smallest side of a crop.
    folds: so many further encoders, each without one fold of the images, for `cross_fitted` of stage 2, and all together as the members of
      the region encoder; 0 = none.
    batch_size: boxes a step; learning_rate: of encoder, projector and heads.
    channel_dropout: share of the tower's channels that a box goes without. mixup: of the Beta distribution that says how much of another box
      is mixed in, 0 = none. Nine thousand boxes are few; both keep them from being learned by heart.
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
    channel_dropout: float = 0.0
    mixup: float = 0.0
    crop_min: float = 0.6
    folds: int = 0
    seed: int = 0
    workers: int = 1
    eval_every: int = 100000


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

    def stretch(self) -> Tensor:
        """float[D, D]: makes 2.5 times as long what lies among the names, twice as long what tells places.

        The language model reads a faint name wrongly, even where it is clearly the nearest. The ridge keeps directions in which names hardly
        differ from being stretched as much.
        """
        width = self.names.shape[1]
        names = self.names.T @ torch.linalg.solve(self.names @ self.names.T + 0.1 * torch.eye(len(self.names)), self.names)
        places = torch.linalg.pinv(self.places) @ self.places
        return torch.eye(width) + 1.5 * names + places


def word_targets(labels: list[str], tokenizer: Any, table: Tensor) -> WordTargets:
    """Args: table: float[V, D] input embeddings."""

    def mean_of(word: str) -> Tensor:
        return table[tokenizer(f" {word}", add_special_tokens=False)["input_ids"]].mean(0)

    names, colours = torch.stack([mean_of(label) for label in labels]), torch.stack([mean_of(colour) for colour in COLORS])
    places = torch.stack([mean_of(high) - mean_of(low) for low, high in (("left", "right"), ("top", "bottom"), ("small", "large"))])
    common = table.mean(0)
    return WordTargets(
        F.normalize(names - names.mean(0), dim=-1),
        F.normalize(colours - colours.mean(0), dim=-1),
        F.normalize(places, dim=-1),
        common,
        (table - common).norm(dim=-1).mean().item(),
    )


# What the memory adds, in lengths of a word, and how sharply it tells names apart: about as sharply as fits their nearness on dev.
MEMORY_LENGTH, MEMORY_SHARPNESS = 0.5, 24.0
# The share of a feature's length that a box's centre at the image's right edge, or a box as large as the image, takes.
PLACE_SHARE = 0.35


class RegionPretrainingModel(nn.Module):
    """Tower, encoder and projector with throw-away heads."""

    def __init__(self, config: GPT4RoIConfig, words: WordTargets) -> None:
        super().__init__()
        if config.region_config.fuse_rounds:
            raise UserError(
                f"region pretraining works on cached crops, which needs region_config.fuse_rounds 0; got {config.region_config.fuse_rounds}"
            )
        if config.region_config.memory_size < len(words.names):
            raise UserError(
                f"region_config.memory_size of the embedded config is {config.region_config.memory_size}, and the training regions have "
                f"{len(words.names)} names; set it to {len(words.names)}"
            )
        self.config = config
        width = config.text_config.hidden_size
        self.vision_tower = VisionTower(config.vision_config)
        one = copy.copy(config.region_config)
        one.members = 1
        self.region_encoder = RegionEnsemble(one, self.vision_tower.level_channels, width)
        self.encoder.initialise()
        self.multi_modal_projector = nn.Linear(self.vision_tower.feature_size, width)
        self.words = words
        count = len(words.names)
        self.class_head, self.colour_head = nn.Linear(width, count), nn.Linear(width, len(COLORS))
        self.presence_head = nn.Linear(width, count)

    @property
    def encoder(self) -> RegionEncoder:
        return cast(RegionEncoder, self.region_encoder.members[0])

    @torch.inference_mode()
    def crop(self, pixels: Tensor, boxes: list[Tensor]) -> tuple[Tensor, Tensor]:
        """What the trained layers see of each box: RoIAlign commutes with the 1x1 input convolution when there is no fuse round.

        Returns:
          float16[R, sum(C_l + 2), s, s], levels concatenated, and the image's features float16[B, P, C].
        """
        with torch.autocast("cpu", torch.bfloat16):
            image, levels = self.vision_tower(pixels)
        resized = self.encoder.resize_levels([level.float() for level in levels])
        return torch.cat(crop_regions(resized, boxes, self.encoder.config), dim=1).half(), image.half()

    def encode_crops(self, crops: Tensor, boxes: Tensor) -> Tensor:
        """The region encoder from `crop`'s output on, up to its memory."""
        convs = cast("list[nn.Conv2d]", self.encoder.input_convs)
        parts = crops.split([conv.in_channels for conv in convs], dim=1)
        return self.encoder.embed_crops([conv(part) for conv, part in zip(convs, parts, strict=True)], boxes)

    def loss(self, crops: Tensor, boxes: Tensor, names: Tensor, colours: Tensor, smoothing: float) -> dict[str, Tensor]:
        """names: float[R, N] and colours: float[R, 11] are shares that add up to one."""
        regions = rms_normalise(self.encode_crops(crops, boxes))
        directions = F.normalize(regions, dim=-1)
        side = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-3).log().mean(1, keepdim=True)
        places = torch.cat([boxes[:, :2] + boxes[:, 2:] - 1, side / 1.5 + 1], dim=1)
        return {
            "class": F.cross_entropy(self.class_head(regions), names, label_smoothing=smoothing),
            "name": 0.5 * F.cross_entropy(16 * directions @ self.words.names.T, names, label_smoothing=smoothing),
            "colour": -0.4 * (colours * self.colour_head(regions).log_softmax(-1)).sum(-1).mean(),
            "colour_word": -0.3 * (colours * (16 * directions @ self.words.colours.T).log_softmax(-1)).sum(-1).mean(),
            "place": 8 * F.smooth_l1_loss(directions @ self.words.places.T / PLACE_SHARE, places, beta=0.1),
        }

    def presence_loss(self, image: Tensor, present: Tensor) -> Tensor:
        logits = self.presence_head(rms_normalise(self.multi_modal_projector(image))).amax(1)
        return 5 * F.binary_cross_entropy_with_logits(logits, present)

    @torch.inference_mode()
    def scale_to_words(self, crops: Tensor, boxes: Tensor, images: Tensor) -> None:
        """Make features as long as word embeddings, around what these share, and regions' stretched: the last layers take in the factors.
        Then fill the memory with the names; entries that are left over add nothing.

        The language model adds to a feature what its layers find; beside a feature of a hundred times that length it would be lost.
        """
        output, stretch = self.encoder.output_linear, self.words.stretch()
        output.weight.copy_(stretch @ output.weight)
        output.bias.copy_(stretch @ output.bias)
        for layer, features in (
            (output, self.encode_crops(crops, boxes)),
            (self.multi_modal_projector, self.multi_modal_projector(images).flatten(0, 1)),
        ):
            factor = self.words.length / features.norm(dim=-1).mean()
            layer.weight.mul_(factor)
            layer.bias.mul_(factor).add_(self.words.common)
        memory, count = cast(Memory, self.region_encoder.memory), len(self.words.names)
        memory.centre.copy_(self.words.common)
        memory.keys.zero_()
        memory.keys[:count] = MEMORY_SHARPNESS * self.words.names
        memory.values[:count] = MEMORY_LENGTH * self.words.length * self.words.names

    def kept_state(self, parts: tuple[str, ...] = ("vision_tower.", "region_encoder.", "multi_modal_projector.")) -> dict[str, Tensor]:
        return {name: value.detach().clone().contiguous() for name, value in self.state_dict().items() if name.startswith(parts)}


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
    names = sorted(set(table.sources))
    source = torch.tensor([names.index(name) for name in table.sources])[table.owners]
    scores = {name: right[source == index].mean().item() for index, name in enumerate(names)}
    if "coco_small" in scores:
        scores["coco_small_big"] = right[(source == names.index("coco_small")) & (areas > 0.02)].mean().item()
    scores |= {"colour_top2": colour.mean().item(), "nearest_name": near_name.mean().item(), "x_error": x_error.mean().item()}
    model.train()
    return scores


def load_towers(model: RegionPretrainingModel, checkpoints: list[str]) -> None:
    backbones = cast(nn.ModuleList, model.vision_tower.tower.backbones)
    if len(checkpoints) != len(backbones):
        raise UserError(
            f"tower_checkpoints has {len(checkpoints)} files but the config has {len(backbones)} backbones; give one for each, in order"
        )
    for backbone, path in zip(backbones, checkpoints, strict=True):
        missing, _ = backbone.load_state_dict(load_file(path), strict=False)
        lacking = [str(name) for name in missing if not name.endswith("num_batches_tracked")]
        if lacking:
            raise UserError(
                f"'{path}' lacks {len(lacking)} tensors of the backbone, for example {lacking[0]}; give the checkpoint of that backbone"
            )


def describe(args: RegionPretrainingArguments, labels: list[str]) -> int:
    """What a dry run tells: the data, and the steps that it would make. Nothing is read but the label files, nothing is written."""
    for name, file in (("train", args.train), ("dev", args.dev)):
        records = [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]
        boxes = sum(len(record["regions"]) for record in records)
        print(f"{name}: {len(records)} images, {boxes} boxes")
        if name == "train":
            steps = max(1, int(args.views * boxes // args.batch_size * args.epochs))
    print(
        f"{len(labels)} names; at most {steps} steps of {args.batch_size} boxes, and {args.folds} further fits of the folds; nothing was trained"
    )
    return 0


def run(config: dict[str, Any], args: argparse.Namespace | None = None) -> int:
    """Train from a resolved YAML mapping; writes `model.safetensors` and `metrics.json` into `output_dir`.

    Raises:
      UserError: an option that this objective does not have.
    """
    for option in ("overwrite", "export", "limit"):
        if args is not None and getattr(args, option):
            raise UserError(f"--{option} is not for region_pretraining, which keeps no checkpoints; leave it out")
    known = {f.name for f in fields(RegionPretrainingArguments)}
    unknown = sorted(set(config) - known - {"objective"})
    if unknown:
        raise UserError(f"unknown key '{unknown[0]}' in the config; known keys: {', '.join(sorted(known))}")
    run_args = RegionPretrainingArguments(**{key: value for key, value in config.items() if key in known})
    torch.manual_seed(run_args.seed)
    started = time.monotonic()
    model_config = embedded_config()
    members = model_config.region_config.members
    if members != max(1, run_args.folds):
        raise UserError(
            f"folds is {run_args.folds} and region_config.members of the embedded config {members}; the encoders of the folds become the members: "
            f"set folds to {members if members > 1 else 0} or members to {max(1, run_args.folds)}"
        )
    image_size = model_config.vision_config.image_size_hw[0]
    labels = sorted(
        {
            region["label"]
            for line in Path(run_args.train).read_text(encoding="utf-8").splitlines()
            for region in json.loads(line)["regions"]
        }
    )
    if args is not None and args.dry_run:
        return describe(run_args, labels)
    classes = {label: index for index, label in enumerate(labels)}
    tokenizer = base_tokenizer()
    table = cast(nn.Embedding, base_language_model().get_input_embeddings()).weight.detach().float()
    model = RegionPretrainingModel(model_config, word_targets(labels, tokenizer, table))
    load_towers(model, run_args.tower_checkpoints)
    model.vision_tower.requires_grad_(False)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    regions = LabelledRegions(run_args.train, classes, image_size, run_args.crop_min, run_args.seed)
    train = cut_crops(model, regions, run_args.views, run_args.workers)
    dev = cut_crops(model, LabelledRegions(run_args.dev, classes, image_size, None, run_args.seed), 1, run_args.workers)
    scores, steps = fit(model, train, dev, run_args)
    model.eval()
    model.scale_to_words(dev.crops.float(), dev.boxes, dev.images.float())
    output = Path(run_args.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    fold_scores = fit_folds(model, regions.images, train, dev, run_args) if run_args.folds else []
    save_file(with_members(model.kept_state(), output, run_args.folds), output / "model.safetensors")
    metrics = {
        "dev": scores,
        "steps": steps,
        "folds": fold_scores,
        "wall_s": round(time.monotonic() - started, 1),
        "classes": labels,
        "arguments": config,
    }
    (output / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    return 0


def fit_folds(
    model: RegionPretrainingModel, images: list[str], train: CropTable, dev: CropTable, args: RegionPretrainingArguments
) -> list[dict[str, float]]:
    """One encoder and projector for each fold, fitted without its images; the scores of each on its own fold.

    All start as the fitted model once did and answer to its finished heads, so that the same direction means the same in every fold.
    """
    output = Path(args.output_dir)
    fold_by_image = {image: fold_of(image, args.folds) for image in images}
    folds = torch.tensor(list(fold_by_image.values()))
    scores = []
    for fold in range(args.folds):
        torch.manual_seed(args.seed)
        other = RegionPretrainingModel(model.config, model.words)
        for name in ("class_head", "colour_head", "presence_head"):
            head: nn.Module = getattr(other, name)
            head.load_state_dict(getattr(model, name).state_dict())
            head.requires_grad_(False)
        other.vision_tower.requires_grad_(False)
        fit(other, train.of_images(folds != fold), dev, args)
        other.eval()
        scores.append(evaluate(other, train.of_images(folds == fold)))
        other.scale_to_words(dev.crops.float(), dev.boxes, dev.images.float())
        save_file(other.kept_state(("region_encoder.", "multi_modal_projector.")), fold_file(output, fold))
    (output / FOLDS_NAME).write_text(json.dumps(fold_by_image) + "\n", encoding="utf-8")
    return scores


def with_members(state: dict[str, Tensor], folder: Path, folds: int) -> dict[str, Tensor]:
    """The encoders of the folds in place of the one that was fitted on everything; the mean of them names new images better."""
    own = "region_encoder.members.0."
    for fold in range(folds):
        encoder = load_file(fold_file(folder, fold))
        state |= {name.replace(own, f"region_encoder.members.{fold}."): value for name, value in encoder.items() if name.startswith(own)}
    return state


def mix(crops: Tensor, names: Tensor, colours: Tensor, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
    """Some of another box into every box, in what is seen and in what is asked for (arXiv:1710.09412); the larger part stays its own."""
    if not alpha:
        return crops, names, colours
    share = torch.distributions.Beta(alpha, alpha).sample((len(crops), 1))
    share, other = torch.maximum(share, 1 - share), torch.randperm(len(crops))
    of_crop = share[:, :, None, None]
    return (
        of_crop * crops + (1 - of_crop) * crops[other],
        share * names + (1 - share) * names[other],
        share * colours + (1 - share) * colours[other],
    )


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
        names = F.one_hot(train.labels[rows], len(model.words.names)).float()
        crops, names, colours = mix(F.dropout2d(train.crops[rows].float(), args.channel_dropout), names, train.colours[rows], args.mixup)
        parts = model.loss(crops, train.boxes[rows], names, colours, args.label_smoothing)
        images = torch.randint(len(train.images), (64,), generator=generator)
        parts["presence"] = model.presence_loss(train.images[images].float(), train.present[images])
        loss = torch.stack(list(parts.values())).sum()
        if not torch.isfinite(loss):
            raise UserError(f"the loss became {loss.item()} at step {step}; lower learning_rate")
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
