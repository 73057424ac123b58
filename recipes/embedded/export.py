#!/usr/bin/env python
"""Put trained parts where the embedded default ships: gpt4roi/assets/embedded/{model, adapter}.safetensors, float16.

    python -m recipes.embedded.export outputs/embedded_stage1                      # after region pretraining
    python -m recipes.embedded.export outputs/embedded_stage2/checkpoint-500       # after the language stage

The language stage must have started from stage 1's export, which must still be there: adapters are shipped against the plain base model.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from gpt4roi.models.embedded import ADAPTER_NAME, ASSETS, PARTS_NAME
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
            save_file(half, folder / PARTS_NAME)
        size = sum(file.stat().st_size for file in folder.iterdir())
        if size > LIMIT_BYTES:
            raise SystemExit(
                f"{size / 2**20:.1f} MiB are more than the {LIMIT_BYTES / 2**20:.0f} MiB that may ship; lower the adapter rank or the encoder's widths"
            )
        (ASSETS / ADAPTER_NAME).unlink(missing_ok=True)  # adapters of other parts would not fit these
        for file in folder.iterdir():
            shutil.copyfile(file, ASSETS / file.name)
    print(f"{size / 2**20:.1f} MiB -> {ASSETS}")


if __name__ == "__main__":
    main()
