"""Configs: what is refused and with which sentence; what overrides do."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import yaml

from gpt4roi.commands.train import add_arguments, overrides
from gpt4roi.training.config import ConfigError, build_config, load_config, to_plain

CONFIGS = Path(__file__).parents[3] / "configs" / "train"
GOOD = {"output_dir": "out", "data": [{"reader": "jsonl"}], "parts": {"region_encoder": {"learning_rate": "1e-5"}}, "batch_size": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rte": 1e-4}, "unknown config key 'learning_rte'; did you mean 'learning_rate'?"),
        (
            {"parts": {"region_encoder": {"learnign_rate": 1}}},
            "unknown config key 'parts.region_encoder.learnign_rate'; did you mean 'learning_rate'?",
        ),
        ({"parts": {"regionencoder": {}}}, "unknown config key 'parts.regionencoder'; did you mean 'region_encoder'?"),
        ({"parts": {"language_model": {"lora": {"rank": 4}}}}, "unknown config key 'parts.language_model.lora.rank'"),
        ({"parts": {"region_encoder": {"lora": {}}}}, "adapters are for the language_model"),
        ({"parts": {"region_encoder": "frozen"}}, "no part trains"),
        ({"batch_size": "many"}, "batch_size is a number; got 'many'"),
        ({"batch_size": 1.5}, "batch_size is a whole number; got 1.5"),
        ({"batch_size": 0}, "batch_size is positive; got 0"),
        ({"group_by_length": "no"}, "group_by_length is true or false; got 'no'"),
        ({"tokens_per_batch": 100}, "either batch_size"),
        ({"precision": "fp8"}, "precision is one of auto, bf16, fp32; got 'fp8'"),
        ({"data": []}, "data is empty"),
        ({"output_dir": ""}, "output_dir is missing"),
        ({"cache_features": "c", "parts": {"vision_tower": {}}}, "cache_features needs a frozen vision_tower"),
        ({"cross_fitted": "folds", "parts": {"language_model": {}}}, "cross_fitted needs cache_features"),
        ({"cross_fitted": "folds", "cache_features": "c"}, "cross_fitted needs a frozen region_encoder and projector"),
    ],
)
def test_what_is_refused(change, message):
    with pytest.raises(ConfigError) as caught:
        build_config({**GOOD, **change})
    assert message in str(caught.value)


def test_numbers_that_yaml_reads_as_text():
    config = build_config({**GOOD, "learning_rate": "2e-5"})
    assert config.learning_rate == 2e-5
    part = config.part("region_encoder")
    assert part is not None and part.learning_rate == 1e-5
    assert config.part("language_model") is None and config.epochs == 1.0


def test_a_config_file_that_is_none(tmp_path):
    with pytest.raises(ConfigError, match="there is no such config file"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("a: [", encoding="utf-8")
    with pytest.raises(ConfigError, match="not YAML"):
        load_config(tmp_path / "broken.yaml")
    (tmp_path / "list.yaml").write_text("- a", encoding="utf-8")
    with pytest.raises(ConfigError, match="a mapping of keys"):
        load_config(tmp_path / "list.yaml")


def test_options_override_the_file(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(GOOD), encoding="utf-8")
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    line = [
        str(path),
        "--learning-rate",
        "1e-3",
        "--skip-broken",
        "--set",
        "parts.language_model.lora.r=8",
        "--set",
        "parts.language_model.learning_rate=1e-4",
    ]
    config = load_config(path, overrides(parser.parse_args(line)))
    assert config.learning_rate == 1e-3 and config.skip_broken
    language_model = config.part("language_model")
    assert language_model is not None and language_model.lora is not None and language_model.lora.r == 8
    with pytest.raises(ConfigError, match="KEY=VALUE"):
        overrides(parser.parse_args([str(path), "--set", "nothing"]))


@pytest.mark.parametrize("name", ["stage1.yaml", "stage2.yaml", "finetune_lora.yaml"])
def test_shipped_configs_are_whole_and_survive_a_round_trip(name):
    config = load_config(CONFIGS / name)
    assert build_config(to_plain(config)) == config
    if config.deepspeed:
        assert (CONFIGS.parents[1] / config.deepspeed).is_file()
