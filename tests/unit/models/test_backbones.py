"""Every pairing of a vision tower and a language model that a recipe may ask for, tiny and random, through `assemble`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor

from gpt4roi.models import GPT4RoIConfig, GPT4RoIForConditionalGeneration
from gpt4roi.models import assemble as assembling
from gpt4roi.models.assemble import Recipe, RecipeError, assemble, build_config, read_recipe

sys.path.insert(0, str(Path(__file__).parent))
import tiny_parts

# (tower, language model, template, image size h w)
PAIRINGS = [
    ("clip", "smollm2", "chatml", None),
    ("clip", "llama", "llama3", [56, 84]),
    ("siglip", "qwen3", "qwen3", None),
    ("siglip", "smollm3", "chatml", [96, 64]),
    ("siglip", "llama", "mistral", [128, 128]),
    ("dinov2", "smollm2", "gemma", None),
    ("dinov2", "qwen3", "qwen3", [42, 98]),
    ("dinov2_registers", "llama", None, [84, 84]),
    ("timm", "qwen3", "qwen3", [64, 96]),
    ("timm", "smollm2", "chatml", None),
]
IMAGE = np.random.default_rng(0).integers(0, 255, (48, 80, 3), dtype=np.uint8)
TURNS = [{"role": "user", "content": "What is <region1> beside <region2>?"}, {"role": "assistant", "content": "A dog."}]
BOXES = [[4.0, 4.0, 30.0, 30.0], [20.0, 10.0, 80.0, 48.0]]


def recipe_of(folder: Path, tower: str, text: str, template: str | None, size: list[int] | None) -> Recipe:
    is_timm = tower == "timm"
    # resnet10t: the smallest timm backbone that gives four maps
    vision = [{"name": "resnet10t", "out_indices": [1, 2, 3, 4]}] if is_timm else tiny_parts.write_tower(folder / "tower", tower)
    region = {**tiny_parts.REGION, "level_scales": [1, 1, 1, 1]} if is_timm else tiny_parts.REGION
    language_model = tiny_parts.write_language_model(folder / "lm", text, template)
    return Recipe("a test", vision, language_model, image_size_hw=size or ([64, 64] if is_timm else None), region=region)


@pytest.fixture
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained=False, **kwargs: create(name, pretrained=False, **kwargs))


@pytest.mark.usefixtures("no_download")
@pytest.mark.parametrize(("tower", "text", "template", "size"), PAIRINGS)
def test_forward_backward_generate_save_load(tmp_path: Path, tower: str, text: str, template: str | None, size: list[int] | None) -> None:
    model, processor = assemble(recipe_of(tmp_path, tower, text, template, size))
    batch = processor(images=[IMAGE, IMAGE], conversations=[TURNS, TURNS], boxes=[BOXES, BOXES[::-1]], labels=True)
    assert batch["pixel_values"].shape[-2:] == tuple(model.config.vision_config.image_size_hw)
    assert int((batch["input_ids"] == model.config.image_token_id).sum()) == 2 * model.num_image_tokens

    model.train()
    loss = model(**batch).loss
    loss.backward()
    assert torch.isfinite(loss)
    for part in (model.region_encoder, model.multi_modal_projector, model.language_model):
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in part.parameters())

    model.eval()
    prompt = processor(images=IMAGE, conversations=TURNS[:1], boxes=BOXES, add_generation_prompt=True)
    with torch.no_grad():
        answer = model.generate(**prompt, max_new_tokens=4, do_sample=False)
        before = model(**{name: value for name, value in batch.items() if name != "labels"}).logits
        refused = [batch["boxes_xyxy_norm"][0][:1], batch["boxes_xyxy_norm"][1]]
        with pytest.raises(ValueError, match="4 region placeholders but 3 region features"):
            model(input_ids=batch["input_ids"], pixel_values=batch["pixel_values"], boxes_xyxy_norm=refused)
    assert answer.shape[1] > prompt["input_ids"].shape[1]

    model.save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    again = GPT4RoIForConditionalGeneration.from_pretrained(tmp_path / "saved").eval()
    processor_again = AutoProcessor.from_pretrained(tmp_path / "saved")
    batch_again = processor_again(images=[IMAGE, IMAGE], conversations=[TURNS, TURNS], boxes=[BOXES, BOXES[::-1]])
    with torch.no_grad():
        after = again(**batch_again).logits
    assert torch.equal(before, after)


def test_auto_classes_and_attention_backends(tmp_path: Path) -> None:
    model, processor = assemble(recipe_of(tmp_path, "clip", "llama", "llama3", None))
    model.eval()
    model.save_pretrained(tmp_path / "saved")
    batch = processor(images=IMAGE, conversations=TURNS, boxes=BOXES)
    for auto in (AutoModelForCausalLM, AutoModelForImageTextToText):
        for backend in ("eager", "sdpa"):
            loaded = auto.from_pretrained(tmp_path / "saved", attn_implementation=backend).eval()
            assert isinstance(loaded, GPT4RoIForConditionalGeneration)
            assert loaded.language_model.config._attn_implementation == backend
            with torch.no_grad():
                torch.testing.assert_close(loaded(**batch).logits, model(**batch).logits, rtol=1e-4, atol=1e-4)


def test_an_image_size_that_the_patches_do_not_tile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a multiple of the vision tower's patch size 14"):
        assemble(recipe_of(tmp_path, "clip", "llama", "llama3", [60, 56]))


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[3] / "configs" / "model").glob("*.json")), ids=lambda path: path.stem)
def test_every_recipe_is_read_and_its_new_parts_fit(path: Path) -> None:
    """The real widths on the meta device, from the parts' real config classes."""
    recipe = read_recipe(path)
    names = [recipe.language_model] + (
        [recipe.vision_tower] if isinstance(recipe.vision_tower, str) else [b["name"] for b in recipe.vision_tower]
    )
    assert set(names) == set(recipe.download_gb)
    tower = None if isinstance(recipe.vision_tower, list) else REAL_TOWERS[recipe.vision_tower]
    with torch.device("meta"):
        model = GPT4RoIForConditionalGeneration(build_config(recipe, tower, tiny_parts.language_model("llama").config))
    assert model.num_image_tokens <= 1024
    assert len(model.region_encoder.input_convs) == len(model.config.region_config.level_scales)


REAL_TOWERS = {
    "openai/clip-vit-large-patch14": assembling.CLIPVisionModel.config_class(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=224, patch_size=14
    ),
    "openai/clip-vit-large-patch14-336": assembling.CLIPVisionModel.config_class(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=336, patch_size=14
    ),
    "google/siglip2-base-patch16-256": assembling.SiglipVisionModel.config_class(image_size=256, patch_size=16),
    "google/siglip2-so400m-patch14-384": assembling.SiglipVisionModel.config_class(
        hidden_size=1152, intermediate_size=4304, num_hidden_layers=27, num_attention_heads=16, image_size=384, patch_size=14
    ),
    "facebook/dinov2-base": tiny_parts.Dinov2Config(image_size=518, patch_size=14),
}


def test_an_unknown_recipe_and_an_unknown_field_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="there is no model config"):
        read_recipe(tmp_path / "none.json")
    (tmp_path / "odd.json").write_text('{"description": "", "vision_tower": "a/b", "language_model": "c/d", "heads": 3}')
    with pytest.raises(RecipeError, match="unknown field 'heads'"):
        read_recipe(tmp_path / "odd.json")


def test_config_round_trip() -> None:
    config = GPT4RoIConfig(text_config=tiny_parts.language_model("qwen3").config)
    assert GPT4RoIConfig.from_dict(config.to_dict()).to_dict() == config.to_dict()
