"""Where boxes are and how they stand to each other: measured, not guessed. Boxes are x0, y0, x1, y1 in pixels, y growing downwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Box = tuple[float, float, float, float]


def centre(box: Sequence[float]) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def area(box: Sequence[float]) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Common area in square pixels."""
    return area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    common = overlap(a, b)
    return common / (area(a) + area(b) - common) if common else 0.0


def gap(a: Sequence[float], b: Sequence[float]) -> float:
    """Distance in pixels between the nearest edges; 0 where boxes touch."""
    dx = max(a[0] - b[2], b[0] - a[2], 0.0)
    dy = max(a[1] - b[3], b[1] - a[3], 0.0)
    return float((dx * dx + dy * dy) ** 0.5)


def place_words(box: Sequence[float], size_wh: tuple[int, int]) -> str:
    """`at the top left`, `in the middle`, `on the right`: thirds of the picture; what fills most of it is everywhere."""
    width, height = size_wh
    if area(box) >= 0.6 * width * height:
        return "across most of the picture"
    x, y = centre(box)
    across = "left" if x < width * 0.4 else "right" if x > width * 0.6 else ""
    down = "top" if y < height / 3 else "bottom" if y > height * 2 / 3 else ""
    if down and across:
        return f"at the {down} {across}"
    return f"on the {across}" if across else f"at the {down}" if down else "in the middle"


# The orders of the plan action `select`: what comes first has the smallest key.
ORDERS: dict[str, Callable[[Sequence[float]], float]] = {
    "leftmost": lambda box: centre(box)[0],
    "rightmost": lambda box: -centre(box)[0],
    "topmost": lambda box: centre(box)[1],
    "bottommost": lambda box: -centre(box)[1],
    "largest": lambda box: -area(box),
    "smallest": area,
    "tallest": lambda box: box[1] - box[3],
    "widest": lambda box: box[0] - box[2],
}


def order(boxes: Sequence[Sequence[float]], by: str, size_wh: tuple[int, int]) -> list[int]:
    """Places of boxes in an order of `ORDERS`, or by nearness to the picture's middle (`middle`)."""
    if by == "middle":
        mid_x, mid_y = size_wh[0] / 2, size_wh[1] / 2
        return sorted(range(len(boxes)), key=lambda i: (centre(boxes[i])[0] - mid_x) ** 2 + (centre(boxes[i])[1] - mid_y) ** 2)
    return sorted(range(len(boxes)), key=lambda i: ORDERS[by](boxes[i]))


def stands(a: Sequence[float], b: Sequence[float], relation: str) -> bool:
    """Whether `a` stands so to `b`: `left of`, `right of`, `above`, `below`, `inside`, `near`, `touching`, `larger than`, `smaller than`."""
    (ax, ay), (bx, by) = centre(a), centre(b)
    diagonal = max(area(a), area(b)) ** 0.5
    return {
        "left of": ax < bx,
        "right of": ax > bx,
        "above": ay < by,
        "below": ay > by,
        "inside": overlap(a, b) >= 0.8 * area(a),
        "near": gap(a, b) <= 0.5 * diagonal,
        "touching": overlap(a, b) > 0,
        "larger than": area(a) > area(b),
        "smaller than": area(a) < area(b),
    }[relation]
