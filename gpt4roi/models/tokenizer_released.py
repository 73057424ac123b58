"""The released model's tokenizer, exactly as it was trained with, out of whatever files a folder holds.

Training used the slow LLaMA tokenizer: text is cut at added tokens, whitespace on both sides of them is dropped, and every piece gets a
dummy prefix of its own. The `tokenizer.json` that was released with the weights does none of this and gives other ids (reference section
5.2), so only its vocabulary is used.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, processors
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from gpt4roi.models.protobuf import fields
from gpt4roi.models.released_config import ADDED_TOKENS
from gpt4roi.models.tensor_files import CheckpointError, read_json

JSON_NAME, SENTENCEPIECE_NAME = "tokenizer.json", "tokenizer.model"
MAX_LENGTH = 2048
# SentencePiece.Type in sentencepiece_model.proto.
NORMAL, USER_DEFINED = 1, 4
CONTROL_OR_BYTE = re.compile(r"<unk>|</?s>|<0x[0-9A-F]{2}>")


def has_tokenizer(folder: Path) -> bool:
    return (folder / JSON_NAME).exists() or (folder / SENTENCEPIECE_NAME).exists()


def build_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """A fast tokenizer with the semantics of training: BOS first, no EOS, `[PAD]` to the right.

    Raises:
      CheckpointError: no tokenizer files, or not LLaMA-1's.
    """
    if (folder / SENTENCEPIECE_NAME).exists():
        vocabulary, merges = read_sentencepiece(folder / SENTENCEPIECE_NAME)
    elif (folder / JSON_NAME).exists():
        vocabulary, merges = read_tokenizer_json(folder / JSON_NAME)
    else:
        raise CheckpointError(f"'{folder}' holds neither {JSON_NAME} nor {SENTENCEPIECE_NAME}; give a folder of LLaMA-1's tokenizer")
    first_added = min(ADDED_TOKENS.values())
    if len(vocabulary) != first_added or [vocabulary.get(t) for t in ("<unk>", "<s>", "</s>")] != [0, 1, 2]:
        raise CheckpointError(
            f"the tokenizer in '{folder}' has {len(vocabulary)} words; LLaMA-1's has {first_added}, beginning with <unk>, <s>, </s>"
        )
    return from_vocabulary(vocabulary, merges, ADDED_TOKENS)


def from_vocabulary(vocabulary: dict[str, int], merges: list[tuple[str, str]], added: dict[str, int]) -> PreTrainedTokenizerFast:
    """The tokenizer's pipeline around any byte-fallback BPE vocabulary; `added` must follow it without a gap."""
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    # A dummy prefix per piece between added tokens: normalisers run on each such piece.
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(content=" ", left=1)]
    )
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in ("<unk>", "<s>", "</s>")])
    in_order = sorted(added, key=lambda token: added[token])
    tokenizer.add_special_tokens([AddedToken(token, lstrip=True, rstrip=True, normalized=False, special=True) for token in in_order])
    wrong = [token for token in in_order if tokenizer.token_to_id(token) != added[token]]
    if wrong:
        raise CheckpointError(f"'{wrong[0]}' became token {tokenizer.token_to_id(wrong[0])} where the weights expect {added[wrong[0]]}")
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", vocabulary["<s>"])])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="[PAD]",
        padding_side="right",
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
    )


def read_tokenizer_json(path: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The vocabulary of a `tokenizer.json`, without its pipeline and added tokens; its merges in the order of LLaMA's scores.

    Exports of that time list the merges in an order that depends on the version that wrote them (runs of spaces come out otherwise), so the
    order is taken from the ids: LLaMA numbered its pieces by score.
    """
    model = read_json(path).get("model", {})
    if model.get("type") != "BPE" or not isinstance(model.get("vocab"), dict):
        raise CheckpointError(f"'{path}' is not a BPE tokenizer; LLaMA-1's is")
    # Some exports repeat the added tokens in the vocabulary.
    vocabulary = {token: index for token, index in model["vocab"].items() if token not in ADDED_TOKENS}
    ranks = {piece: float(index) for piece, index in vocabulary.items() if not CONTROL_OR_BYTE.fullmatch(piece)}
    return vocabulary, merges_of(vocabulary, ranks)


def merges_of(vocabulary: dict[str, int], ranks: dict[str, float]) -> list[tuple[str, str]]:
    """A piece is the merge of any two pieces that spell it; the lowest rank merges first."""
    merges = []
    for piece, rank in ranks.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in vocabulary and right in vocabulary:
                merges.append((rank, vocabulary[left], vocabulary[right], left, right))
    merges.sort()
    return [(left, right) for *_, left, right in merges]


def read_sentencepiece(path: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of a sentencepiece BPE model, which holds scores instead of merges; the highest score merges first."""
    try:
        pieces = list(_pieces(path.read_bytes()))
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise CheckpointError(f"'{path}' is not a sentencepiece model ({error}); fetch it again") from error
    vocabulary = {piece: index for index, (piece, _, _) in enumerate(pieces)}
    return vocabulary, merges_of(vocabulary, {piece: -score for piece, score, kind in pieces if kind in (NORMAL, USER_DEFINED)})


def _pieces(data: bytes) -> Iterator[tuple[str, float, int]]:
    """(piece, score, type) of every `pieces` entry (field 1) of sentencepiece's ModelProto."""
    for number, value in fields(data):
        if number == 1 and isinstance(value, bytes):
            entry = dict(fields(value))
            piece, score, kind = entry[1], entry.get(2, b"\0\0\0\0"), entry.get(3, NORMAL)
            if isinstance(piece, bytes) and isinstance(score, bytes) and isinstance(kind, int):
                yield piece.decode("utf-8"), struct.unpack("<f", score)[0], kind
