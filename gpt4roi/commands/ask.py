"""`gpt4roi ask IMAGE QUESTION … --box x0,y0,x1,y1`: questions about regions of an image, answered one after the other."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from gpt4roi.commands.options import add_model_arguments, add_region_arguments, read_regions
from gpt4roi.conversation import check_mentions
from gpt4roi.errors import UserError
from gpt4roi.images import open_image
from gpt4roi.meaning import spell_mentions

DEFAULT_NEW_TOKENS = 256
TIMINGS = ("vision_s", "first_token_s", "total_s", "new_tokens")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", help="an image file")
    parser.add_argument(
        "question", nargs="+", help='for example "What is this?" or "Is <region1> left of <region2>?"; several are asked in turn'
    )
    add_region_arguments(parser)
    add_model_arguments(parser)
    parser.add_argument("--max-new-tokens", type=int, default=DEFAULT_NEW_TOKENS, help="the answer ends here at the latest")
    parser.add_argument("--json", action="store_true", help="print one JSON object a question, with answer, regions and timings")


def run(args: argparse.Namespace) -> int:
    # Mistakes are said before the model is loaded.
    image = open_image(args.image)
    regions = read_regions(args, image.size)
    for question in args.question:
        if not question.strip():
            raise UserError("the question is empty; type one")
        check_mentions(spell_mentions(question, range(1, len(regions) + 1)), range(1, len(regions) + 1))
    if args.max_new_tokens < 1:
        raise UserError(f"--max-new-tokens is at least 1; got {args.max_new_tokens}")

    from gpt4roi.commands.loading import load_chat

    chat, load_s = load_chat(args)
    chat.set_image(image, name=args.image)
    for region in regions:
        chat.add_region(**region)
    for question in args.question:
        if not args.json:
            for piece in chat.stream(question, args.max_new_tokens):
                print(piece, end="", flush=True)
            print()
            continue
        answer = chat.ask(question, args.max_new_tokens)
        timings = asdict(answer.timings)
        record = {
            "answer": answer.text,
            "model": args.model or "embedded",
            "image": {"width": image.width, "height": image.height},
            "about": list(chat.exchanges[-1].regions),
            "regions": chat.regions.to_records(),
            "timings": {"load_s": round(load_s, 4), **{name: round(timings[name], 4) for name in TIMINGS}},
        }
        json.dump(record, sys.stdout, ensure_ascii=False)
        print()
    return 0
