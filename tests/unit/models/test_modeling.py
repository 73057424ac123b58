"""The model on its own: padding, mixed batches, gradients, dtypes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gpt4roi.models import GPT4RoIConfig, GPT4RoIForConditionalGeneration, GPT4RoIProcessor, GPT4RoIRegionConfig, GPT4RoIVisionConfig
from gpt4roi.models.summary import summarise
from gpt4roi.models.tensor_files import CheckpointError

sys.path.insert(0, str(Path(__file__).parent))
import tiny_parts

IMAGES = list(np.random.default_rng(0).integers(0, 255, (2, 20, 30, 3), dtype=np.uint8))
BOXES = [[0.0, 0.0, 10.0, 10.0], [5.0, 5.0, 30.0, 20.0]]
ANSWER = {"role": "assistant", "content": "Yes."}


@pytest.fixture(scope="module")
def processor() -> GPT4RoIProcessor:
    return GPT4RoIProcessor(tiny_parts.tokenizer(), (28, 28), 4)


@pytest.fixture
def model(processor: GPT4RoIProcessor) -> GPT4RoIForConditionalGeneration:
    torch.manual_seed(0)
    tower = {
        "model_type": "clip_vision_model",
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 5,
        "num_attention_heads": 2,
    }
    config = GPT4RoIConfig(
        vision_config=GPT4RoIVisionConfig(
            "transformer", {**tower, "image_size": 28, "patch_size": 14}, (28, 28), region_layers=(1, 2, 3, 4)
        ),
        region_config=GPT4RoIRegionConfig(**tiny_parts.REGION),
        text_config=tiny_parts.language_model("llama").config,
        image_token_id=processor.image_token_id,
        region_token_id=processor.region_token_id,
    )
    return GPT4RoIForConditionalGeneration(config).eval()


def mixed(processor: GPT4RoIProcessor, **kwargs: object) -> tuple[dict[str, object], list[dict[str, object]]]:
    """Samples with two regions, none, no image and one region: together, and one by one."""
    images = [IMAGES[0], IMAGES[1], None, IMAGES[1]]
    texts = ["<region2> or <region1>, <region2>?", "What is it?", "Hello", "<region1>"]
    boxes = [BOXES, None, None, BOXES[:1]]
    turns = [[{"role": "user", "content": text}, ANSWER] for text in texts]
    together = processor(images=images, conversations=turns, boxes=boxes, **kwargs)  # type: ignore[arg-type]
    alone = [processor(images=i, conversations=t, boxes=b) for i, t, b in zip(images, turns, boxes, strict=True)]
    return together, alone  # type: ignore[return-value]


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_mixed_batch_is_its_samples(model: GPT4RoIForConditionalGeneration, processor: GPT4RoIProcessor, side: str) -> None:
    together, alone = mixed(processor, padding_side=side)
    with torch.no_grad():
        logits = model(**together).logits
        for row, sample in enumerate(alone):
            real = together["attention_mask"][row].bool()  # type: ignore[index]
            torch.testing.assert_close(logits[row][real], model(**sample).logits[0], rtol=1e-4, atol=1e-4)


def test_boxes_and_images_change_the_answer(model: GPT4RoIForConditionalGeneration, processor: GPT4RoIProcessor) -> None:
    def logits(image: np.ndarray, box: list[float]) -> torch.Tensor:
        with torch.no_grad():
            return model(**processor(images=image, conversations="<region1>?", boxes=[box])).logits[:, -1]

    first = logits(IMAGES[0], BOXES[0])
    assert not torch.allclose(first, logits(IMAGES[0], BOXES[1]), atol=1e-6)
    assert not torch.allclose(first, logits(IMAGES[1], BOXES[0]), atol=1e-6)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("sample", [0, 1, 2])
def test_every_parameter_gets_a_gradient_whatever_the_batch_holds(
    model: GPT4RoIForConditionalGeneration, processor: GPT4RoIProcessor, checkpointing: bool, sample: int
) -> None:
    """DDP and ZeRO-3 hang otherwise: a batch of plain text touches the region encoder too (with zeros)."""
    model.train()
    if checkpointing:
        model.gradient_checkpointing_enable()
    image = [IMAGES[0], IMAGES[0], None][sample]
    boxes = [BOXES, None, None][sample]
    turns = [{"role": "user", "content": "<region1>?" if boxes else "Hi"}, ANSWER]
    model(**processor(images=image, conversations=turns, boxes=boxes, labels=True)).loss.backward()
    for part in (model.region_encoder, model.multi_modal_projector, model.language_model):
        assert all(parameter.grad is not None for parameter in part.parameters())


def test_gradient_checkpointing_changes_no_gradient(model: GPT4RoIForConditionalGeneration, processor: GPT4RoIProcessor) -> None:
    batch, _ = mixed(processor, labels=True)
    model.train()
    model(**batch).loss.backward()
    plain = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    model.gradient_checkpointing_enable()
    model(**batch).loss.backward()
    for name, parameter in model.named_parameters():
        if name in plain:
            torch.testing.assert_close(parameter.grad, plain[name], msg=name)


@pytest.mark.parametrize("use_cache", [True, False])
def test_greedy_decoding_is_the_forward_pass_repeated(
    model: GPT4RoIForConditionalGeneration, processor: GPT4RoIProcessor, use_cache: bool
) -> None:
    prompt = processor(images=IMAGES[0], conversations="<region1>?", boxes=BOXES, add_generation_prompt=True)
    with torch.no_grad():
        generated = model.generate(**prompt, max_new_tokens=5, do_sample=False, use_cache=use_cache, eos_token_id=None)
        ids = prompt["input_ids"]
        for _ in range(5):
            logits = model(input_ids=ids, pixel_values=prompt["pixel_values"], boxes_xyxy_norm=prompt["boxes_xyxy_norm"]).logits
            ids = torch.cat([ids, logits[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(generated, ids)


def test_bfloat16_keeps_boxes_exact(model: GPT4RoIForConditionalGeneration, processor: GPT4RoIProcessor) -> None:
    """Two boxes that bfloat16 cannot tell apart must still give different crops."""
    model.to(torch.bfloat16)
    pixels = processor.image_processor(IMAGES[0])[None].to(torch.bfloat16)
    near = torch.tensor([[0.5, 0.5, 0.9, 0.9], [0.5005, 0.5, 0.9, 0.9]])
    assert torch.equal(*near.to(torch.bfloat16))
    seen: list[torch.Tensor] = []
    hook = model.region_encoder.roi_convs[0].register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        features = model.get_region_features(pixels, [near])
        loss = model(
            **processor(images=IMAGES[0], conversations=[{"role": "user", "content": "<region1>"}, ANSWER], boxes=BOXES, labels=True)
        ).loss
    hook.remove()
    assert features.dtype == torch.bfloat16 and torch.isfinite(loss)
    assert not torch.equal(seen[0][0], seen[0][1])


def test_boxes_without_a_image_are_refused(model: GPT4RoIForConditionalGeneration) -> None:
    with pytest.raises(ValueError, match="1 boxes were given without a picture"):
        model(input_ids=torch.tensor([[1, 2]]), boxes_xyxy_norm=[torch.rand(1, 4)])


def test_summary(model: GPT4RoIForConditionalGeneration, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    found = summarise(tmp_path)
    total = sum(parameter.numel() for parameter in model.parameters())
    assert found["parameters"]["total"] == total
    assert found["memory_bytes"]["float32"] == 4 * total and found["memory_bytes"]["bfloat16"] == 2 * total
    assert found["memory_bytes"]["int4"] < found["memory_bytes"]["int8"] < found["memory_bytes"]["bfloat16"]
    assert found["dtype"] == "float32" and found["num_image_tokens"] == 4
    # 2 layers, keys and values, 2 heads of 8, 2 bytes, 1000 tokens
    assert found["cache_bytes_per_1000_tokens"] == 2 * 2 * 2 * 8 * 2 * 1000
    with pytest.raises(CheckpointError, match=r"has no config.json"):
        summarise(tmp_path / "nowhere")
