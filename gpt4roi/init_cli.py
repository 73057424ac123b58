"""`gpt4roi init`: assemble a trainable model from pretrained parts."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

WEIGHTS = (".safetensors", ".bin")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", help="a file of configs/model/, for example configs/model/siglip2-qwen3.json")
    parser.add_argument("output_dir", metavar="OUTPUT_DIR", help="folder to write; must not exist or be empty")
    parser.add_argument("--vision-tower", metavar="NAME", help="folder or hub id of another ViT than the config's")
    parser.add_argument("--language-model", metavar="NAME", help="folder or hub id of another causal language model than the config's")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"], help="of the written weights")
    parser.add_argument("--seed", type=int, default=0, help="of the new parts' first values")
    parser.add_argument("--dry-run", action="store_true", help="show the parts and their sizes, fetch and write nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON object about what was written")


def run(args: argparse.Namespace) -> int:
    from gpt4roi.models.assemble import RecipeError, read_recipe

    recipe = read_recipe(args.config)
    if args.vision_tower:
        recipe.vision_tower = args.vision_tower
    if args.language_model:
        recipe.language_model = args.language_model
    output = Path(args.output_dir)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise RecipeError(f"'{output}' exists and is not empty; choose another folder or remove it")
    parts = [recipe.vision_tower] if isinstance(recipe.vision_tower, str) else [str(item["name"]) for item in recipe.vision_tower]
    sizes = {name: part_bytes(name, recipe.download_gb) for name in (*parts, recipe.language_model)}
    for name, (size, where) in sizes.items():
        print(f"{name}: {f'{size / 1e9:.2f} GB' if size is not None else 'size unknown'} ({where})", file=sys.stderr)
    if args.dry_run:
        if args.json:
            print(json.dumps({"parts": {name: size for name, (size, _) in sizes.items()}}))
        return 0
    return _write(args, recipe, output)


def _write(args: argparse.Namespace, recipe: Any, output: Path) -> int:
    import torch

    from gpt4roi.models.assemble import assemble
    from gpt4roi.models.summary import count_parameters

    torch.manual_seed(args.seed)
    model, processor = assemble(recipe, getattr(torch, args.dtype))
    partial = output.with_name(output.name + ".partial")
    model.save_pretrained(partial)
    processor.save_pretrained(partial)
    if output.exists():
        output.rmdir()
    partial.rename(output)
    counts = count_parameters(model)
    if args.json:
        print(json.dumps({"folder": str(output), "parameters": counts}))
    else:
        shown = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        print(f"wrote {output}: {shown}; the region encoder and the projector are new and must be trained (gpt4roi train)")
    return 0


def part_bytes(name: str, recorded_gb: dict[str, float]) -> tuple[int | None, str]:
    """Bytes of a part's weights and where the figure is from: the folder, the hub's listing, or the config file."""
    folder = Path(name)
    if folder.is_dir():
        return sum(file.stat().st_size for file in folder.iterdir() if file.suffix in WEIGHTS), "local folder"
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        listing = HfApi().model_info(name, files_metadata=True, timeout=10).siblings or []
        by_kind = [sum(f.size or 0 for f in listing if f.rfilename.endswith(kind)) for kind in WEIGHTS]
        return next(size for size in by_kind if size), "to download from the hub"
    except (HfHubHTTPError, HFValidationError, OSError, StopIteration, RuntimeError):
        recorded = recorded_gb.get(name)
        return (
            (round(recorded * 1e9), "to download; as recorded in the config, the hub did not answer")
            if recorded
            else (None, "the hub did not answer")
        )
