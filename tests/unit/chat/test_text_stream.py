from __future__ import annotations

import pytest

from gpt4roi.engine import TextStream
from gpt4roi.engine.byte_cache import ByteCache


@pytest.mark.parametrize(
    ("written", "known", "stop_strings", "expected"),
    [
        ("", (), (), ""),
        ("a dog", (), (), "a dog"),
        ("  a dog \n", (), (), "a dog"),
        ("region 1 is left of Region 2.", (1, 2), (), "<region1> is left of <region2>."),
        ("region 12 and region 1", (1, 2), (), "region 12 and <region1>"),
        ("regions are fun, re", (1,), (), "regions are fun, re"),
        ("Größe: 中 🐕", (), (), "Größe: 中 🐕"),
        ("a cat\n### Human: and", (), ("###",), "a cat"),
        ("a # b ## c", (), ("###",), "a # b ## c"),
    ],
)
def test_pieces_are_never_taken_back(tiny, written, known, stop_strings, expected):
    processor = tiny[1]
    stream = TextStream(processor, known, stop_strings)
    pieces = []
    for token in processor.tokenizer(written).input_ids:
        pieces.append(stream.feed(token))
        assert expected.startswith("".join(pieces))
        if stream.stopped:
            break
    pieces.append(stream.finish())
    assert "".join(pieces) == stream.text == expected


def test_byte_cache_forgets_what_was_used_longest_ago():
    cache: ByteCache[str] = ByteCache(10)
    cache.put("a", "A", 4)
    cache.put("b", "B", 4)
    assert cache.get("a") == "A"
    cache.put("c", "C", 4)
    assert (cache.get("a"), cache.get("b"), cache.get("c"), cache.used_bytes) == ("A", None, "C", 8)
    cache.put("huge", "H", 11)
    assert cache.get("huge") is None
    cache.put("a", "A2", 2)
    assert (cache.get("a"), cache.used_bytes) == ("A2", 6)
    cache.discard("a")
    cache.clear()
    assert (len(cache), cache.used_bytes) == (0, 0)
