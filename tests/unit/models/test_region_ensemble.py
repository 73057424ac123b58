"""Members and memory: off as released, unchanged by a round trip; the mean of the members, then what it resembles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gpt4roi.models import GPT4RoIForConditionalGeneration
from gpt4roi.models.configuration_gpt4roi import GPT4RoIRegionConfig
from gpt4roi.models.region_encoder import RegionEncoder
from gpt4roi.models.region_ensemble import Memory, RegionEnsemble, region_encoder
from tests.unit.chat.tiny import tiny_model

# The last box of the first picture is partly outside of it.
BOXES = [
    torch.tensor([[0.1, 0.1, 0.7, 0.9], [0.3, 0.2, 0.5, 0.6], [-0.6, 0.4, 0.3, 1.9]]),
    torch.zeros(0, 4),
    torch.tensor([[0.0, 0.5, 1.0, 1.0]]),
]


def encoder(**options: Any) -> RegionEncoder | RegionEnsemble:
    settings = {"channels": 8, "level_scales": (2, 1), "fuse_rounds": 0, "norm_groups": 2, "roi_size": 2, "hidden_size": 16}
    config = GPT4RoIRegionConfig(**(settings | options))
    return region_encoder(config, [4, 6], 12).eval()


def committee(**options: Any) -> RegionEnsemble:
    made = encoder(**options)
    assert isinstance(made, RegionEnsemble)
    return made


def levels() -> list[torch.Tensor]:
    return [torch.randn(3, 4, 6, 6), torch.randn(3, 6, 3, 3)]


def test_the_released_architecture_is_one_encoder_without_a_memory() -> None:
    assert isinstance(encoder(), RegionEncoder)


def test_it_answers_with_the_mean_of_its_members_box_by_box() -> None:
    asked = committee(members=3)
    seen = levels()
    alone = torch.stack([member(seen, BOXES) for member in asked.members])
    assert alone.std(0).min() > 0  # the members differ, or the test says nothing
    torch.testing.assert_close(asked(seen, BOXES), alone.mean(0))
    torch.testing.assert_close(asked.of_one()(seen, BOXES), alone[0])


def test_members_with_fuse_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"need region_config\.fuse_rounds 0; got 1"):
        encoder(members=2, fuse_rounds=1)


def test_a_new_memory_changes_nothing_until_it_is_filled() -> None:
    asked = committee(members=2, memory_size=5)
    without = committee(members=2)
    without.load_state_dict(asked.state_dict(), strict=False)
    seen = levels()
    before = without(seen, BOXES)
    torch.testing.assert_close(asked(seen, BOXES), before)
    assert isinstance(asked.memory, Memory)
    torch.nn.init.normal_(asked.memory.values)
    assert (asked(seen, BOXES) - before).abs().max() > 0.1


def test_the_memory_adds_the_value_of_the_nearest_key_however_long_the_embedding_is() -> None:
    memory = Memory(2, 3)
    with torch.no_grad():
        memory.centre.copy_(torch.tensor([1.0, 1.0, 1.0]))
        memory.keys.copy_(50 * torch.eye(3)[:2])
        memory.values.copy_(torch.tensor([[0.0, 0.0, 5.0], [0.0, 7.0, 0.0]]))
    for length in (0.1, 30.0):
        near_first = memory.centre + length * torch.tensor([[1.0, 0.5, 0.0]])
        torch.testing.assert_close(memory(near_first), near_first + torch.tensor([[0.0, 0.0, 5.0]]))
    assert memory(near_first.to(torch.bfloat16)).dtype == torch.bfloat16


def test_a_committee_survives_saving_and_loading(tmp_path: Path) -> None:
    config = tiny_model()[0].config
    config.region_config.members, config.region_config.memory_size, config.region_config.fuse_rounds = 2, 3, 0
    model = GPT4RoIForConditionalGeneration(config)
    for parameter in model.region_encoder.parameters():
        torch.nn.init.normal_(parameter)
    model.save_pretrained(tmp_path)
    loaded = GPT4RoIForConditionalGeneration.from_pretrained(tmp_path).region_encoder.state_dict()
    for name, value in model.region_encoder.state_dict().items():
        torch.testing.assert_close(loaded[name], value, rtol=0, atol=0)
