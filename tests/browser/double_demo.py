"""The page on a double of the chat, for what a real model cannot show on demand: loading, failing, queueing, long answers.

python -m tests.browser.double_demo PORT [--load-seconds S] [--fail] [--pause S]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

from tests.browser.fake_chat import FakeChat
from web_demo.app import serve
from web_demo.loading import Progress


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--load-seconds", type=float, default=0.0)
    parser.add_argument("--fail", action="store_true")
    parser.add_argument("--pause", type=float, default=0.05, help="seconds between two words of an answer")
    args = parser.parse_args()

    def load(progress: Progress) -> Callable[[], FakeChat]:
        for step in range(10):
            progress("fetching the weights", step / 10)
            time.sleep(args.load_seconds / 10)
        if args.fail:
            raise ValueError("the disk is full; free 300 MB and start again")
        return partial(FakeChat, args.pause)

    serve(load, "127.0.0.1", args.port)


if __name__ == "__main__":
    main()
