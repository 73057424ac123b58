"""`gpt4roi info`: versions, devices, where the weights are, whether they are whole."""

from __future__ import annotations

import argparse
import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "gpt4roi",
    "torch",
    "torchvision",
    "transformers",
    "timm",
    "onnxruntime",
    "safetensors",
    "pillow",
    "gradio",
    "fastapi",
    "peft",
    "deepspeed",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default=None, help="also describe this model folder")
    parser.add_argument("--names", action="store_true", help="list the names that the embedded default knows, and nothing else")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    if args.names:
        from gpt4roi.eyes.names import names

        known = sorted({entry.name for entry in names().entries})
        print(json.dumps(known) if args.json else "\n".join(known))
        return 0
    report = describe(args.model)
    if args.json:
        print(json.dumps(report, indent=2))
        return 0
    for section, values in report.items():
        print(section)
        for name, value in values.items() if isinstance(values, dict) else [("", values)]:
            print(f"  {name:<22} {_shown(name, value)}")
    return 0


def _shown(name: str, value: Any) -> str:
    """A value for people: counts with thousands, bytes in GB, a table as one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(name, part)}" for key, part in value.items())
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value / 1e9:,.2f} GB" if "bytes" in name.split("_") else f"{value:,}"
    return json.dumps(value) if isinstance(value, list) else str(value)


def describe(model: str | None = None) -> dict[str, Any]:
    """Everything the command prints, JSON-ready.

    Raises:
      FileNotFoundError: `model` is no folder.
    """
    import torch

    from gpt4roi import __version__
    from gpt4roi.models import embedded, sealed_folder

    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = __version__ if name == "gpt4roi" else None
    report: dict[str, Any] = {
        "versions": versions,
        "devices": {
            "cpu": platform.processor() or platform.machine(),
            "cpu_count": os.cpu_count(),
            "torch_threads": torch.get_num_threads(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "cuda": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        },
        "embedded": {
            "trained_tensors": str(embedded.ASSETS / embedded.PARTS_NAME),
            "trained_tensors_whole": embedded.is_whole(),
            "adapters_there": embedded.has_adapters(),
            "base_language_model": str(embedded.base_dir()),
            "base_language_model_ready": embedded.is_base_ready(),
            "base_language_model_damage": sealed_folder.damage(embedded.base_dir()) if embedded.base_dir().exists() else None,
        },
    }
    if model is not None:
        if not Path(model).is_dir():
            raise FileNotFoundError(f"'{model}' is not a folder; give a model folder")
        from gpt4roi.models.summary import summarise

        report["model"] = summarise(model)
    return report
