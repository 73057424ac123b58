"""From a command's arguments to a RegionChat; progress goes to stderr so that stdout is the answer alone."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from typing import TYPE_CHECKING

from gpt4roi.model_names import check_model_name

if TYPE_CHECKING:
    from gpt4roi.chat import RegionChat
    from gpt4roi.engine import EngineSettings


def load_chat(args: argparse.Namespace, settings: EngineSettings | None = None) -> tuple[RegionChat, float]:
    """The chat and the seconds that loading took."""
    # A wrong name is told before torch is imported.
    check_model_name(args.model)
    # The library's own progress bars would mix with ours.
    from transformers.utils import logging as transformers_logging

    from gpt4roi.chat import RegionChat
    from gpt4roi.engine import EngineSettings

    transformers_logging.disable_progress_bar()
    for library in ("transformers", "bitsandbytes"):
        logging.getLogger(library).setLevel(logging.ERROR)
    start = time.perf_counter()
    said = ""

    def progress(message: str, fraction: float | None) -> None:
        nonlocal said
        # Downloads report many times a second; a log wants each message once.
        headline = message.split(" (")[0]
        if headline != said or (sys.stderr.isatty() and fraction is not None):
            said = headline
            end = "\r" if sys.stderr.isatty() and fraction is not None and fraction < 1 else "\n"
            print(f"{message} …", end=end, file=sys.stderr, flush=True)

    sizes = settings or EngineSettings(precision=args.precision)
    chat = RegionChat.from_pretrained(
        args.model,
        device=args.device,
        progress=progress,
        settings=sizes,
        quantization=args.quantize,
        attn_implementation=args.attention,
    )
    return chat, time.perf_counter() - start
