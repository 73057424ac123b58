"""`gpt4roi find IMAGE "dog, red car"`: regions by words, as text, JSON, COCO or a picture."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt4roi.commands.options import add_model_arguments
from gpt4roi.errors import UserError
from gpt4roi.images import open_image

if TYPE_CHECKING:
    from gpt4roi.regions import Region


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", help="an image file")
    parser.add_argument(
        "what", help='what to look for: "dog", "dog, red car", "second cup from the left"; "everything" lists all that is known'
    )
    parser.add_argument("--one", action="store_true", help="only the best")
    parser.add_argument("--not", dest="without", action="append", default=[], metavar="NAME", help="a name that is not meant; repeatable")
    parser.add_argument("--format", default="boxes", help="boxes, masks, or points:N for outlines of N points (8 to 64)")
    parser.add_argument("--threshold", type=float, default=None, help="least score, 0 to 1; without it 0.3")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--coco", metavar="FILE", help="write a COCO file, which CVAT and Label Studio import")
    parser.add_argument("--draw", metavar="FILE", help="write the picture with what was found drawn into it")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    image = open_image(args.image)
    points = _points(args.format)

    from gpt4roi.commands.loading import load_chat

    chat, _ = load_chat(args)
    chat.set_image(image, name=args.image)
    found = chat.find(args.what, one=args.one, without=args.without, threshold=args.threshold)
    if args.format != "boxes":
        found = [chat.outline(region.number) for region in found]
    if args.coco:
        Path(args.coco).write_text(json.dumps(as_coco(args.image, image.size, found), indent=1) + "\n", encoding="utf-8")
    if args.draw:
        _draw(image, found).save(args.draw)
    if args.json:
        records = [region.to_record() | ({"outline": outline(region, points)} if points else {}) for region in found]
        json.dump(
            {"image": {"width": image.width, "height": image.height}, "what": args.what, "regions": records}, sys.stdout, ensure_ascii=False
        )
        print()
        return 0
    if not found:
        print(f"No {args.what} here.")
    for region in found:
        box = " ".join(f"{value:g}" for value in region.box_xyxy)
        shape = " ".join(f"{x:g},{y:g}" for x, y in outline(region, points)) if points else box
        print(f"{region.mention} {region.label} {region.score or 0:.2f}  {shape}")
    return 0


def _points(form: str) -> int:
    """The number of points of an outline; 0 for boxes and masks."""
    kind, _, count = form.partition(":")
    if form in ("boxes", "masks"):
        return 0
    if kind != "points" or not count.isdigit() or not 8 <= int(count) <= 64:
        raise UserError(f"--format is boxes, masks or points:N with N from 8 to 64; got {form!r}")
    return int(count)


def outline(region: Region, count: int) -> list[tuple[float, float]]:
    """The largest outline of a region's mask as `count` points, evenly spaced along it, x and y in pixels."""
    import numpy as np

    from gpt4roi.masks import outlines

    assert region.mask is not None  # asked for with the format
    polygon = max(outlines(region.mask), key=len, default=np.zeros((0, 2)))
    points = np.asarray(polygon, dtype=float).reshape(-1, 2)
    if len(points) == 0:
        return []
    closed = np.vstack([points, points[:1]])
    lengths = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    at = np.linspace(0, lengths[-1], count, endpoint=False)
    return [
        (round(float(x), 1), round(float(y), 1))
        for x, y in zip(np.interp(at, lengths, closed[:, 0]), np.interp(at, lengths, closed[:, 1]), strict=True)
    ]


def as_coco(name: str, size_wh: tuple[int, int], found: list[Region]) -> dict[str, Any]:
    """One image and its regions as a COCO object; the scores stand beside the boxes."""
    from gpt4roi.masks import area

    labels = sorted({region.label or "thing" for region in found})
    annotations = []
    for number, region in enumerate(found, 1):
        x0, y0, x1, y1 = region.box_xyxy
        one: dict[str, Any] = {"id": number, "image_id": 1, "category_id": labels.index(region.label or "thing") + 1, "iscrowd": 0}
        one |= {
            "bbox": [round(v, 2) for v in (x0, y0, x1 - x0, y1 - y0)],
            "area": round((x1 - x0) * (y1 - y0), 2),
            "score": round(region.score or 0, 4),
        }
        if region.mask is not None:
            flat = [coordinate for point in outline(region, 64) for coordinate in point]
            one |= {"segmentation": [flat] if flat else [], "area": area(region.mask)}
        annotations.append(one)
    return {
        "images": [{"id": 1, "file_name": Path(name).name, "width": size_wh[0], "height": size_wh[1]}],
        "categories": [{"id": number, "name": label} for number, label in enumerate(labels, 1)],
        "annotations": annotations,
    }


def _draw(image: Any, found: list[Region]) -> Any:
    import numpy as np
    from PIL import Image

    from gpt4roi.plans.edits import annotated

    names = [f"{region.number} {region.label} {region.score or 0:.2f}" for region in found]
    return Image.fromarray(annotated(np.asarray(image), [region.box_xyxy for region in found], names))
