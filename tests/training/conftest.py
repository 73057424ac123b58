from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.tiny import save_tiny_model, write_data


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with `start` (a model) and `data`."""
    save_tiny_model(tmp_path / "start")
    write_data(tmp_path / "data")
    return tmp_path
