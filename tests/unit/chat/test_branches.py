"""Branches of one state compute what each computes as a whole sequence, in every decoder."""

from __future__ import annotations

import pytest
import torch

from gpt4roi.engine.branches import chunks, pack
from gpt4roi.engine.cuda_decoder import CudaDecoder
from gpt4roi.engine.decoder import TransformersDecoder, takes_own_mask
from gpt4roi.engine.onnx_decoder import OnnxDecoder

DECODERS = {
    "transformers": TransformersDecoder,
    "static": CudaDecoder,
    "float32": lambda model: OnnxDecoder(model, "float32"),
    "int8": lambda model: OnnxDecoder(model, "int8"),
}


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("counts", [[1], [5], [1, 1, 1], [3, 1, 6, 2]])
def test_branches_are_what_each_is_as_a_whole_prompt(tiny, name, counts):
    decoder = DECODERS[name](tiny[0].language_model)
    generator = torch.Generator().manual_seed(0)
    prefix = torch.randn(20, 32, generator=generator) * 0.5
    branches = [torch.randn(count, 32, generator=generator) * 0.5 for count in counts]
    with torch.inference_mode():
        state = decoder.new_state(20)
        after_prefix = decoder.prefill(prefix, state)
        # Twice: the first time leaves nothing behind that the second would see.
        for _ in range(2):
            logits = decoder.branch(branches, state)
            assert state.length == 20 and [len(rows) for rows in logits] == counts
            for branch, rows in zip(branches, logits, strict=True):
                for count, row in enumerate(rows, 1):
                    alone = decoder.prefill(torch.cat([prefix, branch[:count]]), decoder.new_state(30))
                    # Rounding of activations to int8 goes by rows; the sums around it do not.
                    torch.testing.assert_close(row, alone, atol=2e-2 if name == "int8" else 2e-5, rtol=1e-4)
        step = decoder.step([7], [state])[0]
        fresh = decoder.new_state(21)
        torch.testing.assert_close(decoder.prefill(prefix, fresh), after_prefix)
        torch.testing.assert_close(step, decoder.step([7], [fresh])[0], atol=1e-4, rtol=1e-4)


def test_a_model_that_wants_its_own_mask_runs_each_branch_alone(tiny, monkeypatch):
    decoder = TransformersDecoder(tiny[0].language_model)
    generator = torch.Generator().manual_seed(0)
    prefix, *branches = (torch.randn(count, 32, generator=generator) for count in (9, 2, 4))
    with torch.inference_mode():
        state = decoder.new_state(9)
        decoder.prefill(prefix, state)
        together = decoder.branch(branches, state)
        assert takes_own_mask(decoder.language_model)
        monkeypatch.setattr(decoder.language_model.config, "layer_types", ["full_attention", "sliding_attention"], raising=False)
        assert not takes_own_mask(decoder.language_model)
        for one, other in zip(together, decoder.branch(branches, state), strict=True):
            torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


def test_packed_tokens_see_the_state_and_their_own_branch():
    positions, sees = pack([2, 1], 3)
    assert positions.tolist() == [3, 4, 3]
    assert sees.int().tolist() == [[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 1]]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [([], []), ([9], [[9]]), ([2, 2, 2], [[2, 2], [2]]), ([1, 9, 1], [[1], [9], [1]])],
)
def test_chunks_hold_so_many_tokens_and_at_least_one_branch(counts, expected):
    assert [[len(branch) for branch in chunk] for chunk in chunks([[0] * count for count in counts], 4)] == expected
