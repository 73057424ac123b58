"""The training benchmark on a tiny model: both sides train on the same samples and the record is whole."""

from __future__ import annotations

from gpt4roi.benchmark.training import run


def test_both_ways_are_measured(workplace):
    result = run(model=str(workplace / "start"), num_samples=6, batch_size=3, tokens_per_batch=2000, repeats=1, device="cpu")
    assert result["speedup"] > 0 and result["num_samples"] == 6 and result["cache_fill_seconds"] > 0
    # Lengths are estimated at four characters a token and this tokenizer has one a byte, so which side pads less is not tested here.
    assert all(0 <= result[side]["padding_share"] < 1 for side in ("plain", "ours"))
    ratio = result["ours"]["tokens_per_second"] / result["plain"]["tokens_per_second"]
    assert abs(ratio - result["speedup"]) < 0.05 * result["speedup"] + 0.02
