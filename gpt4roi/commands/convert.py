"""`gpt4roi convert`: released GPT4RoI weights into a folder of ours."""

from __future__ import annotations

import argparse
import json
import sys

from gpt4roi.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "released_dir", metavar="RELEASED_DIR", help="folder of the released weights (config.json and shards), whole or delta"
    )
    parser.add_argument("output_dir", metavar="OUTPUT_DIR", help="folder to write; a run that was interrupted goes on where it was")
    parser.add_argument(
        "--vision-tower", required=True, metavar="DIR", help="folder of CLIP ViT-L/14, which the released weights do not hold"
    )
    parser.add_argument("--base", metavar="LLAMA_DIR", help="folder of LLaMA-1 7B, for delta weights")
    parser.add_argument("--tokenizer", metavar="DIR", help="folder with tokenizer.model or tokenizer.json, where RELEASED_DIR has neither")
    parser.add_argument("--max-shard-gb", type=float, default=2.0, metavar="GB", help="size of a written file, and about the memory needed")
    parser.add_argument("--json", action="store_true", help="print one JSON object about what was written")


def run(args: argparse.Namespace) -> int:
    from gpt4roi.models.convert_released import convert

    if args.max_shard_gb <= 0:
        raise UserError(f"--max-shard-gb must be positive; got {args.max_shard_gb:g}")
    shown = ""

    def report(message: str, fraction: float | None) -> None:
        nonlocal shown
        line = message if fraction is None else f"{message}, {100 * fraction:.0f} %"
        if line != shown:
            print(line, file=sys.stderr)
            shown = line

    result = convert(args.released_dir, args.output_dir, args.vision_tower, args.base, args.tokenizer, int(args.max_shard_gb * 1e9), report)
    if not result.has_processor:
        print(
            f"warning: no tokenizer.json or tokenizer.model was found, so the model is written without a processor and cannot chat yet; "
            f"run the same command again with --tokenizer DIR (LLaMA-1's) to add it to '{result.folder}'",
            file=sys.stderr,
        )
    if args.json:
        values = {"folder": str(result.folder), "tensors": result.tensors, "parameters": result.parameters, "bytes": result.bytes}
        print(json.dumps({**values, "shards": result.shards, "processor": result.has_processor, "already_done": result.already_done}))
    else:
        verb = "verified" if result.already_done else "wrote and verified"
        print(
            f"{verb} {result.folder}: {result.tensors} tensors, {result.parameters:,} parameters, {result.bytes / 1e6:,.1f} MB "
            f"in {result.shards} file(s), {'with' if result.has_processor else 'without'} a processor"
        )
    return 0
