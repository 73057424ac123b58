"""The colours of region numbers: the same on the picture, on chips, in the chat and in the downloaded PNG."""

from __future__ import annotations

# Each has a contrast of at least 4.5:1 with white, the colour of the number on it (WCAG 2.2, 1.4.3).
REGION_COLOURS = ("#2563eb", "#dc2626", "#15803d", "#9333ea", "#c2410c", "#0e7490", "#be185d", "#4d7c0f")


def region_colour(number: int) -> str:
    """`#rrggbb` of a region number, which counts from 1; colours repeat after the last."""
    return REGION_COLOURS[(number - 1) % len(REGION_COLOURS)]


def region_colour_bgr(number: int) -> tuple[int, int, int]:
    """The same colour as OpenCV wants it: blue, green, red in 0..255."""
    red, green, blue = bytes.fromhex(region_colour(number)[1:])
    return blue, green, red
