"""`gpt4roi evaluate TASK --data PATH` and `gpt4roi evaluate score TASK PREDICTIONS.jsonl --data PATH`."""

from __future__ import annotations

import argparse
import json
import logging
import os
from pathlib import Path
from typing import Any

from gpt4roi.evaluation.items import EvaluationError
from gpt4roi.evaluation.predictors import PREDICTORS
from gpt4roi.evaluation.tasks import TASKS

logger = logging.getLogger(__name__)

EPILOG = """examples:
  gpt4roi evaluate embedded_suite --data items.jsonl --images photos        the embedded default's own table
  gpt4roi evaluate vcr --data val.jsonl --images vcr1images --leaderboard   also writes the leaderboard CSV
  gpt4roi evaluate regions --data mine.jsonl --predictor oracle             checks the scorer: 100 everywhere
  gpt4roi evaluate score rec predictions.jsonl --data finetune_refcoco_val.json
  torchrun --nproc-per-node 4 -m gpt4roi.cli evaluate vcr --data val.jsonl --output out/vcr
A run that was stopped goes on where it was when the same command is given again."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument("task", metavar="TASK", help=f"one of {', '.join(TASKS)}; or `score TASK PREDICTIONS.jsonl`")
    parser.add_argument("rest", nargs="*", metavar="ARG", help="after `score`: the task and one or more predictions files")
    parser.add_argument("--config", type=Path, help="YAML file whose keys are these options; what the command line says wins")
    parser.add_argument("--data", type=Path, help="the benchmark's own annotation file")
    parser.add_argument("--images", type=Path, help="folder of the pictures (default: beside the data file)")
    parser.add_argument("--model", help="folder or hub id (default: the embedded model)")
    parser.add_argument("--predictor", choices=PREDICTORS, default=None, help="who answers (default: model)")
    parser.add_argument("--blind", action="store_true", help="the model without region features: how much is language alone")
    parser.add_argument("--engine", action="store_true", help="answer with the chat engine, quantised as on the page, one item at a time")
    parser.add_argument(
        "--baseline", action="append", metavar="NAME=FILE", help="a predictions file to print beside each figure; may be repeated"
    )
    parser.add_argument("--variant", help="way of asking; each task's default and choices are named in its error message")
    parser.add_argument("--split", help="split, where one file holds several (visual7w: test; refl4: all)")
    parser.add_argument("--classes", type=Path, help="class names file (open_vocabulary: `idx:name,synonym` lines; refl4: JSON id → id)")
    parser.add_argument("--leaderboard", action="store_true", help="vcr: score all 4 + 16 options and write leaderboard.csv")
    parser.add_argument("--limit", type=int, help="answer only the first N items; the figures are then marked partial")
    parser.add_argument("--output", type=Path, help="folder for predictions, metrics and report (default: evaluation/TASK-MODEL)")
    parser.add_argument("--shard", metavar="I/N", help="answer every N-th item from the I-th (from 0); torchrun sets it by itself")
    parser.add_argument("--batch-size", type=int, default=None, help="items generated together (default: 8)")
    parser.add_argument("--seed", type=int, default=None, help="order of candidates, guesses (default: 0)")
    parser.add_argument("--device", help="torch device (default: a GPU if there is one)")
    parser.add_argument("--dtype", help="torch dtype, for example bfloat16 (default: the checkpoint's)")
    parser.add_argument("--no-report", action="store_true", help="do not write the HTML report")
    parser.add_argument("--json", action="store_true", help="print metrics.json instead of the table")


DEFAULTS: dict[str, Any] = {"predictor": "model", "batch_size": 8, "seed": 0}


def run(args: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if args.config:
        _apply_config(args)
    for name, value in DEFAULTS.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    from gpt4roi.evaluation.runner import load_items
    from gpt4roi.evaluation.task import Request
    from gpt4roi.evaluation.tasks import make_task

    scoring = args.task == "score"
    if scoring and len(args.rest) < 2:
        raise EvaluationError("say what to score: gpt4roi evaluate score TASK PREDICTIONS.jsonl --data PATH")
    if not scoring and args.rest:
        raise EvaluationError(f"unexpected argument '{args.rest[0]}'; only `score` takes files")
    if args.data is None:
        raise EvaluationError("--data is missing: the benchmark's annotation file")
    if args.limit is not None and args.limit < 1:
        raise EvaluationError(f"--limit counts items and must be at least 1; got {args.limit}")
    if args.batch_size < 1:
        raise EvaluationError(f"--batch-size must be at least 1; got {args.batch_size}")
    request = Request(args.data, args.images, args.variant, args.split, args.classes, args.leaderboard, args.seed)
    task = make_task(args.rest[0] if scoring else args.task, request)
    items = load_items(task)
    return _score(args, task, items) if scoring else _evaluate(args, task, items)


def _evaluate(args: argparse.Namespace, task: Any, items: list[Any]) -> int:
    from gpt4roi.evaluation import runner

    shard = parse_shard(args.shard)
    model_name = args.model or "embedded"
    who = model_name + (" (blind)" if args.blind else "") if args.predictor == "model" else args.predictor
    output_dir = args.output or Path("evaluation") / f"{task.name}-{Path(model_name).name if args.predictor == 'model' else args.predictor}"
    chosen = items[: args.limit] if args.limit else items
    settings = {"task": task.name, "data": str(args.data), "variant": task.variant, "split": args.split, "predictor": args.predictor,
                "model": model_name, "blind": args.blind, "engine": args.engine, "seed": args.seed, "leaderboard": args.leaderboard}  # fmt: skip
    predictor = _predictor(args, task, items, blind=args.blind)
    common = {"shard": shard, "batch_size": args.batch_size}
    runner.run(task, chosen, predictor, output_dir, settings=settings, **common)
    others = baseline_outputs(args.baseline)
    if task.blind_pass and args.predictor == "model" and not args.blind and not args.engine:
        blind_dir = output_dir / "blind"
        runner.run(task, chosen, predictor.blinded(), blind_dir, settings={**settings, "blind": True}, **common)  # type: ignore[attr-defined]
        others = {"blind": runner.collect(blind_dir), **others}
    outputs = runner.collect(output_dir)
    missing = {item.id for item in chosen if any(item.id not in answers for answers in (outputs, others.get("blind", outputs)))}
    if missing and shard[1] > 1:
        logger.info("this shard is done; %d items wait for other shards, the last one writes metrics.json", len(missing))
        return 0
    return _finish(args, task, items, outputs, output_dir, who, others)


def _predictor(args: argparse.Namespace, task: Any, items: list[Any], blind: bool) -> Any:
    from gpt4roi.evaluation import predictors

    if args.predictor == "oracle":
        return predictors.OraclePredictor()
    if args.predictor == "chance":
        return predictors.ChancePredictor(args.seed)
    if args.predictor == "constant":
        return predictors.ConstantPredictor(items)
    device = args.device or _gpu_of_rank()
    if args.engine:
        if blind or args.dtype:
            raise EvaluationError(f"--engine chooses its own precision and sees the regions; leave out {'--blind' if blind else '--dtype'}")
        from gpt4roi.evaluation.engine_predictor import EnginePredictor

        return EnginePredictor(args.model, max_new_tokens=task.max_new_tokens, device=device)
    from gpt4roi.evaluation.model_predictor import ModelPredictor

    return ModelPredictor(args.model, max_new_tokens=task.max_new_tokens, blind=blind, device=device, dtype=args.dtype)


def _gpu_of_rank() -> str | None:
    """Under torchrun, a GPU for each process; otherwise all would load their copy onto the first."""
    rank = os.environ.get("LOCAL_RANK")
    if rank is None:
        return None
    import torch

    return f"cuda:{int(rank) % torch.cuda.device_count()}" if torch.cuda.is_available() else None


def _score(args: argparse.Namespace, task: Any, items: list[Any]) -> int:
    from gpt4roi.evaluation import prediction_files

    outputs, dropped = prediction_files.merge(prediction_files.read_records(Path(name)) for name in args.rest[1:])
    if dropped:
        logger.info("%d predictions had an id that was there already and were dropped", dropped)
    if task.absent_output is not None and all(Path(name).read_text(encoding="utf-8").lstrip().startswith("[") for name in args.rest[1:]):
        outputs = {**{item.id: task.absent_output for item in items}, **outputs}
    output_dir = args.output or Path("evaluation") / f"{task.name}-scored"
    output_dir.mkdir(parents=True, exist_ok=True)
    return _finish(args, task, items, outputs, output_dir, args.model or ", ".join(args.rest[1:]), baseline_outputs(args.baseline))


def _finish(
    args: argparse.Namespace,
    task: Any,
    items: list[Any],
    outputs: dict[str, Any],
    output_dir: Path,
    model: str,
    others: dict[str, dict[str, Any]],
) -> int:
    from gpt4roi.evaluation import prediction_files, runner

    report = runner.evaluate_outputs(task, items, outputs, model=model, others=others, seed=args.seed)
    runner.write_merged(task, items, outputs, output_dir)
    prediction_files.write_json(output_dir / "metrics.json", report)
    covered = [item for item in items if item.id in outputs]
    parsed = [task.parse(item, outputs[item.id]) for item in covered]
    files = task.extra_files(covered, parsed, output_dir)
    if not args.no_report:
        from gpt4roi.evaluation.report import write_report

        files.append(write_report(task, covered, outputs, report, output_dir / "report"))
    print(json.dumps(report, ensure_ascii=False) if args.json else runner.table(report))
    logger.info("written: %s", ", ".join(str(path) for path in [output_dir / "metrics.json", *files]))
    return 0


def baseline_outputs(names: list[str] | None) -> dict[str, dict[str, Any]]:
    """`probe=FILE` as {"probe": raw outputs by id}; a bare FILE is called by its stem."""
    from gpt4roi.evaluation import prediction_files

    outputs = {}
    for text in names or []:
        name, _, file = text.rpartition("=")
        outputs[name or Path(file).stem] = prediction_files.merge([prediction_files.read_records(Path(file))])[0]
    return outputs


def parse_shard(text: str | None) -> tuple[int, int]:
    """`1/4` as (1, 4): the second of four; without it what torchrun says, else the whole."""
    if text is None:
        return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    index, _, count = text.partition("/")
    if not (index.isdigit() and count.isdigit() and 0 <= int(index) < int(count)):
        raise EvaluationError(f"--shard is I/N with I from 0 to N-1, for example 0/4; got '{text}'")
    return int(index), int(count)


def _apply_config(args: argparse.Namespace) -> None:
    """Fill options that the command line left out from a YAML file; a key that is no option is refused."""
    import difflib

    import yaml

    if not args.config.exists():
        raise EvaluationError(f"there is no configuration file {args.config}")
    values = yaml.safe_load(args.config.read_text(encoding="utf-8")) or {}
    known = [name for name in vars(args) if name not in ("config", "rest", "task")]
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if name == "task":
            if args.task not in (value, "score"):
                raise EvaluationError(f"{args.config} is for the task {value}, not {args.task}")
            continue
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise EvaluationError(f"{args.config} has the unknown key '{key}'" + (f"; did you mean '{near[0]}'?" if near else ""))
        if getattr(args, name) in (None, False):
            setattr(args, name, Path(value) if name in ("data", "images", "classes", "output") else value)
