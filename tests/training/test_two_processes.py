"""Two real processes on the CPU (gloo): DDP, ZeRO-2 and ZeRO-3 follow one process's loss curve, survive a kill, and export.

One micro-batch is one sample, and some samples have no region or no image, so ranks often differ in what they run.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from gpt4roi.models import GPT4RoIForConditionalGeneration
from gpt4roi.training.config import load_config
from gpt4roi.training.export import export_checkpoint
from gpt4roi.training.run import train
from tests.training.tiny import losses, write_config

ROOT = Path(__file__).parents[2]
STEPS, KILLED_AFTER = 6, 3
TIMEOUT_S = 600  # half a minute on two idle cores

# On CPUs DeepSpeed would first compile a shared-memory collective with the C++ compiler, for minutes; gloo does the same work. A test that
# kills its processes may also leave that compilation locked for everybody else.
# The last line leaves without the interpreter's teardown: DeepSpeed joins none of its threads, and once in many runs C++ aborts over one of them
# when everything is saved.
RANK_PROGRAM = """
import os, sys
from deepspeed import ops
ops.__compatible_ops__["deepspeed_shm_comm"] = False
from gpt4roi.cli import main
code = main(["train", sys.argv[1]])
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)
"""

pytestmark = [pytest.mark.multiprocess]


def start_ranks(config: Path, *, with_deepspeed: bool, world_size: int = 2) -> list[subprocess.Popen[str]]:
    """What torchrun does, without its own seconds of start-up."""
    program = ["-c", RANK_PROGRAM] if with_deepspeed else ["-m", "gpt4roi.cli", "train"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ranks = []
    for rank in range(world_size):
        environment = {
            **os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size), "LOCAL_WORLD_SIZE": str(world_size),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "",
            "DS_ACCELERATOR": "cpu",
        }  # fmt: skip
        command = [sys.executable, *program, str(config)]
        ranks.append(subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    return ranks


def finish(ranks: list[subprocess.Popen[str]]) -> None:
    try:
        outputs = [rank.communicate(timeout=TIMEOUT_S)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    for rank, output in zip(ranks, outputs, strict=True):
        assert rank.returncode == 0, output[-4000:]


def deepspeed_config(folder: Path, name: str) -> str:
    """Our own file; only the overlap and pinned memory that need a GPU are off."""
    settings = json.loads((ROOT / "configs" / "deepspeed" / f"{name}.json").read_text(encoding="utf-8"))
    zero = settings["zero_optimization"]
    zero["overlap_comm"] = False
    for part in ("offload_optimizer", "offload_param"):
        if part in zero:
            zero[part]["pin_memory"] = False
    # Everything of a tiny model would stay whole on every rank.
    zero |= {"stage3_param_persistence_threshold": 0} if zero["stage"] == 3 else {}
    path = folder / f"{name}.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    return str(path)


@pytest.fixture
def one_process(workplace: Path) -> dict[int, float]:
    path = write_config(
        workplace, "one.yaml", output_dir=str(workplace / "one"), batch_size=1, gradient_accumulation_steps=4, max_steps=STEPS
    )
    assert train(load_config(path)) == 0
    return losses(workplace / "one")


@pytest.mark.parametrize("kind", ["ddp", "zero2", "zero3"])
def test_two_processes_follow_one_and_go_on_after_a_kill(workplace, one_process, kind):
    with_deepspeed = kind != "ddp"
    if with_deepspeed:
        pytest.importorskip("deepspeed", reason="the extra `deepspeed` is not installed")
    stage = deepspeed_config(workplace, kind) if with_deepspeed else None
    out = workplace / kind
    changes = {"output_dir": str(out), "batch_size": 1, "gradient_accumulation_steps": 2, "deepspeed": stage}
    path = write_config(workplace, "two.yaml", max_steps=STEPS, save_steps=KILLED_AFTER, **changes)
    ranks = start_ranks(path, with_deepspeed=with_deepspeed)
    deadline = time.monotonic() + TIMEOUT_S
    while not (out / f"checkpoint-{KILLED_AFTER}").exists() and all(rank.poll() is None for rank in ranks) and time.monotonic() < deadline:
        time.sleep(0.02)
    for rank in ranks:
        rank.kill()
    outputs = [rank.communicate()[0] for rank in ranks]
    assert (out / f"checkpoint-{KILLED_AFTER}").exists(), outputs[0][-4000:]
    # It may have come further before the kill; what was saved at the third step is what must be enough.
    for later in [*out.glob("checkpoint-[!3]*"), *out.glob("partial-*"), out / "model"]:
        shutil.rmtree(later, ignore_errors=True)
    finish(start_ranks(path, with_deepspeed=with_deepspeed))
    curve = losses(out)
    assert curve.keys() == one_process.keys()
    assert list(curve.values()) == pytest.approx(list(one_process.values()), rel=1e-3)
    # Learning, not standing still: otherwise any curve would be equal.
    assert curve[STEPS] < curve[1] - 0.05
    folder = export_checkpoint(out / f"checkpoint-{STEPS}", workplace / "exported")
    exported = GPT4RoIForConditionalGeneration.from_pretrained(folder).state_dict()
    expected = GPT4RoIForConditionalGeneration.from_pretrained(workplace / "one" / "model").state_dict()
    assert exported.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(exported[name], tensor, rtol=0, atol=2e-3, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("name", ["zero2_offload", "zero3_offload"])
def test_two_processes_with_offload_follow_one(workplace, one_process, name):
    pytest.importorskip("deepspeed", reason="the extra `deepspeed` is not installed")
    if shutil.which("c++") is None:
        pytest.skip("DeepSpeed compiles its optimiser on the CPU with a C++ compiler, and there is none")
    path = write_config(
        workplace, "two.yaml", output_dir=str(workplace / name), batch_size=1, gradient_accumulation_steps=2, max_steps=STEPS,
        deepspeed=deepspeed_config(workplace, name),
    )  # fmt: skip
    finish(start_ranks(path, with_deepspeed=True))
    assert list(losses(workplace / name).values()) == pytest.approx(list(one_process.values()), rel=1e-3)
