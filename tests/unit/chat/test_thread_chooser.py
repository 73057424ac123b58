from __future__ import annotations

import time

import torch

from gpt4roi.engine.threads import ThreadChooser


def run_steps(chooser: ThreadChooser, slow_count: int, steps: int = 200) -> list[int]:
    counts = []

    def work() -> None:
        counts.append(torch.get_num_threads())
        time.sleep(0.004 if counts[-1] == slow_count else 0.0005)

    for _ in range(steps):
        chooser.run(work)
    return counts


def test_the_faster_count_is_found_and_left_again():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        chooser = ThreadChooser(2)
        assert run_steps(chooser, slow_count=1)[50:].count(2) > 140
        assert run_steps(chooser, slow_count=2, steps=400)[-50:].count(1) >= 49
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_single_core_is_left_alone():
    before = torch.get_num_threads()
    chooser = ThreadChooser(1)
    assert chooser.run(torch.get_num_threads) == before
