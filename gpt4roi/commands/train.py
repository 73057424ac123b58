"""`gpt4roi train CONFIG.yaml`: every field of the config is an option too."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

import yaml

from gpt4roi.training.config import ConfigError, TrainConfig, build_config, read_yaml

# Fields that are structures in YAML; `--set` reaches inside them.
STRUCTURED = ("parts", "data", "eval_data", "sample_questions")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="YAML file, see configs/train/")
    parser.add_argument(
        "--dry-run", action="store_true", help="show config, data counts, parameters, memory and the time of a step; train nothing"
    )
    parser.add_argument(
        "--resume", action=argparse.BooleanOptionalAction, default=True, help="go on from the last checkpoint in output_dir"
    )
    parser.add_argument("--overwrite", action="store_true", help="throw away the checkpoints in output_dir and start anew")
    parser.add_argument("--export", metavar="CHECKPOINT", help="train nothing; write this checkpoint as a model folder to output_dir/model")
    parser.add_argument("--limit", type=int, help="at most so many samples of every data set")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="any field, inside structures too: parts.language_model.lora.r=8"
    )
    fields = parser.add_argument_group("fields of the config", "each overrides the YAML")
    for item in dataclasses.fields(TrainConfig):
        if item.name in STRUCTURED:
            continue
        option = f"--{item.name.replace('_', '-')}"
        text = item.metadata["help"].replace("%", "%%")
        fields.add_argument(
            option, dest=f"field_{item.name}", metavar="VALUE", nargs="?", const="true", default=argparse.SUPPRESS, help=text
        )


def overrides(args: argparse.Namespace) -> dict[str, Any]:
    """Options and `--set` as dotted keys with YAML values."""
    given = {name.removeprefix("field_"): value for name, value in vars(args).items() if name.startswith("field_")}
    for pair in args.set:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set takes KEY=VALUE; got '{pair}'")
        given[key.replace("-", "_")] = value
    return {key: yaml.safe_load(value) for key, value in given.items()}


def run(args: argparse.Namespace) -> int:
    raw = read_yaml(args.config, overrides(args))
    if raw.get("objective") == "region_pretraining":
        from gpt4roi.training import region_pretraining

        return region_pretraining.run(raw, args)
    if args.limit is not None:
        for key in ("data", "eval_data"):
            raw[key] = [{**entry, "limit": args.limit} for entry in raw.get(key) or []]
    config = build_config(raw, require_output=not args.dry_run)
    from gpt4roi.training.run import train

    if args.export:
        from pathlib import Path

        from gpt4roi.training.export import export_checkpoint

        print(export_checkpoint(args.export, Path(config.output_dir) / "model"))
        return 0
    if args.dry_run:
        from gpt4roi.training.dry_run import dry_run

        return dry_run(config)
    return train(config, resume=args.resume, overwrite=args.overwrite)
