"""Imports point down, and the package is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Layer -> what of ours it may import. Everything may import itself.
ALLOWED = {
    "gpt4roi/boxes.py": set(),
    "gpt4roi/conversation.py": set(),
    "gpt4roi/pictures.py": set(),
    "gpt4roi/models": {"boxes", "conversation", "pictures"},
    "gpt4roi/data": {"boxes", "conversation", "pictures"},
    "gpt4roi/chat.py": {"boxes", "conversation", "pictures", "models", "engine"},
    "gpt4roi/engine": {"boxes", "conversation", "pictures", "models"},
    "gpt4roi/training": {"boxes", "conversation", "pictures", "models", "chat", "data", "engine"},
    "gpt4roi/evaluation": {"boxes", "conversation", "pictures", "models", "chat", "data", "engine"},
    # its command shares --model, --device and --dtype with `ask` and `chat`
    "gpt4roi/serving": {"boxes", "conversation", "pictures", "models", "chat", "data", "engine", "chat_cli"},
    "web_demo": {"boxes", "conversation", "pictures", "chat"},
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
    own = place.stem
    wrong = {str(file.relative_to(ROOT)): upward for file in files if file.exists() and (upward := imported(file) - ALLOWED[layer] - {own})}
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
