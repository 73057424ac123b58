#!/usr/bin/env python
"""Put trained parts where the embedded default ships: gpt4roi/assets/embedded/{model.safetensors, adapter.json}, float16.

    python scripts/export_embedded.py outputs/embedded_stage1                      # after region pretraining
    python scripts/export_embedded.py outputs/embedded_stage2/checkpoint-500       # after the language stage

The language stage must have started from stage 1's export, which must still be there: adapters are shipped against the plain base model.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from gpt4roi.models.embedded import ASSETS
from gpt4roi.training.export import export_parts
from gpt4roi.training.trainer import TRAINED_NAME

LIMIT_BYTES = 64 * 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trained", type=Path, help="output folder of stage 1, or a checkpoint folder of stage 2")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if (args.trained / TRAINED_NAME).exists():
            export_parts(args.trained, folder)
        else:
            tensors = load_file(args.trained / "model.safetensors")
            half = {name: value.to(torch.float16) if value.is_floating_point() else value for name, value in tensors.items()}
            save_file(half, folder / "model.safetensors")
            (folder / "adapter.json").write_text(json.dumps({"scale": 1.0}) + "\n", encoding="utf-8")
        size = (folder / "model.safetensors").stat().st_size
        if size > LIMIT_BYTES:
            raise SystemExit(
                f"{size / 2**20:.1f} MiB are more than the {LIMIT_BYTES / 2**20:.0f} MiB that may ship; lower the adapter rank or the encoder's widths"
            )
        for name in ("model.safetensors", "adapter.json"):
            shutil.copyfile(folder / name, ASSETS / name)
    print(f"{size / 2**20:.1f} MiB -> {ASSETS / 'model.safetensors'}")


if __name__ == "__main__":
    main()
