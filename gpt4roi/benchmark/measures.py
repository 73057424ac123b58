"""What is measured. Every function gives JSON-ready figures; ways of doing the same are measured in turn, in one run."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from gpt4roi.benchmark import llama_cpp
from gpt4roi.benchmark.timing import alternate, seconds, spread
from gpt4roi.chat import RegionChat
from gpt4roi.conversation import Turn
from gpt4roi.engine import Engine, EngineSettings

FIRST, FOLLOW_UP = "What is <region1>?", "Is it left of <region2>?"
BOXES = ((40, 40, 300, 300), (310, 100, 600, 440))


def random_image(seed: int, size_wh: tuple[int, int] = (640, 480)) -> Image.Image:
    """Noise: what an image shows does not change what it costs."""
    width, height = size_wh
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def uncached_engine(chat: RegionChat) -> Engine:
    """The same model and decoder, keeping nothing."""
    engine = Engine(chat.model, chat.processor, EngineSettings("transformers", image_bytes=0, region_bytes=0, prefix_bytes=0))
    engine.decoder = chat.engine.decoder
    return engine


def question(chat: RegionChat, repeats: int) -> dict[str, Any]:
    """Seconds to the first token of the first and of a follow-up question, three ways."""
    without = uncached_engine(chat)
    # Any: the stubs of `generate` do not know that a model may bring it along as a mixin.
    model: Any = chat.model
    processor = chat.processor
    values: dict[str, list[float]] = {}

    def record(name: str, value: float) -> None:
        values.setdefault(name, []).append(value)

    for repeat in range(repeats + 1):
        image = random_image(repeat)
        measured: dict[str, float] = {}
        answer = ""
        for name, engine in (("ours", chat.engine), ("without caches", without)):
            engine.clear_caches()
            session = RegionChat(model, processor, engine)
            session.set_image(image)
            for box in BOXES:
                session.add_region(box)
            first = session.ask(FIRST, 8)
            answer = first.text
            measured[f"{name}, first"] = first.timings.first_token_s
            measured[f"{name}, follow-up"] = session.ask(FOLLOW_UP, 8).timings.first_token_s
        # As the original works: image, boxes and the whole conversation through the model, every turn.
        turns = [Turn("user", FIRST), Turn("assistant", answer), Turn("user", FOLLOW_UP)]
        for name, conversation in (("first", turns[:1]), ("follow-up", turns)):

            def everything(conversation: list[Turn] = conversation, image: Image.Image = image) -> None:
                batch = processor(image, conversation, list(BOXES), add_generation_prompt=True)
                model.generate(**batch.to(model.device), max_new_tokens=1, do_sample=False)

            measured[f"everything again, {name}"] = seconds(everything)
        if repeat:
            for name, value in measured.items():
                record(name, value)
    result: dict[str, Any] = {"first_token_s": {name: spread(taken) for name, taken in values.items()}}
    median = {name: figures["median"] for name, figures in result["first_token_s"].items()}
    result["follow_up_over_first"] = round(median["ours, follow-up"] / median["ours, first"], 4)
    result["everything_again_over_ours"] = round(median["everything again, follow-up"] / median["ours, follow-up"], 2)
    return result


def decode(chat: RegionChat, repeats: int, gguf: str | None = None, tokens: int = 48) -> dict[str, Any]:
    """Tokens a second after the prompt: ours, plain generate, llama.cpp where a binding of it and a GGUF are there."""
    language_model: Any = chat.model.language_model
    ids = torch.tensor([chat.processor.encode("Tell me a long story.", has_image=False, add_generation_prompt=True).input_ids])
    ids = ids.to(chat.model.device)
    decoder = chat.engine.decoder

    @torch.inference_mode()
    def ours() -> float:
        state = decoder.new_state(ids.shape[1] + tokens)
        logits = decoder.prefill(chat.model.embed(ids)[0], state)
        start = time.perf_counter()
        for _ in range(tokens):
            token = int(logits.argmax())
            logits = decoder.step([token], [state])[0]
        return tokens / (time.perf_counter() - start)

    def plain() -> float:
        settings = {"do_sample": False, "pad_token_id": 0}
        one = seconds(lambda: language_model.generate(ids, max_new_tokens=1, **settings))
        many = seconds(lambda: language_model.generate(ids, max_new_tokens=tokens + 1, min_new_tokens=tokens + 1, **settings))
        return tokens / (many - one)

    works: dict[str, Callable[[], float]] = {f"ours ({decoder.name})": ours, "plain generate": plain}
    llama = llama_cpp.tokens_per_second(gguf, tokens)
    if llama is not None:
        works[llama[0]] = llama[1]
    figures = alternate(works, repeats)
    names = list(works)
    result: dict[str, Any] = {"tokens_per_s": figures}
    for name in names[1:]:
        result[f"ours over {name}"] = round(figures[names[0]]["median"] / figures[name]["median"], 2)
    return result


def prefill(chat: RegionChat, repeats: int, tokens: int = 300) -> dict[str, Any]:
    """Prompt tokens a second: ours and a plain forward."""
    ids = torch.randint(0, 1000, (1, tokens), generator=torch.Generator().manual_seed(0)).to(chat.model.device)
    decoder = chat.engine.decoder

    @torch.inference_mode()
    def ours() -> float:
        embeddings = chat.model.embed(ids)[0]
        return tokens / seconds(lambda: decoder.prefill(embeddings, decoder.new_state(tokens)))

    @torch.inference_mode()
    def plain() -> float:
        return tokens / seconds(lambda: chat.model.language_model(input_ids=ids, logits_to_keep=1))

    figures = alternate({"ours": ours, "plain forward": plain}, repeats)
    return {"tokens_per_s": figures, "ours_over_plain": round(figures["ours"]["median"] / figures["plain forward"]["median"], 2)}


def regions(chat: RegionChat, repeats: int) -> dict[str, Any]:
    """Seconds for 1, 10 and 100 boxes on a kept image, and for one box with the image computed again."""
    model = chat.model
    pixels = chat.processor.image_processor(random_image(0))[None].to(model.device)
    corners = np.random.default_rng(0).uniform(0, 0.5, (100, 2))
    boxes = torch.from_numpy(np.hstack([corners, corners + 0.4])).float()

    @torch.inference_mode()
    def pool(count: int) -> float:
        return seconds(lambda: model.get_region_features(features, [boxes[:count]]))

    @torch.inference_mode()
    def again() -> float:
        return seconds(lambda: model.get_region_features(pixels, [boxes[:1]]))

    with torch.inference_mode():
        features = model.get_image_features(pixels)
    works: dict[str, Callable[[], float]] = {f"{count} boxes": (lambda count=count: pool(count)) for count in (1, 10, 100)}  # type: ignore[misc]
    return {"seconds": alternate({**works, "1 box and its picture again": again}, repeats)}


def startup(load_s: float, repeats: int) -> dict[str, Any]:
    """Seconds to import the package, and to load the model."""
    command = [sys.executable, "-c", "import gpt4roi"]
    empty = [sys.executable, "-c", "pass"]
    taken = alternate(
        {
            "import gpt4roi": lambda: seconds(lambda: subprocess.run(command, check=True)),
            "python alone": lambda: seconds(lambda: subprocess.run(empty, check=True)),
        },
        repeats,
    )
    return {"seconds": taken, "load_model_s": round(load_s, 3)}


def resident_bytes() -> int:
    """Memory of this process that is really in use; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def memory(chat: RegionChat, questions: int = 20) -> dict[str, Any]:
    """Resident memory with the model loaded, and after questions about as many images."""
    before = resident_bytes()
    session = chat.new_session()
    for index in range(questions):
        session.set_image(random_image(index))
        session.add_region(BOXES[0])
        session.ask(FIRST, 4)
    engine = chat.engine
    return {
        "loaded_mb": before >> 20,
        "after_questions_mb": resident_bytes() >> 20,
        "questions": questions,
        "cache_mb": {
            "pictures": round(engine.features.images.used_bytes / 2**20, 1),
            "regions": round(engine.features.regions.used_bytes / 2**20, 3),
            "prefixes": round(engine.prefixes.used_bytes / 2**20, 1),
        },
    }
