"""`gpt4roi train` as a user meets it: dry run, mistakes as sentences, Ctrl-C, export."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from gpt4roi.cli import main
from gpt4roi.training.trainer import RegionTrainer
from tests.training.tiny import losses, write_config

ROOT = Path(__file__).parents[2]


def test_dry_run_tells_everything_and_writes_nothing(workplace, capsys):
    path = write_config(workplace)
    before = sorted(workplace.rglob("*"))
    assert main(["train", str(path), "--dry-run", "--batch-size", "2"]) == 0
    shown = capsys.readouterr().out
    for expected in ("batch_size: 2", "jsonl: 12 samples", "region_encoder:", "language_model: ", "samples, none shortened", "memory: weights",
                     "time: ", "the whole run: about"):  # fmt: skip
        assert expected in shown
    assert sorted(workplace.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "batchsize=2"], "unknown config key 'batchsize'; did you mean 'batch_size'?"),
        (["--set", "data=[{reader: jsonl, annotations: none.jsonl}]"], "there is no such file"),
        (["--model", "/nowhere/at/all"], "neither 'embedded' nor a folder nor a hub id"),
        (["--set", "parts.language_model.lora.targets=[nothing]"], "parts.language_model.lora.targets"),
        (["--deepspeed", "zero9.json"], "deepspeed: there is no file 'zero9.json'"),
        (["--export", "nowhere"], "'nowhere' is not a checkpoint of gpt4roi train"),
    ],
)
def test_mistakes_are_sentences(workplace, capsys, options, message):
    assert main(["train", str(write_config(workplace)), *options]) == 2
    shown = capsys.readouterr().err
    assert message in shown and "Traceback" not in shown
    assert not list(workplace.glob("out/checkpoint-*"))


def test_a_finished_run_is_neither_mixed_with_another_nor_lost(workplace, capsys):
    path = write_config(workplace, max_steps=1)
    assert main(["train", str(path)]) == 0
    assert main(["train", str(path), "--learning-rate", "1"]) == 2
    assert "holds checkpoints of a run with another learning_rate" in capsys.readouterr().err
    assert main(["train", str(path), "--no-resume"]) == 2
    assert "already holds checkpoints" in capsys.readouterr().err
    assert main(["train", str(path), "--learning-rate", "1", "--overwrite"]) == 0


def test_a_finished_run_that_is_started_again_does_nothing(workplace, capsys):
    """It used to train one more step past the config, and export that."""
    path = write_config(workplace, max_steps=2, save_steps=1)
    assert main(["train", str(path)]) == 0
    before = {file: file.stat().st_mtime_ns for file in (workplace / "out").rglob("*") if file.is_file()}
    capsys.readouterr()
    assert main(["train", str(path)]) == 0
    assert "already finished" in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in (workplace / "out").rglob("*") if file.is_file()} == before
    assert main(["train", str(path), "--max-steps", "3"]) == 0
    assert "finished: " in capsys.readouterr().out


def test_a_dry_run_trains_nothing_whatever_the_objective(tmp_path, capsys):
    record = {"image": "a.jpg", "regions": [{"box_xyxy": [0, 0, 9, 9], "label": "dog"}, {"box_xyxy": [3, 3, 9, 9], "label": "cat"}]}
    for name in ("train", "dev"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(record) + "\n", encoding="utf-8")
    config = {"objective": "region_pretraining", "folds": 4, "batch_size": 1, "output_dir": str(tmp_path / "out")}
    config |= {"train": str(tmp_path / "train.jsonl"), "dev": str(tmp_path / "dev.jsonl"), "tower_checkpoints": ["a", "b"]}
    (tmp_path / "stage1.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    assert main(["train", str(tmp_path / "stage1.yaml"), "--dry-run"]) == 0
    assert "train: 1 images, 2 boxes" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    assert main(["train", str(tmp_path / "stage1.yaml"), "--limit", "3"]) == 2
    assert "--limit is not for region_pretraining" in capsys.readouterr().err


@pytest.mark.multiprocess
def test_ctrl_c_saves_and_the_same_command_goes_on(workplace):
    path = write_config(workplace, max_steps=100_000, save_steps=100_000)
    command = [sys.executable, "-m", "gpt4roi.cli", "train", str(path)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("step 2/"):
            break
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=120)
    assert process.returncode == 130 and "interrupted and saved; the same command goes on from step" in shown, shown
    saved = list((workplace / "out").glob("checkpoint-*"))
    assert len(saved) == 1
    step = int(saved[0].name.rpartition("-")[2])
    started = time.monotonic()
    assert main(["train", str(path), "--max-steps", str(step + 2)]) == 0
    assert max(losses(workplace / "out")) == step + 2 and time.monotonic() - started < 120
    assert json.loads((workplace / "out" / "model" / "training.json").read_text(encoding="utf-8"))["checkpoint"] == f"checkpoint-{step + 2}"


def test_the_best_saved_checkpoint_becomes_the_model(workplace, monkeypatch):
    # The evaluation losses are given, because a few steps of a tiny model do not fall and rise on demand.
    given = {1: 3.0, 2: 1.0, 3: 2.0}
    plain = RegionTrainer.evaluate

    def evaluate(self, *args, **kwargs):
        return {**plain(self, *args, **kwargs), "eval_loss": given[self.state.global_step]}

    monkeypatch.setattr(RegionTrainer, "evaluate", evaluate)
    eval_data = [{"reader": "jsonl", "annotations": "train.jsonl"}]
    path = write_config(workplace, max_steps=3, eval_steps=1, save_steps=1, keep_checkpoints=1, eval_data=eval_data)
    assert main(["train", str(path)]) == 0
    assert json.loads((workplace / "out" / "model" / "training.json").read_text())["checkpoint"] == "checkpoint-2"
    assert sorted(folder.name for folder in (workplace / "out").glob("checkpoint-*")) == ["checkpoint-2", "checkpoint-3"]
