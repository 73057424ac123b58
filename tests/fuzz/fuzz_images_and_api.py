"""Mutated image files and random requests, for a given time: `python -m tests.fuzz.fuzz_images_and_api --seconds 60`.

An image file is opened or refused with an ImageError; a request is answered or refused with a 4xx and one sentence. Anything else is
counted, shown with the bytes that did it, and makes the exit code 1.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image
from starlette.testclient import TestClient

from gpt4roi.engine import Engine, EngineSettings
from gpt4roi.images import ImageError, open_image
from gpt4roi.serving.app import create_app
from gpt4roi.serving.settings import ServerSettings
from tests.unit.chat.tiny import tiny_model
from tests.unit.image_bombs import EPS, HEIC_HEAD, encoded, jpeg_with_scans, png_header, tiff_with_tile

MODES = ("RGB", "RGBA", "L", "P", "I;16", "1", "CMYK", "LA", "F")
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 2**64, 10**400, 1e308, -1e308, 1e-300, 8e-38, 0.5, float("nan"), float("inf")),
    *(
        "",
        "x",
        "\ud800",
        "\0",
        "tiny",
        "user",
        "system",
        "tool",
        "<region1>",
        "<region1>[1,2,30,40]",
        "<|im_end|>",
        "### Human:",
        "http://[::1",
    ),
    *([], [[]], {}, {"a": 1}, [1, 2, 3, 4], ["a"], [None], "data:,", "data:image/png;base64,AAAA", "data:image/png;base64"),
    *({"size": [60, 80], "counts": "x"}, {"size": [10**9, 10**9], "counts": "0"}, {"size": [60, 80], "counts": [1, 2]}),
]
FIELDS = ("temperature", "top_p", "seed", "stop", "stream", "n", "logprobs", "tools", "tool_choice", "stream_options", "max_completion_tokens",
          "role", "content", "number", "box", "box_xyxy", "mask", "points", "label", "space", "type", "url", "text", "regions", "response_format",
          "logit_bias", "presence_penalty", "functions", "audio", "modalities")  # fmt: skip


@dataclass
class Report:
    """Outcomes by name, and the first sample of each that must not be."""

    tried: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: dict[str, tuple[str, bytes]] = field(default_factory=dict)

    def note_wrong(self, name: str, detail: str, sample: bytes) -> None:
        self.outcomes[name] += 1
        self.wrong.setdefault(name, (detail, sample))


def image_seeds(rng: random.Random) -> dict[str, bytes]:
    """A small file of every format and mode that can be written here, and the bombs."""
    Image.init()
    pixels = np.random.default_rng(rng.randrange(2**32)).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "abc"
    seeds = {
        "HEIC": HEIC_HEAD,
        "EPS": EPS,
        "PNG bomb": png_header(9000, 9000),
        "JPEG scans": jpeg_with_scans(30),
        "TIFF tile": tiff_with_tile(),
    }
    for kind in sorted(Image.SAVE):
        for mode in MODES:
            try:
                more = {"exif": exif} if kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "MPO") else {}
                seeds[f"{kind} {mode}"] = encoded(Image.fromarray(pixels).convert(mode), kind, **more)
            except Exception:  # this format cannot hold this mode
                continue
    return seeds


def mutated(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        kind, at = rng.random(), rng.randrange(len(out)) if rng.random() < 0.5 else rng.randrange(min(len(out), 120))
        if kind < 0.6:
            out[at] = rng.choice((0, 1, 255, 127, 128, rng.randrange(256)))
        elif kind < 0.8:
            out[at:at] = rng.randbytes(rng.choice((1, 2, 4)))
        elif kind < 0.9:
            del out[max(at, 1) :]
        else:
            out[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\0\x80"))
    return bytes(out)


def fuzz_images(seconds: float, seed: int = 0) -> Report:
    rng, report = random.Random(seed), Report()
    seeds = image_seeds(rng)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        name = rng.choice(list(seeds))
        data, report.tried, begin = mutated(seeds[name], rng), report.tried + 1, time.monotonic()
        try:
            open_image(data)
            report.outcomes["opened"] += 1
        except ImageError:
            report.outcomes["refused"] += 1
        except Exception as error:
            report.note_wrong(f"{name.split()[0]} {type(error).__name__}", traceback.format_exc(limit=-3), data)
        if time.monotonic() - begin > 10:
            report.note_wrong(f"{name} slow", f"{time.monotonic() - begin:.1f} s", data)
    return report


def request_seed(rng: random.Random, images: list[str]) -> dict[str, Any]:
    parts = [
        {"type": "image_url", "image_url": {"url": rng.choice(images)}},
        {"type": "region", "number": 1, "box_xyxy": [1, 1, 30, 20]},
        {"type": "text", "text": rng.choice(("What is <region1>?", "What is <region2>[1, 2, 20, 25]?", "Describe it."))},
    ]
    more: dict[str, Any] = rng.choice(({}, {"regions": [{"number": 3, "box_xyxy": [0, 0, 9, 9], "label": "a"}]}, {"stream": True}))
    return {
        "model": "tiny",
        "max_tokens": 2,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}],
        **more,
    }


def mutated_json(value: Any, rng: random.Random) -> Any:
    if rng.random() < 0.1:
        return rng.choice(ODD)
    if isinstance(value, dict):
        out = {key: mutated_json(one, rng) for key, one in value.items() if rng.random() > 0.03}
        if rng.random() < 0.15:
            out[rng.choice(FIELDS)] = rng.choice(ODD)
        return out
    if isinstance(value, list):
        return [mutated_json(one, rng) for one in value for _ in range(rng.choice((1, 1, 1, 1, 0, 2)))]
    return value


def fuzz_api(seconds: float, seed: int = 0) -> Report:
    rng, report = random.Random(seed), Report()
    seeds = image_seeds(rng)
    engine = Engine(*tiny_model(), EngineSettings(precision="float32"))
    app = create_app(engine, ServerSettings(model_name="tiny", host="localhost"))
    end = time.monotonic() + seconds
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        while time.monotonic() < end:
            images = [
                "data:image/x;base64," + base64.b64encode(mutated(seeds[name], rng)).decode() for name in rng.choices(list(seeds), k=2)
            ]
            images += ["data:image/png;base64," + base64.b64encode(seeds["PNG RGB"]).decode()] * 3
            body = json.dumps(mutated_json(request_seed(rng, images), rng)).encode()
            if rng.random() < 0.2:
                body = mutated(body, rng)
            report.tried += 1
            response = client.post("/v1/chat/completions", content=body, headers={"Content-Type": "application/json"})
            if response.status_code >= 500 or "the answer failed" in response.text:
                report.note_wrong(f"status {response.status_code}", response.text[:300], body)
            elif response.status_code >= 400 and not response.json().get("error", {}).get("message"):
                report.note_wrong("no sentence", response.text[:300], body)
            else:
                report.outcomes[str(response.status_code)] += 1
    return report


PARTS: dict[str, Callable[[float, int], Report]] = {"images": fuzz_images, "api": fuzz_api}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="for each part")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", choices=tuple(PARTS), action="append")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    failed = False
    for name in args.part or PARTS:
        report = PARTS[name](args.seconds, args.seed)
        print(f"{name}: {report.tried} tried, {dict(report.outcomes.most_common())}")
        for kind, (detail, sample) in report.wrong.items():
            failed = True
            print(f"--- {kind}: {sample[:200]!r}\n{detail}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
