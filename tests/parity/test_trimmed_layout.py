"""`convert` and the whole model against the reference, from a clean clone: a trimmed checkpoint of 1.5 MB (data/README.md tells what was left out).

Embeddings, hidden states, argmax, first logits and greedy tokens are the reference's own. The region module does not travel with it, so
region features are taken from the reference too; `test_region_encoder.py` compares that module. `test_released_layout.py` compares
everything at once where the untrimmed folder is at hand.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from gpt4roi.models import GPT4RoIForConditionalGeneration
from gpt4roi.models.convert_released import convert
from gpt4roi.models.released_config import ADDED_TOKENS
from gpt4roi.models.released_keys import REGION_PREFIX, region_names
from tests.unit.models.released_checkpoint import CONFIG as RELEASED_CONFIG

DATA = Path(__file__).parent / "data" / "released_layout_trimmed.npz"
TOLERANCE = 1e-4
ROWS = {"model.embed_tokens.weight": "embedding_ids", "lm_head.weight": "head_ids"}
WIDTH, BOX_WIDTH, HIDDEN, TEXT_WIDTH = 64, 24, 48, 96
CONFIG = {
    **RELEASED_CONFIG,
    "hidden_size": TEXT_WIDTH,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "mm_hidden_size": WIDTH,
}
TOWER = {
    "model_type": "clip_vision_model",
    "hidden_size": WIDTH,
    "intermediate_size": 128,
    "num_hidden_layers": 12,
    "num_attention_heads": 4,
    "image_size": 224,
    "patch_size": 14,
    "projection_dim": 32,
}


@pytest.fixture(scope="module")
def kept() -> dict[str, Tensor]:
    with np.load(DATA, allow_pickle=False) as arrays:
        tensors = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    return {name: tensor.long() if tensor.dtype == torch.int32 else tensor for name, tensor in tensors.items()}


def region_shape(name: str) -> tuple[int, ...]:
    sizes = {
        "input_conv": (WIDTH, WIDTH + 2, 1, 1),
        ".conv.": (WIDTH, WIDTH, 3, 3),
        "pconvs": (WIDTH, WIDTH, 3, 3),
        ".gn.": (WIDTH,),
        "pos_embedd.0": (BOX_WIDTH, 4),
        "pos_embedd.2": (BOX_WIDTH,),
        "pos_embedd.3": (HIDDEN, BOX_WIDTH),
        "pos_embedd.5": (HIDDEN,),
        "flatten_linear": (HIDDEN, WIDTH * 14 * 14),
        "updims": (TEXT_WIDTH, HIDDEN),
    }
    shape = next(shape for part, shape in sizes.items() if part in name)
    return shape[:1] if name.endswith("bias") else shape


@pytest.fixture(scope="module")
def converted(kept: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The released layout around what was kept, zeros in place of what was not, through `convert`."""
    folder = tmp_path_factory.mktemp("trimmed")
    released, clip = folder / "released", folder / "clip"
    released.mkdir()
    clip.mkdir()
    state = {name: tensor for name, tensor in kept.items() if name.startswith(("model.", "lm_head."))}
    for name, ids in ROWS.items():
        whole = torch.zeros(CONFIG["vocab_size"], TEXT_WIDTH, dtype=torch.float16)  # type: ignore[call-overload]
        whole[kept[ids]] = kept[name]
        state[name] = whole
    state |= {REGION_PREFIX + name: torch.zeros(region_shape(name), dtype=torch.float16) for name in region_names()}
    first = "pytorch_model-00001-of-00002.bin"
    second = "pytorch_model-00002-of-00002.bin"
    home = {name: first if name in ROWS else second for name in state}
    for shard in (first, second):
        torch.save({name: tensor for name, tensor in state.items() if home[name] == shard}, released / shard)
    (released / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": home}))
    (released / "config.json").write_text(json.dumps(CONFIG))
    (released / "added_tokens.json").write_text(json.dumps(ADDED_TOKENS))

    tower = {name.removeprefix("clip."): tensor.float() for name, tensor in kept.items() if name.startswith("clip.")}
    last = f"encoder.layers.{TOWER['num_hidden_layers'] - 1}."
    # Its output is never used, but a whole tower must be given.
    tower |= {name.replace("encoder.layers.0.", last): torch.zeros_like(t) for name, t in tower.items() if ".layers.0." in name}
    save_file(tower, clip / "model.safetensors")
    (clip / "config.json").write_text(json.dumps(TOWER))
    result = convert(released, folder / "model", clip)
    assert result.tensors == len(state) + len(tower)
    return folder / "model"


@pytest.fixture(scope="module")
def region_features(kept: dict[str, Tensor]) -> Tensor:
    """The reference's features of the dialogue's regions: what it put into their places."""
    at = {int(position): row for row, position in enumerate(kept["compared"])}
    places = (kept["input_ids"][0] == ADDED_TOKENS["<bbox>"]).nonzero().flatten().tolist()
    return kept["inputs_embeds"][[at[place] for place in places]]


@pytest.fixture(scope="module")
def model(converted: Path, region_features: Tensor) -> GPT4RoIForConditionalGeneration:
    loaded, report = GPT4RoIForConditionalGeneration.from_pretrained(converted, dtype=torch.float32, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    # As many as there are boxes, in the order of the dialogue, whose first box is the generation's.
    loaded.region_encoder.pool_regions = lambda maps, boxes: region_features[: sum(len(rows) for rows in boxes)]
    return loaded.eval()


def difference(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape and len(ours)
    return float((ours - theirs).abs().max())


def test_the_file_is_small() -> None:
    assert DATA.stat().st_size < 1_600_000


def test_embeddings(model: GPT4RoIForConditionalGeneration, kept: dict[str, Tensor], region_features: Tensor) -> None:
    assert region_features.shape == (2, TEXT_WIDTH)
    with torch.no_grad():
        image = model.get_image_features(kept["pixel_values"].float()).image_features
        embeddings = model.embed(kept["input_ids"], image, region_features)[0, kept["compared"]]
    assert difference(embeddings, kept["inputs_embeds"]) < TOLERANCE


def test_hidden_states_argmax_and_loss(model: GPT4RoIForConditionalGeneration, kept: dict[str, Tensor]) -> None:
    with torch.no_grad():
        output = model(
            input_ids=kept["input_ids"],
            pixel_values=kept["pixel_values"].float(),
            boxes_xyxy_norm=[kept["boxes"]],
            labels=kept["labels"],
            output_hidden_states=True,
        )
    assert difference(output.hidden_states[-1][0, kept["compared"]], kept["final_hidden"]) < TOLERANCE
    assert torch.equal(output.logits[0].argmax(-1), kept["argmax"])
    # From the reference's hidden states with the word rows that were kept; the whole loss follows the same path to 1e-5.
    assert float(output.loss) == pytest.approx(float(kept["loss"]), abs=TOLERANCE)


@pytest.mark.parametrize("use_cache", [True, False])
def test_greedy_tokens(model: GPT4RoIForConditionalGeneration, kept: dict[str, Tensor], use_cache: bool) -> None:
    prompt = kept["gen_prompt"]
    output = model.generate(
        input_ids=prompt[None],
        attention_mask=torch.ones_like(prompt)[None],
        pixel_values=kept["pixel_values"].float(),
        boxes_xyxy_norm=[kept["boxes"][:1]],
        max_new_tokens=len(kept["gen_new"]),
        do_sample=False,
        use_cache=use_cache,
        output_logits=True,
        return_dict_in_generate=True,
    )
    assert output.sequences[0, len(prompt) :].tolist() == kept["gen_new"].tolist()
    assert difference(output.logits[0][0, kept["head_ids"]], kept["gen_last_logits"]) < TOLERANCE


def test_the_image_and_the_regions_matter(model: GPT4RoIForConditionalGeneration, kept: dict[str, Tensor], region_features: Tensor) -> None:
    """So that the agreement above is about them too, and not about the words alone."""
    image = model.get_image_features(kept["pixel_values"].float()).image_features.detach()
    with torch.no_grad():
        for features, regions in ((image.flip(1), region_features), (image, region_features.flip(0))):
            embeddings = model.embed(kept["input_ids"], features, regions)
            hidden = model(inputs_embeds=embeddings, output_hidden_states=True).hidden_states[-1]
            assert difference(hidden[0, kept["compared"]], kept["final_hidden"]) > 100 * TOLERANCE
