"""Batches: every sample once, the same steps however they are split, little padding, and a rate that follows the clock."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from gpt4roi.conversation import Turn
from gpt4roi.data.mixture import Mixture
from gpt4roi.data.sample import Sample
from gpt4roi.training.batches import BatchPlan, EpochStream, RankBatches, epoch_batches
from gpt4roi.training.clock import RunClock, rate_factor
from gpt4roi.training.config import build_config
from gpt4roi.training.trainer import eval_batches

LENGTHS = np.random.default_rng(0).integers(10, 200, 101).tolist()


@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize(("batch_size", "tokens"), [(4, None), (None, 600)])
def test_every_sample_comes_and_orders_differ_by_epoch(batch_size, tokens, grouped):
    plan = BatchPlan(batch_size, tokens, 3, grouped, seed=1)
    batches = epoch_batches(LENGTHS, plan, 0)
    assert len(batches) % 3 == 0 and {i for batch in batches for i in batch} == set(range(101))
    assert epoch_batches(LENGTHS, plan, 0) == batches != epoch_batches(LENGTHS, plan, 1)
    if tokens:
        assert all(len(batch) == 1 or max(LENGTHS[i] for i in batch) * len(batch) <= tokens for batch in batches)


def test_a_step_sees_the_same_samples_however_it_is_split():
    whole = epoch_batches(LENGTHS, BatchPlan(8, None, 1, True, 0), 0)
    split = epoch_batches(LENGTHS, BatchPlan(1, None, 8, True, 0), 0)
    assert [[place for batch in split[i : i + 8] for place in batch] for i in range(0, len(split), 8)] == whole


def test_grouping_saves_padding():
    def padding(grouped: bool) -> float:
        batches = epoch_batches(LENGTHS * 20, BatchPlan(8, None, 1, grouped, 0), 0)
        lengths = [[(LENGTHS * 20)[i] for i in batch] for batch in batches]
        return 1 - sum(map(sum, lengths)) / sum(max(row) * len(row) for row in lengths)

    assert padding(True) < 0.05 < 0.3 < padding(False)


def conversation(index: int) -> Sample:
    return Sample(None, (), (Turn("user", "x" * (index * 8 + 4)), Turn("assistant", "y")), str(index))


def test_ranks_share_the_stream_and_epochs_follow_each_other():
    mixture = Mixture([[conversation(i) for i in range(10)]])
    ranks = [RankBatches(mixture, BatchPlan(1, None, 2, True, 0), 0, 100, rank, 2) for rank in range(2)]
    streams = [[index for batch in islice(iter(rank), 10) for index in batch] for rank in ranks]
    assert sorted(streams[0][:5] + streams[1][:5]) == list(range(10))
    assert sorted(streams[0][5:] + streams[1][5:]) == list(range(10, 20))
    assert EpochStream(mixture)[13].sample_id == "3"
    assert ranks[0].steps(1.0) == 5 and ranks[0].steps(2.5) == 13 and ranks[0].steps(0.01) == 1


def test_evaluation_batches_count_every_sample_once_and_ranks_are_even():
    for world_size in (1, 2, 3):
        ranks = [eval_batches([5, 9, 7, 3, 8], None, 2, rank, world_size) for rank in range(world_size)]
        assert len({len(rank) for rank in ranks}) == 1
        assert sorted(i for rank in ranks for batch, counts in rank if counts for i in batch) == [0, 1, 2, 3, 4]
    assert all(max([5, 9, 7, 3, 8][i] for i in b) * len(b) <= 16 for b, _ in eval_batches([5, 9, 7, 3, 8], 16, None, 0, 1))


def config(**changes):
    return build_config({"output_dir": "o", "data": [{"reader": "jsonl"}], "parts": {"projector": {}}, "batch_size": 1, **changes})


def test_the_rate_by_steps():
    clock = RunClock(100, None)
    cosine = config(warmup=0.1, final_lr_ratio=0.2)
    factors = [rate_factor(cosine, clock, step) for step in range(101)]
    assert factors[0] == pytest.approx(0.1) and max(factors) == pytest.approx(1.0, abs=1e-3) and factors[100] == pytest.approx(0.2)
    assert rate_factor(config(warmup=0.1, schedule="linear"), clock, 55) == pytest.approx(0.5)
    assert rate_factor(config(warmup=20), clock, 9) == pytest.approx(0.5)
    assert rate_factor(config(warmup=0, schedule="constant"), clock, 99) == 1.0


def test_the_rate_by_time_reaches_its_end_whatever_the_steps():
    clock = RunClock(1_000_000, max_minutes=10)
    linear = config(warmup=0, schedule="linear")
    clock.agree(300)
    assert clock.fraction(17) == pytest.approx(0.5) and rate_factor(linear, clock, 17) == pytest.approx(0.5)
    clock.agree(600)
    assert clock.fraction(18) == 1 and rate_factor(linear, clock, 18) == 0
