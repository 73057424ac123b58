"""Each stage changes exactly its parameters, and the model can learn at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from gpt4roi.models import GPT4RoIForConditionalGeneration, GPT4RoIProcessor
from gpt4roi.models.embedded import load_trained
from gpt4roi.training.config import ConfigError, build_config
from gpt4roi.training.export import export_checkpoint, export_parts
from gpt4roi.training.parts import part_of
from gpt4roi.training.run import train
from tests.training.tiny import LORA_STAGE, base_config, losses

CONFIGS = Path(__file__).parents[2] / "configs" / "train"


def stage_of(name: str) -> dict:
    return yaml.safe_load((CONFIGS / name).read_text(encoding="utf-8"))["parts"]


@pytest.mark.parametrize(
    ("parts", "changed"),
    [
        (stage_of("stage1.yaml"), {"region_encoder"}),
        (stage_of("stage2.yaml"), {"region_encoder", "projector", "language_model"}),
        (stage_of("finetune_lora.yaml"), {"region_encoder", "projector", "language_model"}),
        ({"vision_tower": {"learning_rate": 1e-3}, "region_encoder": {}}, {"vision_tower", "region_encoder"}),
    ],
    ids=["stage1", "stage2", "finetune_lora", "tower"],
)
def test_exactly_the_parts_of_the_stage_change(workplace, parts, changed):
    config = build_config(base_config(workplace, parts=parts, max_steps=2, learning_rate=1e-3))
    assert train(config) == 0
    before = load_file(workplace / "start" / "model.safetensors")
    after = load_file(workplace / "out" / "model" / "model.safetensors")
    assert before.keys() == after.keys()
    differing = {name for name in before if not torch.equal(before[name], after[name])}
    assert {part_of(name) for name in differing} == changed
    is_lora = isinstance(parts.get("language_model"), dict) and "lora" in parts["language_model"]
    if is_lora:
        assert all(name.endswith("_proj.weight") for name in differing if part_of(name) == "language_model")
    trained_whole = {name for name in before if part_of(name) in changed - ({"language_model"} if is_lora else set())}
    # Buffers and the layers of the tower behind the last one used get no gradient; everything else must have moved.
    still = {name for name in trained_whole - differing if "post_layernorm" not in name and "layers.1." not in name}
    assert not still


def test_two_samples_overfit(workplace):
    lines = (workplace / "data" / "train.jsonl").read_text(encoding="utf-8").splitlines()[:2]
    (workplace / "data" / "train.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    parts = {name: {"learning_rate": 1e-2} for name in ("region_encoder", "projector", "language_model")}
    config = build_config(base_config(workplace, parts=parts, batch_size=2, max_steps=80, log_steps=10))
    assert train(config) == 0
    curve = losses(workplace / "out")
    assert curve[1] > 3 and curve[80] < 0.05
    model = GPT4RoIForConditionalGeneration.from_pretrained(workplace / "out" / "model").eval()
    processor = GPT4RoIProcessor.from_pretrained(workplace / "out" / "model")
    for line in lines:
        record = json.loads(line)
        batch = processor(
            images=workplace / "data" / record["image"], conversations=record["conversation"][0]["content"],
            boxes=[region["box_xyxy"] for region in record["regions"]], add_generation_prompt=True,
        )  # fmt: skip
        written = model.generate(**batch, max_new_tokens=8, do_sample=False)
        assert processor.decode(written[0, batch["input_ids"].shape[1] :]) == record["conversation"][1]["content"]


def test_accumulation_does_not_change_the_curve(workplace):
    curves = []
    for name, batch_size, accumulation in (("whole", 8, 1), ("parts", 2, 4)):
        config = build_config(
            base_config(workplace, output_dir=str(workplace / name), batch_size=batch_size, gradient_accumulation_steps=accumulation)
        )
        assert train(config) == 0
        curves.append(losses(workplace / name))
    assert curves[0].keys() == curves[1].keys() == {1, 2, 3, 4}
    assert list(curves[0].values()) == pytest.approx(list(curves[1].values()), rel=2e-4)
    assert curves[0][4] < curves[0][1]


def test_a_run_goes_on_from_its_checkpoint_with_the_same_losses(workplace):
    whole = build_config(base_config(workplace, output_dir=str(workplace / "whole"), max_steps=6, save_steps=3, eval_data=[]))
    assert train(whole) == 0
    half = build_config(base_config(workplace, output_dir=str(workplace / "half"), max_steps=3))
    assert train(half) == 0
    # What power loss leaves: a half-written folder, which must not be taken for a checkpoint.
    (workplace / "half" / "partial-checkpoint-5").mkdir()
    longer = build_config(base_config(workplace, output_dir=str(workplace / "half"), max_steps=6))
    assert train(longer) == 0
    assert losses(workplace / "half") == pytest.approx(losses(workplace / "whole"), rel=1e-6)


def test_a_run_can_start_from_the_weights_of_another(workplace):
    first = build_config(base_config(workplace, output_dir=str(workplace / "first"), max_steps=4, parts=LORA_STAGE, eval_data=[]))
    assert train(first) == 0
    checkpoint = workplace / "first" / "checkpoint-4"
    crawling = {name: {**LORA_STAGE[name], "learning_rate": 1e-9} for name in ("region_encoder", "projector", "language_model")}
    settings = {"max_steps": 1, "parts": crawling, "eval_data": []}
    second = build_config(base_config(workplace, output_dir=str(workplace / "second"), start_from=str(checkpoint), **settings))
    assert train(second) == 0
    before, after = (load_file(folder / "trained.safetensors") for folder in (checkpoint, workplace / "second" / "checkpoint-1"))
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, atol=1e-6, rtol=0)
    # The finished model needs the first run no more.
    shutil.rmtree(workplace / "first")
    export_checkpoint(workplace / "second" / "checkpoint-1", workplace / "exported")
    nowhere = build_config(base_config(workplace, output_dir=str(workplace / "third"), start_from=str(workplace / "nowhere")))
    with pytest.raises(ConfigError, match=r"is not a checkpoint of gpt4roi train"):
        train(nowhere)


def test_cached_features_and_answer_logits_give_the_same_curve(workplace):
    plain = build_config(base_config(workplace, output_dir=str(workplace / "plain"), answer_logits_only=False))
    ours = build_config(base_config(workplace, output_dir=str(workplace / "ours"), cache_features=str(workplace / "features")))
    assert train(plain) == 0 and train(ours) == 0
    # Features are kept in float16.
    assert list(losses(workplace / "ours").values()) == pytest.approx(list(losses(workplace / "plain").values()), rel=2e-3)
    assert len(list((workplace / "features").rglob("*.safetensors"))) == 10 and not list((workplace / "features").rglob("*.partial"))


def write_folds(workplace: Path, folder: Path, changed_by: float) -> None:
    """Stage 1's output as if every odd image were fold 1 and fold 1's encoder another one."""
    folder.mkdir(exist_ok=True)
    state = load_file(workplace / "start" / "model.safetensors")
    kept = {name: value for name, value in state.items() if name.startswith(("region_encoder.", "multi_modal_projector."))}
    save_file(kept, folder / "fold_0.safetensors")
    save_file({name: value + changed_by for name, value in kept.items()}, folder / "fold_1.safetensors")
    images = {str(workplace / "data" / f"{index}.png"): index % 2 for index in range(12)}
    (folder / "folds.json").write_text(json.dumps(images), encoding="utf-8")


def test_a_cross_fitted_run_reads_each_image_with_the_encoder_of_its_fold(workplace):
    parts = {"language_model": {"learning_rate": 3e-3}}

    def curve(name: str, **changes) -> list[float]:
        config = build_config(
            base_config(workplace, output_dir=str(workplace / name), parts=parts, cache_features=str(workplace / "features"), **changes)
        )
        assert train(config) == 0
        return list(losses(workplace / name).values())

    own = curve("own")
    write_folds(workplace, workplace / "same", 0.0)
    assert curve("same_folds", cross_fitted=str(workplace / "same")) == pytest.approx(own, rel=1e-4)
    write_folds(workplace, workplace / "other", 3.0)
    assert curve("other_folds", cross_fitted=str(workplace / "other")) != pytest.approx(own, rel=1e-4)
    with pytest.raises(ConfigError, match=r"has no folds\.json"):
        curve("none", cross_fitted=str(workplace / "nothing"))


def test_parts_and_adapters_on_the_plain_start_give_the_trained_model(workplace):
    assert train(build_config(base_config(workplace, max_steps=2, parts=LORA_STAGE, save_steps=2))) == 0
    export_parts(workplace / "out" / "checkpoint-2", workplace / "parts", torch.float32)
    model = GPT4RoIForConditionalGeneration.from_pretrained(workplace / "start")
    with safe_open(workplace / "parts" / "adapter.safetensors", "pt") as file:
        scale = float(file.metadata()["scale"])
    assert scale == 2.0
    load_trained(
        model, load_file(workplace / "parts" / "model.safetensors") | load_file(workplace / "parts" / "adapter.safetensors"), scale
    )
    state = model.state_dict()
    for name, value in load_file(workplace / "out" / "model" / "model.safetensors").items():
        torch.testing.assert_close(state[name], value, rtol=1e-4, atol=1e-5)


def test_what_a_run_leaves_behind(workplace):
    data = {"eval_data": [{"reader": "jsonl", "annotations": "train.jsonl"}], "num_sample_questions": 2}
    config = build_config(base_config(workplace, max_steps=4, save_steps=1, keep_checkpoints=1, parts=LORA_STAGE, **data))
    assert train(config) == 0
    out = workplace / "out"
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert record["data"][0]["samples"] == 12 and record["parameters"]["vision_tower"]["trainable"] == 0
    history = json.loads((out / "history.json").read_text(encoding="utf-8"))
    best = min((r for r in history if "eval_loss" in r), key=lambda r: r["eval_loss"])
    kept = {path.name for path in out.glob("checkpoint-*")}
    assert kept == {"checkpoint-4", f"checkpoint-{best['step']}"}
    assert all(r["tokens_per_second"] > 0 for r in history if "loss" in r)
    samples = [json.loads(line) for line in (out / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [s["step"] for s in samples] == [1, 1, 2, 2, 3, 3, 4, 4] and samples[0]["reference"] == "red"
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "data:image/png;base64" in page and "Colour of &lt;region1&gt;?" in page
    assert (out / "loss.png").stat().st_size > 5000 and list((out / "tensorboard").rglob("events*"))


def test_a_bad_batch_is_named(workplace):
    from gpt4roi.training.trainer import NonFiniteLossError

    config = build_config(base_config(workplace, max_steps=50, parts={"region_encoder": {"learning_rate": 1e30}}, max_grad_norm=1e30))
    with pytest.raises(NonFiniteLossError, match=r"the loss became .* on the batch with samples train:\d+"):
        train(config)
    assert len(json.loads((workplace / "out" / "nonfinite_batch.json").read_text(encoding="utf-8"))["sample_ids"]) == 4
