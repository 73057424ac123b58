"""Regions: numbers that never shift, one JSON form, a history."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpt4roi import masks
from gpt4roi.boxes import BoxError
from gpt4roi.masks import MaskError
from gpt4roi.regions import Region, RegionError, RegionSet, read_record


def drawn(*boxes: tuple[float, float, float, float], size: tuple[int, int] | None = (100, 80)) -> RegionSet:
    regions = RegionSet(size)
    for box in boxes:
        regions.add(box)
    return regions


A, B, C = (0, 0, 10, 10), (20, 20, 30, 30), (50, 40, 70, 55)


def test_an_empty_set() -> None:
    assert RegionSet().to_records() == [] and list(RegionSet.from_records([])) == []
    assert not RegionSet().undo() and not RegionSet().redo()


def test_a_removed_number_is_not_given_again_and_the_others_keep_theirs_through_the_json_form() -> None:
    regions = drawn(A, B, C)
    regions.remove(1)
    again = RegionSet.from_records(regions.to_records(), (100, 80))
    assert {number: region.box_xyxy for number, region in again.items()} == {2: B, 3: C}
    assert regions.add(A).number == 4 and again.add(A).number == 4


def test_every_field_survives_the_json_form() -> None:
    mask = masks.encode(np.eye(80, 100, dtype=bool))
    region = Region(7, (1.25, 2.5, 30.0, 40.125), "dog", mask, ((3.0, 4.0),), 0.75, (("cat", 0.2),), "found", "s1")
    assert read_record(region.to_record(), 0) == region
    assert RegionSet.from_records([region.to_record()], (100, 80))[7] == region


def test_an_absent_number_is_the_position() -> None:
    assert list(RegionSet.from_records([{"box_xyxy": A}, {"box_xyxy": B}])) == [1, 2]


def test_a_region_stands_where_a_box_is_taken() -> None:
    x0, y0, x1, y1 = drawn(B)[1]
    assert (x0, y0, x1, y1) == B and list(drawn(B)[1]) == list(B)


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (3, "got 3"),
        ({}, 'needs "box_xyxy"'),
        ({"bbox": [1, 2, 3, 4]}, 'got "bbox"'),
        ({"box_xyxy": [1, 2, 3]}, "four numbers"),
        ({"box_xyxy": [1, 2, 3, True]}, "four numbers"),
        ({"box_xyxy": [1, 2, 3, 10**400]}, "four numbers"),
        ({"box_xyxy": [5, 5, 5, 9]}, "is empty"),
        ({"box_xyxy": A, "number": 0}, "from 1 to"),
        ({"box_xyxy": A, "number": "2"}, "from 1 to"),
        ({"box_xyxy": A, "origin": "dreamt"}, "drawn, imported, found"),
        ({"box_xyxy": A, "score": "high"}, '"score" is a number'),
        ({"box_xyxy": A, "points": [[1]]}, '"points"'),
        ({"box_xyxy": A, "runners_up": [3]}, '"runners_up"'),
        ({"mask": "all of it"}, "run lengths"),
    ],
)
def test_records_that_cannot_be_used(record: Any, sentence: str) -> None:
    with pytest.raises(RegionError, match=sentence):
        read_record(record, 1)


def test_a_number_given_twice_is_refused() -> None:
    with pytest.raises(RegionError, match="<region2> exists already"):
        RegionSet.from_records([{"number": 2, "box_xyxy": A}, {"number": 2, "box_xyxy": B}])


def test_a_mask_alone_has_its_tight_box_and_a_mask_of_another_image_is_refused() -> None:
    inside = np.zeros((80, 100), dtype=bool)
    inside[10:20, 30:50] = True
    assert drawn().add(mask=masks.encode(inside)).box_xyxy == (30, 10, 50, 20)
    with pytest.raises(MaskError, match="50 x 40"):
        drawn().add(mask=masks.encode(inside[:40, :50]))
    with pytest.raises(RegionError, match="neither a box nor a mask"):
        drawn().add()


def test_history() -> None:
    regions = drawn(A)
    regions.move(1, B)
    regions.label(1, "dog")
    regions.remove(1)
    assert regions.undo() and regions[1].label == "dog"
    assert regions.undo() and regions[1].label is None
    assert regions.undo() and regions[1].box_xyxy == A
    assert regions.redo() and regions[1].box_xyxy == B
    regions.add(C)
    assert not regions.redo(), "a new change forgets what was undone"
    assert regions.add(A).number == 3


def test_a_number_that_was_undone_is_not_given_to_another_region() -> None:
    regions = drawn(A, B)
    regions.undo()
    assert regions.add(C).number == 3


def test_moving_forgets_what_belonged_to_the_old_place() -> None:
    regions = RegionSet((100, 80))
    regions.add(A, label="dog", score=0.9, runners_up=[("cat", 0.1)])
    assert regions.move(1, A).label == "dog", "moved to where it is"
    assert regions.move(1, B) == Region(1, B)


def test_found_regions_are_numbered_in_one_go_and_taken_back_in_one() -> None:
    regions = drawn(A, B)
    regions.remove(2)
    found = regions.add_found([Region(1, B, "cup", score=0.8), Region(1, C, "cup", score=0.7)])
    assert [(region.number, region.origin) for region in found] == [(3, "found"), (4, "found")]
    regions.undo()
    assert list(regions) == [1]


def test_boxes_in_another_space_are_noticed() -> None:
    with pytest.raises(BoxError, match=r"fractions.*write 10,8,50,40 in pixels, or name the space 'unit'"):
        drawn().add((0.1, 0.1, 0.5, 0.5))
    with pytest.raises(BoxError, match=r"leaves the picture.*thousandths.*write 10,8,50,40"):
        drawn().add((100, 100, 500, 500))
    assert drawn().add((0.1, 0.1, 0.5, 0.5), space="unit").box_xyxy == pytest.approx((10, 8, 50, 40))
    assert drawn(size=(1, 1)).add((0, 0, 1, 1)).box_xyxy == (0, 0, 1, 1)


def test_unknown_numbers_are_named() -> None:
    with pytest.raises(RegionError, match="there is no <region5>; drawn so far: <region1>, <region2>"):
        drawn(A, B).remove(5)
