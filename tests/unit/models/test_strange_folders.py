"""Model folders from strangers: one sentence each, before anything is answered."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gpt4roi.conversation import ConversationError
from gpt4roi.errors import UserError
from gpt4roi.model_names import check_model_name
from gpt4roi.models.chat_template import check_template
from gpt4roi.models.loading import load_model
from tests.training.tiny import TEMPLATE, save_tiny_model

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "whole")


def tensors(change):
    def apply(folder: Path) -> None:
        values = load_file(folder / "model.safetensors")
        change(values)
        save_file(values, folder / "model.safetensors", metadata={"format": "pt"})

    return apply


def first(values: dict, part: str) -> str:
    return next(name for name in values if part in name and values[name].ndim == 2)


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"x": 1}, folder / "pytorch_model.bin")


def edited(name: str, **fields):
    return lambda folder: (folder / name).write_text(json.dumps({**json.loads((folder / name).read_text()), **fields}))


def template(text: str):
    def apply(folder: Path) -> None:
        (folder / "chat_template.jinja").write_text(text)

    return apply


def all_nan(values: dict) -> None:
    values.update({name: torch.full_like(value, float("nan")) for name, value in values.items() if value.is_floating_point()})


STRANGE = {
    "wrong shape": (tensors(lambda v: v.update({first(v, "q_proj"): torch.zeros(3, 3)})), "have the wrong shape"),
    "region tensor missing": (tensors(lambda v: v.pop(first(v, "region"))), "are missing"),
    "all NaN": (tensors(all_nan), "hold NaN"),
    "one infinity": (tensors(lambda v: v[first(v, "mlp")][0].fill_(float("inf"))), "hold NaN or infinity"),
    "pickle": (pickled, "only safetensors are taken"),
    "cut": (lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-100]), "damaged"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "holds no weights"),
    "broken config": (lambda f: (f / "config.json").write_text("{"), "could not be loaded"),
    "odd config": (edited("config.json", text_config={"model_type": "llama", "hidden_size": "x"}), "could not be loaded|wrong shape"),
    "broken tokenizer": (lambda f: (f / "tokenizer.json").write_text("[]"), "could not be loaded"),
    "huge images": (edited("processor_config.json", image_size_hw=[1_600_000, 16]), "each up to 8192"),
    "odd processor": (edited("processor_config.json", prompt_style="x"), "could not be loaded"),
    "a template of gigabytes": (template('{{ "x" * 3000000000 }}'), "multiplies"),
    "a template that is long": (template("x" * 300_000), "at most 200,000"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_strange_folders_are_refused_with_a_sentence(whole: Path, tmp_path: Path, name: str) -> None:
    change, sentence = STRANGE[name]
    shutil.copytree(whole, tmp_path / "m")
    change(tmp_path / "m")
    with pytest.raises(UserError, match=sentence):
        load_model(tmp_path / "m", device="cpu")


def test_a_whole_folder_loads(whole: Path) -> None:
    model, _ = load_model(whole, device="cpu")
    assert model is not None


@pytest.mark.parametrize(
    "text",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f() %}{% for a in range(9999) %}{{ f() }}{% endfor %}{% endmacro %}{{ f() }}",
    ],
)
def test_a_template_that_loops_ends(whole: Path, tmp_path: Path, text: str) -> None:
    shutil.copytree(whole, tmp_path / "m")
    template(text)(tmp_path / "m")
    _, processor = load_model(tmp_path / "m", device="cpu")
    begin = time.perf_counter()
    with pytest.raises((ConversationError, RecursionError)):
        processor.encode("hi", has_image=False)
    assert time.perf_counter() - begin < 5


@pytest.mark.parametrize(
    "text",
    [
        '{{ "%999999999d" % 5 }}',
        "{{ 'x'.center(999999999) }}",
        "{{ 2 ** 99 }}",
        "{% set n = 5 %}{{ 'x' * n }}",
        '{{ "{:>99999999}".format(1) }}',
    ],
)
def test_templates_that_make_much_of_little_are_refused(text: str) -> None:
    with pytest.raises(ConversationError, match="multiplies or holds"):
        check_template(text)


def test_usual_templates_pass() -> None:
    check_template(TEMPLATE)
    check_template(
        "{% generation %}{{ messages[0].content ~ '**bold** 100%' }}{% endgeneration %}{% for a in messages %}{% break %}{% endfor %}"
    )


def test_a_training_folder_names_its_model(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "finetune" / "model")
    with pytest.raises(UserError, match=r"did you mean '.*finetune/model'"):
        check_model_name(tmp_path / "finetune")


def test_a_wrong_model_is_told_before_torch_is_imported(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    code = (
        "import sys; from gpt4roi.cli import main\n"
        "code = main(['ask', sys.argv[1], 'What is this?', '--model', './no/such/model'])\n"
        "print(code, 'torch' in sys.modules)"
    )
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.png")], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["2", "False"] and "neither 'embedded' nor a folder" in done.stderr
    assert time.perf_counter() - begin < 10, "about one second on an idle machine"
