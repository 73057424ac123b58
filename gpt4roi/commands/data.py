"""`gpt4roi data check | show | import | split`: a label file to a file that trains well. Heavy imports happen inside `run`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

IMPORT_FORMATS = ("coco", "csv", "labelme", "labelstudio", "voc", "yolo")
QUESTION_ROLES = ("name", "list", "yes_no", "count", "locate", "compare", "describe", "describe_in_detail", "colour", "reason")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="data_command", metavar="check|show|import|split", required=True)

    check = commands.add_parser(
        "check", help="every problem with its line number, and what is in the file; exit code 2 if there are problems"
    )
    check.add_argument("file", type=Path, help="a .jsonl file in our format: image, regions, conversation")
    check.add_argument("--images", type=Path, help="folder that the pictures' paths are relative to (default: the file's own)")
    check.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    check.add_argument(
        "--max-problems", type=int, default=50, help="show at most this many lines of problems; all are counted (default: 50)"
    )

    show = commands.add_parser("show", help="a page of rendered samples: boxes drawn, trained words coloured")
    show.add_argument("file", type=Path, help="a .jsonl file in our format, or the annotations of the data set given with --reader")
    show.add_argument("--output", type=Path, required=True, help="folder for index.html")
    show.add_argument("--images", type=Path, help="folder of the pictures (default: the file's own)")
    show.add_argument("--reader", default="jsonl", help="how to read the file: a reader's name (default: jsonl)")
    show.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="an option of the reader; may be repeated")
    show.add_argument("--limit", type=int, default=20, help="how many samples, chosen by the seed (default: 20)")
    show.add_argument("--seed", type=int, default=0, help="which samples, and which words of the templates (default: 0)")
    show.add_argument("--model", help="colour the tokens of this model ('embedded' or a folder) instead of characters")

    importing = commands.add_parser("import", help="labels of another tool into our format, with questions made from them")
    importing.add_argument("format", choices=IMPORT_FORMATS, help="what wrote the labels")
    importing.add_argument(
        "--annotations", type=Path, required=True, help="coco, csv, labelstudio: the file; voc, yolo, labelme: the folder"
    )
    importing.add_argument("--images", type=Path, required=True, help="folder of the pictures")
    importing.add_argument("--output", type=Path, required=True, help="the .jsonl file to write")
    importing.add_argument(
        "--question",
        action="append",
        choices=QUESTION_ROLES,
        help="what is asked about the boxes; may be repeated (default: name). describe, describe_in_detail, colour and reason are for "
        "labels that are such texts instead of class names",
    )
    importing.add_argument("--names", type=Path, help="yolo: data.yaml or classes.txt (default: looked for near the labels)")
    importing.add_argument(
        "--space", default="pixels", choices=("pixels", "unit", "thousandths"), help="csv: what the numbers are (default: pixels)"
    )
    importing.add_argument("--plain-words", action="store_true", help="write class names with spaces for underscores")
    importing.add_argument("--skip-missing", action="store_true", help="go on without labels whose picture is not there; they are counted")
    importing.add_argument("--max-regions", type=int, default=20, help="a picture with more boxes becomes several records (default: 20)")
    importing.add_argument("--seed", type=int, default=0, help="of the order of boxes and the words of questions (default: 0)")

    split = commands.add_parser("split", help="parts such as train and val; no picture is in two of them")
    split.add_argument("file", type=Path, help="a .jsonl file in our format")
    split.add_argument("--output", type=Path, required=True, help="folder for NAME.train.jsonl, NAME.val.jsonl …")
    split.add_argument("--parts", default="train=0.9,val=0.1", help="names with shares (default: train=0.9,val=0.1)")
    split.add_argument("--images", type=Path, help="folder that the pictures' paths are relative to (default: the file's own)")
    split.add_argument("--seed", type=int, default=0, help="which pictures go where (default: 0)")


def run(args: argparse.Namespace) -> int:
    return COMMANDS[args.data_command](args)


def run_check(args: argparse.Namespace) -> int:
    from gpt4roi.data.check import check_file, summary_text

    report = check_file(args.file, args.images)
    if args.json:
        print(json.dumps(report.to_dict(), ensure_ascii=False))
        return 2 if report.problems else 0
    for kind, found in (("problem", report.problems), ("note", report.notes)):
        for line_number, text in found[: args.max_problems]:
            print(f"{args.file}, line {line_number}: {'' if kind == 'problem' else 'note: '}{text}")
        if len(found) > args.max_problems:
            print(f"… and {len(found) - args.max_problems} more {kind}s (--max-problems)")
    if report.problems or report.notes:
        print()
    print(summary_text(report))
    bad_lines = len({line_number for line_number, _ in report.problems})
    print(f"\n{len(report.problems)} problems in {bad_lines} records, {len(report.notes)} notes" if report.problems else "\nno problems")
    return 2 if report.problems else 0


def run_show(args: argparse.Namespace) -> int:
    from gpt4roi.data.html import page_html
    from gpt4roi.data.readers import load_entry
    from gpt4roi.data.templates import worded

    images = args.images if args.images is not None or args.reader != "jsonl" else args.file.parent
    entry = {"reader": args.reader, "annotations": args.file, "limit": args.limit} | ({} if images is None else {"images": images})
    entry |= dict(_key_value(text) for text in args.option)
    samples = [worded(sample, args.seed, 0) for sample in load_entry(entry, seed=args.seed)]
    processor = None
    if args.model:
        from importlib import import_module

        # Only on request, and by name: this package is handed a processor and never depends on the model family.
        _, processor = import_module("gpt4roi.models.loading").load_model(args.model)
    args.output.mkdir(parents=True, exist_ok=True)
    page = args.output / "index.html"
    page.write_text(page_html(samples, f"{args.file.name}: {len(samples)} samples", processor), encoding="utf-8")
    print(page)
    return 0


def _key_value(text: str) -> tuple[str, object]:
    """`seed=3` as ("seed", 3): numbers and lists as YAML reads them."""
    import yaml

    from gpt4roi.data.errors import DataError

    key, equals, value = text.partition("=")
    if not equals:
        raise DataError(f"an option is KEY=VALUE; got '{text}'")
    return key, yaml.safe_load(value)


def run_import(args: argparse.Namespace) -> int:
    from gpt4roi.data.importers import Source, import_samples
    from gpt4roi.data.jsonl import to_record, write_jsonl

    source = Source(args.annotations, args.images, args.names, args.space)
    roles = tuple(dict.fromkeys(args.question or ["name"]))
    samples = import_samples(
        args.format,
        source,
        roles=roles,
        max_regions=args.max_regions,
        plain_words=args.plain_words,
        skip_missing=args.skip_missing,
        seed=args.seed,
    )
    count = write_jsonl(args.output, (to_record(replace(sample, sample_id=""), args.output.parent) for sample in samples))
    for reason, number in sorted(samples.left_out.items()):
        print(f"left out: {number} {reason}", file=sys.stderr)
    num_regions = sum(len(sample.regions) for sample in samples)
    print(f"{args.output}: {count} records, {num_regions} regions, {len({r.label for s in samples for r in s.regions})} labels")
    return 0


def run_split(args: argparse.Namespace) -> int:
    from gpt4roi.data.split import parse_parts, split_file

    written = split_file(args.file, args.output, parse_parts(args.parts), images=args.images, seed=args.seed)
    for path in written.values():
        with open(path, encoding="utf-8") as file:
            print(f"{path}: {sum(1 for _ in file)} records")
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "check": run_check,
    "show": run_show,
    "import": run_import,
    "split": run_split,
}
