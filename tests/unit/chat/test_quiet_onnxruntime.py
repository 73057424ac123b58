"""The engine sends nothing to anybody: ONNX Runtime's telemetry is off before it starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
from gpt4roi.engine.onnx_decoder import OnnxDecoder
from tests.unit.chat.tiny import tiny_model
OnnxDecoder(tiny_model()[0].language_model, "int8")
"""


def test_onnx_runtime_starts_no_telemetry(tmp_path: Path) -> None:
    """Where it runs, its telemetry keeps a session file in the temporary folder and an identifier at home."""
    temporary, home = tmp_path / "temporary", tmp_path / "home"
    temporary.mkdir()
    home.mkdir()
    # What turns it off by itself, in a CI or a test of its own, must not help here.
    kept = {
        key: value
        for key, value in os.environ.items()
        if key not in ("CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "GITHUB_ACTIONS")
    }
    settings = {**kept, "TMPDIR": str(temporary), "HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", PROGRAM], env=settings, cwd=Path(__file__).parents[3], check=True)
    assert [path for path in temporary.rglob("*") if path.name == ".ses"] == []
    assert [path for path in home.rglob("*") if path.is_file()] == []
