"""Imports point down, and the package is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Layer -> what of ours it may import. Everything may import itself.
LEAVES = {
    "errors",
    "hosts",
    "inflection",
    "meaning",
    "boxes",
    "masks",
    "colors",
    "images",
    "image_files",
    "model_names",
    "regions",
    "conversation",
}
ALLOWED = {
    "gpt4roi/errors.py": set(),
    "gpt4roi/inflection.py": set(),
    "gpt4roi/boxes.py": {"errors"},
    "gpt4roi/masks.py": {"errors", "boxes"},
    "gpt4roi/colors.py": set(),
    "gpt4roi/measured.py": LEAVES | {"models", "engine"},
    "gpt4roi/regions.py": {"errors", "boxes", "masks"},
    "gpt4roi/meaning.py": {"conversation"},
    "gpt4roi/image_files.py": {"errors"},
    "gpt4roi/model_names.py": {"errors"},
    "gpt4roi/images.py": {"errors", "image_files"},
    "gpt4roi/conversation.py": {"errors"},
    "gpt4roi/models": LEAVES,
    "gpt4roi/data": LEAVES,
    "gpt4roi/engine": LEAVES | {"models"},
    "gpt4roi/chat.py": LEAVES | {"models", "engine", "measured", "eyes", "answers"},
    "gpt4roi/eyes": LEAVES | {"models", "engine"},
    "gpt4roi/answers": LEAVES | {"eyes"},
    "gpt4roi/plans": LEAVES | {"chat", "engine", "eyes", "answers"},
    "gpt4roi/training": LEAVES | {"models", "chat", "data", "engine"},
    "gpt4roi/evaluation": LEAVES | {"models", "chat", "data", "engine"},
    "gpt4roi/serving": LEAVES | {"models", "chat", "data", "engine"},
    "web_demo": LEAVES | {"chat", "eyes", "answers"},
}


def imported(file: Path) -> set[str]:
    """Second part of every `gpt4roi.X` that a file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} if node.module == "gpt4roi" else {node.module}
    lower = {"RegionChat": "chat", "GPT4RoIConfig": "models", "GPT4RoIProcessor": "models", "GPT4RoIForConditionalGeneration": "models"}
    parts = {name.split(".")[1] for name in names if name.startswith("gpt4roi.")}
    return {lower.get(part, part) for part in parts} - {"__version__"}


@pytest.mark.parametrize("layer", ALLOWED)
def test_imports_point_down(layer: str) -> None:
    place = ROOT / layer
    files = [place] if place.suffix else sorted(place.rglob("*.py"))
    # A file or folder may import itself; a folder of the same name as a leaf is not the leaf.
    wrong = {
        str(file.relative_to(ROOT)): upward
        for file in files
        if file.exists() and (upward := imported(file) - ALLOWED[layer] - {place.stem})
    }
    assert not wrong


def test_importing_the_package_loads_no_torch() -> None:
    code = (
        "import sys, gpt4roi, gpt4roi.cli, gpt4roi.boxes, gpt4roi.conversation; "
        "print([name for name in ('torch', 'transformers', 'gradio', 'timm') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"


def test_every_command_describes_itself_without_torch() -> None:
    code = (
        "import sys; from gpt4roi.cli import COMMANDS, build_parser\n"
        "for name in ('convert', 'init'): build_parser(name).format_help()\n"
        "print('torch' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "False"
