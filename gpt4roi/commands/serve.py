"""`gpt4roi serve`: the OpenAI-compatible HTTP API."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from pathlib import Path

from gpt4roi.commands.options import add_model_arguments
from gpt4roi.errors import UserError
from gpt4roi.serving.settings import ServerSettings

DEFAULTS = ServerSettings()
KEY_VARIABLE = "GPT4ROI_API_KEY"
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@\s]+/?")
# Requests that are being read or prepared, beyond those that are answered or wait for it.
SPARE_REQUESTS = 64
BACKLOG = 2048


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
    parser.add_argument(
        "--allow-host", action="append", default=[], help="also fetch pictures from this NAME or NAME:PORT (repeatable); else none"
    )
    parser.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="also let web pages of this origin ask, for example http://localhost:5173, or * for all (repeatable)",
    )
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
    for origin in args.allow_origin:
        if origin != "*" and not ORIGIN.fullmatch(origin):
            raise UserError(f"--allow-origin is like http://localhost:5173, without a path, or *; got '{origin}'")
    return ServerSettings(
        model_name=args.model_name or (Path(args.model).name if args.model else DEFAULTS.model_name),
        api_key=_api_key(args.api_key),
        host=args.host,
        allowed_origins=tuple(args.allow_origin),
        max_requests=args.max_active + args.max_waiting + SPARE_REQUESTS,
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


def _api_key(given: str | None) -> str | None:
    """The key, from the option or the environment.

    Raises:
      UserError: it is set and empty, as by an unset shell variable; that must not open the server.
    """
    key, source = (given, "--api-key") if given is not None else (os.environ.get(KEY_VARIABLE), f"${KEY_VARIABLE}")
    if key is not None and not key.strip():
        raise UserError(f"{source} is empty; give a key, or leave it out to serve without one")
    return key


def run(args: argparse.Namespace) -> int:
    settings = server_settings(args)
    try:
        import uvicorn

        from gpt4roi.hosts import is_loopback
        from gpt4roi.serving.connections import bind, server_config
    except ModuleNotFoundError as error:
        raise UserError(f"the API needs the package '{error.name}'; install it with: pip install 'gpt4roi[serve]'") from error
    # Before the model is loaded, which takes long.
    bound = bind(args.host, args.port)
    if settings.api_key is None and not is_loopback(args.host):
        print(
            f"warning: no API key is set, so everybody who reaches {args.host} may ask; set --api-key or ${KEY_VARIABLE}", file=sys.stderr
        )
    from gpt4roi.commands.loading import load_chat
    from gpt4roi.engine import EngineSettings

    try:
        from gpt4roi.serving.app import create_app
    except ModuleNotFoundError as error:
        raise UserError(f"the API needs the package '{error.name}'; install it with: pip install 'gpt4roi[serve]'") from error
    sizes = EngineSettings(precision=args.precision, max_active=args.max_active, max_waiting=args.max_waiting)
    chat, load_s = load_chat(args, sizes)
    shown = f"http://{f'[{args.host}]' if ':' in args.host else args.host}:{bound.getsockname()[1]}"
    docs = "" if settings.api_key else f", docs on {shown}/docs"
    bound.listen(BACKLOG)
    print(f"model ready after {load_s:.1f} s ({chat.engine.decoder.name}); running on {shown}{docs}", file=sys.stderr, flush=True)
    # uvicorn drains, then raises the signal again for whoever had it before; its default would end a clean stop with a failure's exit code.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    app = create_app(chat.engine, settings)
    uvicorn.Server(server_config(app, settings, args.drain, host=args.host, port=args.port)).run(sockets=[bound])
    return 0
