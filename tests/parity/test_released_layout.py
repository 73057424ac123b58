"""A whole checkpoint in the released layout: converted, loaded, and compared with what the reference gave on it.

The folder (17 MB of random weights) is no part of this repository: it is looked for in $GPT4ROI_PARITY and in `../shared/parity`. Without
it these tests are skipped; `test_trimmed_layout.py` and `test_region_encoder.py` compare what is small enough to travel.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gpt4roi.models import GPT4RoIForConditionalGeneration
from gpt4roi.models.convert_released import convert

PLACES = [Path(os.environ.get("GPT4ROI_PARITY", "absent")), Path(__file__).parents[3] / "shared" / "parity"]
FOLDER = next((place / "released_layout_tiny" for place in PLACES if (place / "released_layout_tiny").is_dir()), None)
pytestmark = pytest.mark.skipif(FOLDER is None, reason="released_layout_tiny is not here; set GPT4ROI_PARITY to the folder that holds it")
TOLERANCE = 1e-4

DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")])]


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    assert FOLDER is not None
    return torch.load(FOLDER / "expected.pt", weights_only=True)


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert FOLDER is not None
    output = tmp_path_factory.mktemp("converted") / "model"
    # A shard limit below the size of the weights, so that the index and several files are read back too.
    result = convert(FOLDER / "checkpoint", output, FOLDER / "clip", max_shard_bytes=7_000_000)
    assert result.shards > 1
    return output


@pytest.fixture(scope="module", params=DEVICES)
def model(converted: Path, request: pytest.FixtureRequest) -> GPT4RoIForConditionalGeneration:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    loaded, report = GPT4RoIForConditionalGeneration.from_pretrained(converted, dtype=torch.float32, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    return loaded.eval().to(request.param)


def inputs(expected: dict[str, Any], device: torch.device) -> dict[str, Any]:
    tensors = {name: expected[name].to(device) for name in ("input_ids", "labels")}
    tensors |= {"pixel_values": expected["pixel_values"].float().to(device), "attention_mask": expected["attention_mask"].long().to(device)}
    return {**tensors, "boxes_xyxy_norm": expected["bboxes"]}


def difference(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours.cpu().float() - theirs.float()).abs().max())


def test_embeddings(model: GPT4RoIForConditionalGeneration, expected: dict[str, Any]) -> None:
    batch = inputs(expected, model.device)
    with torch.no_grad():
        regions = model.get_region_features(batch["pixel_values"], batch["boxes_xyxy_norm"])
        embeddings = model.embed(batch["input_ids"], model.get_image_features(batch["pixel_values"]).image_features, regions)
    assert difference(embeddings, expected["inputs_embeds"]) < TOLERANCE


def test_hidden_states_loss_logits_and_argmax(model: GPT4RoIForConditionalGeneration, expected: dict[str, Any]) -> None:
    with torch.no_grad():
        output = model(**inputs(expected, model.device), output_hidden_states=True)
    real = expected["attention_mask"].bool()
    assert difference(output.hidden_states[-1].cpu()[real], expected["final_hidden"][real]) < TOLERANCE
    assert float(output.loss) == pytest.approx(float(expected["loss"]), abs=TOLERANCE)
    assert difference(output.logits[:, ::4, ::997].cpu()[real[:, ::4]], expected["logits_sub"][real[:, ::4]]) < TOLERANCE
    assert torch.equal(output.logits.argmax(-1).cpu()[real], expected["argmax"][real])


@pytest.mark.parametrize("use_cache", [True, False])
def test_greedy_tokens(model: GPT4RoIForConditionalGeneration, expected: dict[str, Any], use_cache: bool) -> None:
    output = model.generate(
        input_ids=expected["gen_prompt"][None].to(model.device),
        attention_mask=torch.ones_like(expected["gen_prompt"])[None].to(model.device),
        pixel_values=expected["pixel_values"][:1].float().to(model.device),
        boxes_xyxy_norm=[expected["gen_bboxes"]],
        max_new_tokens=len(expected["gen_new"]),
        do_sample=False,
        use_cache=use_cache,
        output_logits=True,
        return_dict_in_generate=True,
    )
    assert output.sequences[0, len(expected["gen_prompt"]) :].tolist() == expected["gen_new"].tolist()
    # The reference kept the logits of the last prompt token: the choice of the first word.
    assert difference(output.logits[0][0], expected["gen_last_logits"]) < TOLERANCE


def test_batch_of_two_against_one_by_one(model: GPT4RoIForConditionalGeneration, expected: dict[str, Any]) -> None:
    batch = inputs(expected, model.device)
    with torch.no_grad():
        together = model(**{name: value for name, value in batch.items() if name != "labels"}).logits.cpu()
        for row in range(2):
            length = int(expected["attention_mask"][row].sum())
            alone = model(
                input_ids=batch["input_ids"][row : row + 1, :length],
                pixel_values=batch["pixel_values"][row : row + 1],
                boxes_xyxy_norm=batch["boxes_xyxy_norm"][row : row + 1],
            ).logits.cpu()
            assert difference(alone[0], together[row, :length]) < TOLERANCE


def test_save_and_load_again_changes_nothing(model: GPT4RoIForConditionalGeneration, expected: dict[str, Any], tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    again = GPT4RoIForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float32)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor.cpu(), again.state_dict()[name]), name
