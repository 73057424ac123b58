"""A small part of the fuzz run; the long one is `python -m tests.fuzz.fuzz_images_and_api --seconds 600`."""

from __future__ import annotations

import pytest

from tests.fuzz.fuzz_images_and_api import PARTS


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", PARTS)
def test_nothing_but_sentences(part: str) -> None:
    report = PARTS[part](8.0, 1)
    assert report.tried > 20
    assert not report.wrong
