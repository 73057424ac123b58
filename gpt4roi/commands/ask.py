"""`gpt4roi ask IMAGE QUESTION --box x0,y0,x1,y1`: one question, one answer."""

from __future__ import annotations

import argparse
import json
import sys

from gpt4roi.boxes import parse_box, validate_box
from gpt4roi.commands.options import add_box_argument, add_model_arguments
from gpt4roi.conversation import check_mentions
from gpt4roi.errors import UserError
from gpt4roi.images import open_picture

DEFAULT_NEW_TOKENS = 256
TIMINGS = ("load_s", "vision_s", "first_token_s", "total_s", "new_tokens")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", help="a picture file")
    parser.add_argument("question", help='for example "What is <region1>?"')
    add_box_argument(parser)
    add_model_arguments(parser)
    parser.add_argument("--max-new-tokens", type=int, default=DEFAULT_NEW_TOKENS, help="the answer ends here at the latest")
    parser.add_argument("--json", action="store_true", help="print one JSON object with answer, regions and timings")


def run(args: argparse.Namespace) -> int:
    # Mistakes are said before the model is loaded.
    boxes = [parse_box(text) for text in args.box]
    picture = open_picture(args.image)
    checked = {number: validate_box(box, picture.size, f"<region{number}>") for number, box in enumerate(boxes, 1)}
    if not args.question.strip():
        raise UserError("the question is empty; type one")
    if args.max_new_tokens < 1:
        raise UserError(f"--max-new-tokens is at least 1; got {args.max_new_tokens}")
    check_mentions(args.question, checked)

    from gpt4roi.commands.loading import load_chat

    chat, load_s = load_chat(args)
    chat.set_image(picture)
    for box in checked.values():
        chat.add_region(box)
    if not args.json:
        for piece in chat.stream(args.question, args.max_new_tokens):
            print(piece, end="", flush=True)
        print()
        return 0
    answer = chat.ask(args.question, args.max_new_tokens)
    timings = {"load_s": load_s, **answer.timings}
    width, height = picture.size
    record = {
        "answer": answer.text,
        "model": args.model or "embedded",
        "image": {"width": width, "height": height},
        "regions": [{"number": number, "box_xyxy": list(box)} for number, box in chat.regions.items()],
        "timings": {name: round(float(timings.get(name, 0)), 4) if name != "new_tokens" else int(timings.get(name, 0)) for name in TIMINGS},
    }
    json.dump(record, sys.stdout, ensure_ascii=False)
    print()
    return 0
