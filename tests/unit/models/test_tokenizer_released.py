"""The released tokenizer's semantics on a small hand-made vocabulary (against real sentencepiece the rules gave 0 differences in 3000 texts)."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from gpt4roi.models.tensor_files import CheckpointError
from gpt4roi.models.tokenizer_released import build_tokenizer, from_vocabulary, merges_of, read_sentencepiece, read_tokenizer_json

PIECES = ["▁▁", "▁a", "##", "▁#", "▁##", "▁###", "is", "▁is"]
CHARACTERS = list("▁abis#,?:.dog")
WORDS = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *PIECES, *CHARACTERS]
VOCABULARY = {word: index for index, word in enumerate(WORDS)}
ADDED = {"[PAD]": len(WORDS), "<im_patch>": len(WORDS) + 1, "<bbox>": len(WORDS) + 2}
RANKS = {piece: float(VOCABULARY[piece]) for piece in PIECES}


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("is", ["▁is"]),
        ("is <bbox>, a", ["▁is", "<bbox>", "▁", ",", "▁a"]),
        ("<bbox>?", ["<bbox>", "▁", "?"]),
        ("<bbox>\n###", ["<bbox>", "▁###"]),
        ("is\n###", ["▁is", "<0x0A>", "##", "#"]),
        ("a  \n <bbox>  a", ["▁a", "<bbox>", "▁a"]),
        ("é", ["▁", "<0xC3>", "<0xA9>"]),
    ],
)
def test_pieces(text: str, pieces: list[str]) -> None:
    tokenizer = from_vocabulary(VOCABULARY, merges_of(VOCABULARY, RANKS), ADDED)
    assert tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"]) == ["<s>", *pieces]


def varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found += bytes([value & 127 | 128])
        value >>= 7
    return found + bytes([value])


def sentencepiece_file(path: Path, words: list[str]) -> Path:
    """A ModelProto by hand: field 1 = {1: piece, 2: score, 3: type}; BPE scores fall with the id."""
    data = b""
    for index, word in enumerate(words):
        kind = 2 if index == 0 else 3 if index < 3 else 6 if index < 259 else 1
        text = word.encode()
        entry = b"\x0a" + varint(len(text)) + text + b"\x15" + struct.pack("<f", -max(index - 259, 0)) + b"\x18" + varint(kind)
        data += b"\x0a" + varint(len(entry)) + entry
    path.write_bytes(data)
    return path


def test_both_kinds_of_file_give_the_same_even_if_the_json_lists_its_merges_wrongly(tmp_path: Path) -> None:
    from_proto = read_sentencepiece(sentencepiece_file(tmp_path / "tokenizer.model", WORDS))
    shuffled = [list(pair) for pair in reversed(from_proto[1])]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"type": "BPE", "vocab": VOCABULARY, "merges": shuffled}}))
    assert read_tokenizer_json(tmp_path / "tokenizer.json") == from_proto
    assert from_proto[0] == VOCABULARY


def test_a_whole_folder_with_the_released_ids(tmp_path: Path) -> None:
    filler = [f"filler{index}" for index in range(32000 - len(WORDS))]
    sentencepiece_file(tmp_path / "tokenizer.model", [*WORDS, *filler])
    tokenizer = build_tokenizer(tmp_path)
    assert tokenizer.convert_tokens_to_ids(["[PAD]", "<im_patch>", "<bbox>", "<point>", "<im_start>", "<im_end>"]) == list(
        range(32000, 32006)
    )
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.padding_side) == (32000, 1, 2, "right")


def test_other_tokenizers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds neither"):
        build_tokenizer(tmp_path)
    sentencepiece_file(tmp_path / "tokenizer.model", WORDS)
    with pytest.raises(CheckpointError, match="LLaMA-1's has 32000"):
        build_tokenizer(tmp_path)
    path = tmp_path / "tokenizer.model"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match="not a sentencepiece model"):
        build_tokenizer(tmp_path)
