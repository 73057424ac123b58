"""`gpt4roi serve`: the OpenAI-compatible HTTP API."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from gpt4roi.commands.options import add_model_arguments
from gpt4roi.errors import UserError
from gpt4roi.serving.settings import ServerSettings

DEFAULTS = ServerSettings()
KEY_VARIABLE = "GPT4ROI_API_KEY"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to bind; anything but loopback is reachable by others")
    parser.add_argument("--port", type=int, default=8000, help="port to bind; 0 takes a free one and prints it")
    add_model_arguments(parser)
    parser.add_argument("--model-name", default=None, help="what clients call the model; without it the model folder's name")
    parser.add_argument("--api-key", default=None, help=f"clients must send it as a bearer token; without it ${KEY_VARIABLE}, if set")
    parser.add_argument("--max-active", type=int, default=8, help="answers written at the same time")
    parser.add_argument("--max-waiting", type=int, default=64, help="questions that may wait; more get 429 with Retry-After")
    parser.add_argument("--max-body-mb", type=float, default=DEFAULTS.max_body_bytes / 1e6, help="size of a request")
    parser.add_argument("--max-megapixels", type=float, default=DEFAULTS.max_pixels / 1e6, help="size of a picture")
    parser.add_argument("--max-regions", type=int, default=DEFAULTS.max_regions, help="regions of a conversation")
    parser.add_argument("--max-turns", type=int, default=DEFAULTS.max_turns, help="messages of a conversation")
    parser.add_argument("--max-new-tokens", type=int, default=DEFAULTS.max_new_tokens, help="length of an answer")
    parser.add_argument("--timeout", type=float, default=DEFAULTS.timeout_s, help="seconds until an answer must have ended")
    parser.add_argument("--drain", type=int, default=60, help="seconds that SIGTERM waits for answers under way")
    parser.add_argument("--allow-host", action="append", default=[], help="also fetch pictures from this host (repeatable); else none")
    parser.add_argument("--log-texts", action="store_true", help="log questions and answers; pictures are never logged")


def server_settings(args: argparse.Namespace) -> ServerSettings:
    """Arguments to settings.

    Raises:
      ValueError: a limit that is no limit.
    """
    for name in ("max_active", "max_body_mb", "max_megapixels", "max_new_tokens", "max_turns", "timeout"):
        if getattr(args, name) <= 0:
            raise UserError(f"--{name.replace('_', '-')} is more than 0; got {getattr(args, name)}")
    if args.max_waiting < 0:
        raise UserError(f"--max-waiting is 0 or more; got {args.max_waiting}")
    return ServerSettings(
        model_name=args.model_name or (Path(args.model).name if args.model else DEFAULTS.model_name),
        api_key=args.api_key or os.environ.get(KEY_VARIABLE) or None,
        max_body_bytes=int(args.max_body_mb * 1e6),
        max_pixels=int(args.max_megapixels * 1e6),
        max_regions=args.max_regions,
        max_turns=args.max_turns,
        max_new_tokens=args.max_new_tokens,
        default_new_tokens=min(DEFAULTS.default_new_tokens, args.max_new_tokens),
        timeout_s=args.timeout,
        allowed_hosts=tuple(args.allow_host),
        log_texts=args.log_texts,
    )


def run(args: argparse.Namespace) -> int:
    settings = server_settings(args)
    try:
        import uvicorn

        from gpt4roi.serving.app import create_app
    except ModuleNotFoundError as error:
        raise UserError(f"the API needs the package '{error.name}'; install it with: pip install 'gpt4roi[serve]'") from error
    from gpt4roi.commands.loading import load_chat
    from gpt4roi.engine import EngineSettings

    sizes = EngineSettings(precision=args.precision, max_active=args.max_active, max_waiting=args.max_waiting)
    chat, load_s = load_chat(args, sizes)
    print(f"model ready after {load_s:.1f} s ({chat.engine.decoder.name}); docs on http://{args.host}:{args.port}/docs", file=sys.stderr)
    # uvicorn drains, then raises the signal again for whoever had it before; its default would end a clean stop with a failure's exit code.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    # Access lines are written by the application, without query strings and without texts.
    uvicorn.run(
        create_app(chat.engine, settings),
        host=args.host,
        port=args.port,
        access_log=False,
        timeout_graceful_shutdown=args.drain,
        limit_concurrency=args.max_active + args.max_waiting + 64,
    )
    return 0
