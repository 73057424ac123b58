"""Two real processes under torchrun answer as one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpt4roi.evaluation.prediction_files import SHARD_NAME
from tests.unit.evaluation.small_data import visual7w
from tests.unit.evaluation.test_runner import command

ROOT = Path(__file__).parents[3]


@pytest.mark.multiprocess
def test_two_processes_merge_to_what_one_gives(tmp_path: Path) -> None:
    request = visual7w(tmp_path)
    # An odd number of questions: one process has one more, and nothing is padded.
    data = json.loads(request.data.read_text(encoding="utf-8"))
    data["images"][0]["qa_pairs"].pop()
    request.data.write_text(json.dumps(data), encoding="utf-8")
    words = ["visual7w", "--data", str(request.data), "--predictor", "chance", "--no-report"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "gpt4roi.cli", "evaluate"]
    done = subprocess.run(
        [*launcher, *words, "--output", str(tmp_path / "two")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert command(*words, "--output", str(tmp_path / "one")) == 0
    shards = sorted(path for path in (tmp_path / "two").iterdir() if SHARD_NAME.fullmatch(path.name))
    assert [len(path.read_text(encoding="utf-8").splitlines()) for path in shards] == [20, 19]
    for name in ("predictions.jsonl", "metrics.json"):
        assert (tmp_path / "two" / name).read_text(encoding="utf-8") == (tmp_path / "one" / name).read_text(encoding="utf-8")
    report = json.loads((tmp_path / "two" / "metrics.json").read_text(encoding="utf-8"))
    assert report["coverage"] == 1 and report["metrics"]["accuracy"]["n"] == 39
