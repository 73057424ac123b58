"""`gpt4roi init`: assemble a trainable model from pretrained parts."""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpt4roi.models.assemble import Recipe

HUB_ID = re.compile(r"[\w][\w.-]*/[\w.-]+")
WEIGHTS = (".safetensors", ".bin")
# Recipes travel with a clone, not with a wheel; other files are given by their path.
RECIPES = Path(__file__).parents[1] / "configs" / "model"


def recipe_names() -> list[str]:
    return sorted(path.stem for path in RECIPES.glob("*.json"))


def find_recipe(name: str) -> Path:
    """A path as it is, or one of ours by its name.

    Raises:
      RecipeError: neither.
    """
    from gpt4roi.models.assemble import RecipeError

    if Path(name).exists() or Path(name).suffix:
        return Path(name)
    if name not in recipe_names():
        raise RecipeError(f"there is no recipe '{name}'; give a JSON file or one of {', '.join(recipe_names())}")
    return RECIPES / f"{name}.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config", metavar="CONFIG", help=f"a recipe: a JSON file as in configs/model/, or one of {', '.join(recipe_names())}"
    )
    parser.add_argument("output_dir", metavar="OUTPUT_DIR", help="folder to write; must not exist or be empty")
    parser.add_argument(
        "--vision-tower",
        metavar="NAME",
        help="folder or hub id of another ViT than the recipe's; where the recipe has timm backbones, a folder with NAME.safetensors of each",
    )
    parser.add_argument("--language-model", metavar="NAME", help="folder or hub id of another causal language model than the recipe's")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"], help="of the written weights")
    parser.add_argument("--seed", type=int, default=0, help="of the new parts' first values")
    parser.add_argument("--dry-run", action="store_true", help="show the parts and their sizes, fetch and write nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON object about what was written")


def run(args: argparse.Namespace) -> int:
    from gpt4roi.models.assemble import RecipeError, read_recipe

    recipe = read_recipe(find_recipe(args.config))
    if args.vision_tower:
        if isinstance(recipe.vision_tower, list) and backbone_files(recipe.vision_tower, args.vision_tower):
            recipe.backbone_weights = args.vision_tower
        else:
            recipe.vision_tower = args.vision_tower
    if args.language_model:
        recipe.language_model = args.language_model
    output = Path(args.output_dir)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise RecipeError(f"'{output}' exists and is not empty; choose another folder or remove it")
    parts = part_sizes(recipe)
    for name, part in parts.items():
        print(f"{name}: {f'{part.bytes / 1e9:.2f} GB' if part.bytes is not None else 'size unknown'} ({part.where})", file=sys.stderr)
    if args.dry_run:
        if args.json:
            print(json.dumps({"parts": {name: part.bytes for name, part in parts.items()}}))
        return 0
    absent = next((name for name, part in parts.items() if not part.is_there), None)
    if absent is not None:
        # Said now: the library would try for minutes, and the other part may be gigabytes.
        raise RecipeError(
            f"'{absent}' cannot be fetched ({parts[absent].where}); try again online, or give a local folder with --vision-tower or --language-model"
        )
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


def backbone_files(backbones: list[dict[str, Any]], folder: str) -> dict[str, Path]:
    """NAME.safetensors of every timm backbone in a folder; empty if one is missing."""
    files = {str(item["name"]): Path(folder) / f"{item['name']}.safetensors" for item in backbones}
    return files if all(path.is_file() for path in files.values()) else {}


@dataclass(frozen=True)
class PartSize:
    """bytes: of a part's weights, if known. where: they are, or the figure is from. is_there: whether they can be had, as far as known."""

    bytes: int | None
    where: str
    is_there: bool = True


def part_sizes(recipe: Recipe) -> dict[str, PartSize]:
    """Every part's, by name.

    Raises:
      RecipeError: a part is neither a folder nor a hub id.
    """
    sizes: dict[str, PartSize] = {}
    if isinstance(recipe.vision_tower, str):
        sizes[recipe.vision_tower] = part_size(recipe.vision_tower, recipe.download_gb)
    else:
        local = backbone_files(recipe.vision_tower, recipe.backbone_weights) if recipe.backbone_weights else {}
        for item in recipe.vision_tower:
            name = str(item["name"])
            recorded = PartSize(recorded_bytes(name, recipe.download_gb), "timm fetches it; as the recipe says")
            sizes[name] = PartSize(local[name].stat().st_size, "local file") if local else recorded
    sizes[recipe.language_model] = part_size(recipe.language_model, recipe.download_gb)
    return sizes


def part_size(name: str, recorded_gb: dict[str, float]) -> PartSize:
    """Of a folder or hub id.

    Raises:
      RecipeError: it is neither.
    """
    from gpt4roi.models.assemble import HUB_ERRORS, RecipeError

    folder = Path(name)
    if folder.is_dir():
        return PartSize(_weight_bytes(folder), "local folder")
    if not HUB_ID.fullmatch(name):
        raise RecipeError(f"'{name}' is neither a folder nor a hub id (owner/name); check the path")
    from huggingface_hub import HfApi, try_to_load_from_cache

    cached = try_to_load_from_cache(name, "config.json")
    if isinstance(cached, str):
        return PartSize(_weight_bytes(Path(cached).parent), "in the hub's cache on this machine")
    recorded = recorded_bytes(name, recorded_gb)
    try:
        listing = HfApi().model_info(name, files_metadata=True, timeout=10).siblings or []
    except HUB_ERRORS as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return PartSize(recorded, f"the hub says: {reason}" if recorded is None else f"as the recipe says; the hub: {reason}", False)
    by_kind = [sum(f.size or 0 for f in listing if f.rfilename.endswith(kind)) for kind in WEIGHTS]
    listed = next((size for size in by_kind if size), None)
    return PartSize(listed or recorded, "to download from the hub")


def _weight_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir() if file.suffix in WEIGHTS)


def recorded_bytes(name: str, recorded_gb: dict[str, float]) -> int | None:
    """What the recipe says about a part that cannot be measured."""
    return round(recorded_gb[name] * 1e9) if name in recorded_gb else None
