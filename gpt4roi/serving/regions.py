"""The regions of a request: content parts, a list beside the messages, or pixels in the text behind a name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from gpt4roi.boxes import SPACES, to_pixels
from gpt4roi.regions import Region, RegionSet, read_record
from gpt4roi.serving.errors import ApiError
from gpt4roi.serving.schema import RegionFields

# Detectors round outwards; as the importers do, so much beyond the edge is cut and more is a mistake.
EDGE_SHARE = 0.01
_NUMBER = r"\s*(-?\d{1,7}(?:\.\d{1,9})?)\s*"
WRITTEN_BOX = re.compile(
    rf"<\s*region\s*(\d{{1,6}})\s*>\s*\[{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\](?:\s*</\s*region\s*\1\s*>)?", re.IGNORECASE
)


def take_written(text: str) -> tuple[str, list[RegionFields]]:
    """`What is <region1>[34, 50, 210, 300]?` as `What is <region1>?` and the region; proxies let texts through unchanged."""
    found = [RegionFields(number=int(match[1]), box_xyxy=[float(match[i]) for i in range(2, 6)]) for match in WRITTEN_BOX.finditer(text)]
    return WRITTEN_BOX.sub(lambda match: f"<region{int(match[1])}>", text), found


def region_set(given: Sequence[RegionFields], image_size_wh: tuple[int, int]) -> RegionSet:
    """All regions of an image; one that is given again unchanged counts once.

    Raises:
      ApiError, RegionError, BoxError, MaskError: the first that cannot be used.
    """
    regions = RegionSet(image_size_wh)
    for region in _read(given, image_size_wh):
        if region.number in regions:
            if regions[region.number].box_xyxy != _trial(region, image_size_wh).box_xyxy or regions[region.number].mask != region.mask:
                raise ApiError(400, f"{region.mention} is given twice with different boxes; use another number", "regions")
            continue
        regions.add(region.box_xyxy, number=region.number, label=region.label, mask=region.mask, points=region.points)
    return regions


def _read(given: Sequence[RegionFields], image_size_wh: tuple[int, int]) -> Iterator[Region]:
    for position, fields in enumerate(given):
        record = {name: value for name, value in fields.model_dump().items() if value is not None}
        if record.pop("space", "pixels") not in SPACES:
            raise ApiError(400, f"space is one of {', '.join(SPACES)}", "regions")
        box = record.pop("box", None)
        box = record.get("box_xyxy", box)
        if box is not None:
            if len(box) != 4:
                name = f"<region{record['number']}>" if "number" in record else f"region {position + 1} of the list"
                raise ApiError(400, f"{name}: the box is four numbers x0, y0, x1, y1; got {len(box)}", "regions")
            record["box_xyxy"] = _inside(to_pixels(box, image_size_wh, fields.space), image_size_wh)
        width, height = image_size_wh
        # Before it is read: run lengths of a few bytes can name any size.
        if "mask" in record and record["mask"].get("size") != [height, width]:
            raise ApiError(
                400, f"a mask's size is that of its picture, [{height}, {width}]; got {str(record['mask'].get('size'))[:40]}", "regions"
            )
        yield read_record(record, position)


def _inside(box: Sequence[float], image_size_wh: tuple[int, int]) -> list[float]:
    """Cut by up to a hundredth of the image's side; a box further out stays as it is, to be refused."""
    width, height = image_size_wh
    sides = (width, height, width, height)
    if any(value < -EDGE_SHARE * side or value > side * (1 + EDGE_SHARE) for value, side in zip(box, sides, strict=True)):
        return list(box)
    return [min(max(value, 0.0), float(side)) for value, side in zip(box, sides, strict=True)]


def _trial(region: Region, image_size_wh: tuple[int, int]) -> Region:
    return RegionSet(image_size_wh).add(region.box_xyxy, number=region.number, mask=region.mask)
