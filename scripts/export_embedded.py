#!/usr/bin/env python
"""Put trained parts where the embedded default ships: gpt4roi/assets/embedded/{model.safetensors, adapter.json}, float16.

python scripts/export_embedded.py outputs/embedded_stage1                      # after region pretraining
python scripts/export_embedded.py outputs/embedded_stage2/checkpoint-500       # after the language stage, over what is there
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file, save_file

from gpt4roi.models.embedded import ASSETS

LIMIT_BYTES = 64 * 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trained", type=Path, help="output folder of stage 1, or a checkpoint folder of stage 2")
    args = parser.parse_args()
    shipped = ASSETS / "model.safetensors"
    scale = 1.0
    if (args.trained / "trained.safetensors").exists():
        tensors = load_file(shipped)
        # Adapters of an earlier export go: a run starts from the merged model's parts but from the plain base language model.
        tensors = {name: value for name, value in tensors.items() if not name.endswith((".lora_A", ".lora_B"))}
        trained = load_file(args.trained / "trained.safetensors")
        tensors |= {name.replace(".default.weight", ""): value for name, value in trained.items()}
        lora = yaml.safe_load((args.trained / "config.yaml").read_text(encoding="utf-8"))["parts"]["language_model"]["lora"]
        scale = lora["alpha"] / lora["r"]
    else:
        tensors = load_file(args.trained / "model.safetensors")
    half = {name: (value.to(torch.float16) if value.is_floating_point() else value).contiguous() for name, value in tensors.items()}
    size = sum(value.numel() * value.element_size() for value in half.values())
    if size > LIMIT_BYTES:
        raise SystemExit(
            f"{size / 2**20:.1f} MiB are more than the {LIMIT_BYTES / 2**20:.0f} MiB that may ship; lower the adapter rank or the encoder's widths"
        )
    save_file(half, shipped, metadata={"format": "pt"})
    (ASSETS / "adapter.json").write_text(json.dumps({"scale": scale}) + "\n", encoding="utf-8")
    print(f"{len(half)} tensors, {size / 2**20:.1f} MiB -> {shipped}")


if __name__ == "__main__":
    main()
