"""`gpt4roi do IMAGE REQUEST`: a request becomes a plan, runs, and is answered with evidence and pictures."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from gpt4roi.commands.options import add_model_arguments, add_region_arguments, read_regions
from gpt4roi.errors import UserError
from gpt4roi.images import open_image


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", help="an image file")
    parser.add_argument("request", help='for example "blur every dog and tell me how many there are"')
    add_region_arguments(parser)
    parser.add_argument("--plan", metavar="FILE", help="a plan as JSON, which runs instead of one made from the request")
    parser.add_argument("--plan-only", action="store_true", help="print the plan and run nothing")
    parser.add_argument(
        "--planner", choices=("embedded", "openai"), default="embedded", help="who makes the plan: patterns of ours, or an endpoint"
    )
    parser.add_argument("--planner-url", metavar="URL", help="an OpenAI-compatible API, for example http://localhost:8000/v1")
    parser.add_argument("--planner-model", metavar="NAME", help="the model's name there")
    parser.add_argument("--output", default="gpt4roi_run", metavar="DIR", help="where pictures and run.json are written")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    image = open_image(args.image)
    regions = read_regions(args, image.size)
    from gpt4roi.plans.actions import parse_plan
    from gpt4roi.plans.endpoint import plan_by_endpoint
    from gpt4roi.plans.planner import plan_request

    given = read_plan(args.plan) if args.plan else None
    numbers = range(1, len(regions) + 1)
    # A plan that cannot run is told before the model is loaded.
    planner = "given" if given is not None else args.planner
    if given is not None:
        plan = parse_plan(given, numbers, args.request)
    elif args.planner == "openai":
        if not args.planner_url or not args.planner_model:
            raise UserError("--planner openai needs --planner-url and --planner-model")
        plan = plan_by_endpoint(args.planner_url, args.planner_model, args.request, numbers)
    else:
        plan = plan_request(args.request, numbers)
    if args.plan_only:
        print(json.dumps(plan.model_dump(), ensure_ascii=False, indent=None if args.json else 1))
        return 0

    from gpt4roi.commands.loading import load_chat
    from gpt4roi.plans.record import run_plan

    chat, _load_s = load_chat(args)
    chat.set_image(args.image)
    for region in regions:
        chat.add_region(**region)

    def on_step(record: Any, step: str) -> None:
        if record is not None:
            print(f"{step} {record.action}: {record.error or f'{record.seconds:.2f} s'}", file=sys.stderr)

    output = Path(args.output)
    done = run_plan(chat, args.image, plan, planner, output, on_step=on_step)
    output.mkdir(parents=True, exist_ok=True)
    done.save(output / "run.json")
    say(done.json, args.json)
    return 0


def say(result: Any, as_json: bool) -> None:
    """The reply for people, or the whole for programs."""
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
        return
    print(result["reply"]["text"])
    for one in result["images"]:
        print(one["path"])


def read_plan(path: str) -> Any:
    """A plan's JSON out of a file, or out of a saved run."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"'{path}' is no JSON: {str(error)[:80]}") from error
    return data["plan"] if isinstance(data, dict) and isinstance(data.get("plan"), dict) else data
