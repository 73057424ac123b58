"""Conversations of the released model as tokens: ids against the reference's, and golden files with the trained tokens between ⟪ and ⟫.

`data/llama_pieces.json` holds the pieces of LLaMA-1's vocabulary that these texts pass through, with their ids; the other rows are fillers.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gpt4roi.conversation import Turn
from gpt4roi.models import GPT4RoIProcessor
from gpt4roi.models.processing_gpt4roi import EncodedConversation
from gpt4roi.models.tokenizer_released import build_tokenizer

DATA = Path(__file__).parent / "data"
FIRST_BYTE, VOCABULARY, NUM_IMAGE_TOKENS = 3, 32000, 256
WORD_BOUNDARY = 29871  # a lone "▁"
# The reference's own dialogue (its ids are in the parity data).
DIALOGUE = [
    Turn("user", "What is <region1> doing, and <region2>?"),
    Turn("assistant", "The man is walking his dog."),
    Turn("user", "why?"),
    Turn("assistant", "Person at region1 holds a leash."),
]
# As the first stage asks: turns that end in a placeholder, where the reference's counted mask slides by a token a turn (reference section 5.3).
NAMES = ["dog", "red bus", "man"]
NAMING = [t for i, name in enumerate(NAMES, 1) for t in (Turn("user", f"<region{i}>"), Turn("assistant", name))]


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> GPT4RoIProcessor:
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, **{f"<0x{byte:02X}>": FIRST_BYTE + byte for byte in range(256)}}
    vocabulary |= json.loads((DATA / "llama_pieces.json").read_text(encoding="utf-8"))
    vocabulary |= {f"filler{index}": index for index in set(range(VOCABULARY)) - set(vocabulary.values())}
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"type": "BPE", "vocab": vocabulary, "merges": []}}))
    return GPT4RoIProcessor(
        build_tokenizer(folder), (224, 224), NUM_IMAGE_TOKENS, "vicuna_v0", "clip_two_step", image_token="<im_patch>", region_token="<bbox>"
    )


def marked(processor: GPT4RoIProcessor, encoded: EncodedConversation) -> str:
    """Pieces as the model reads them, a line a turn, the image's patches counted."""
    pieces = processor.tokenizer.convert_ids_to_tokens(encoded.input_ids)
    parts: list[str] = []
    before, patches = False, 0
    for piece, trained in zip([*pieces, ""], [*encoded.trained, False], strict=True):
        if piece == processor.image_token:
            patches += 1
            continue
        if patches:
            parts.append(f"{processor.image_token}*{patches} ")
            patches = 0
        if before and not trained:
            parts[-1] = parts[-1].rstrip() + "⟫ "
        parts.append(("⟪" if trained and not before else "") + piece + (" \n" if piece == "<0x0A>" and not trained else " "))
        before = trained
    lines = "".join(parts).replace("⟫ ", "⟫\n").replace("⟪", "\n⟪").split("\n")
    return "\n".join(line.strip() for line in lines if line.strip()) + "\n"


@pytest.mark.parametrize(("name", "turns"), [("dialogue", DIALOGUE), ("naming", NAMING)])
def test_golden(processor: GPT4RoIProcessor, name: str, turns: list[Turn]) -> None:
    """Files are renewed by hand, on purpose."""
    encoded = processor.encode(turns, has_image=True, known_numbers=[1, 2, 3])
    assert marked(processor, encoded) == (DATA / f"vicuna_v0_{name}.txt").read_text(encoding="utf-8")


def test_ids_are_the_reference_s(processor: GPT4RoIProcessor) -> None:
    with np.load(DATA / "released_layout_trimmed.npz", allow_pickle=False) as arrays:
        expected, prompt = arrays["input_ids"][0].tolist(), arrays["gen_prompt"].tolist()
    # The reference ends every text with a space after the separator; we end an answer where the model stops.
    assert [*processor.encode(DIALOGUE, has_image=True, known_numbers=[1, 2]).input_ids, WORD_BOUNDARY] == expected
    asked = processor.encode("What is <region1> doing?", has_image=True, known_numbers=[1], add_generation_prompt=True).input_ids
    # Likewise: we write the role that the model is to answer in, which the reference lets it write.
    role = processor.tokenizer.convert_tokens_to_ids(["▁Ass", "istant", ":"])
    assert asked == [*prompt[:-1], *role] and prompt[-1] == WORD_BOUNDARY


@pytest.mark.parametrize("turns", [DIALOGUE, NAMING])
def test_trained_are_the_answers_and_their_end_marks(processor: GPT4RoIProcessor, turns: list[Turn]) -> None:
    encoded = processor.encode(turns, has_image=True, known_numbers=[1, 2, 3])
    text = processor.tokenizer.decode([i for i, trained in zip(encoded.input_ids, encoded.trained, strict=True) if trained])
    answers = [turn.content for turn in turns if turn.role == "assistant"]
    assert [part.strip() for part in text.split("###")] == [*answers, ""]
