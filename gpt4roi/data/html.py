"""One HTML page of rendered samples: boxes drawn with their numbers, the words that are trained coloured."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from gpt4roi.conversation import STYLES, render
from gpt4roi.data.errors import DataError
from gpt4roi.data.sample import Region, Sample
from gpt4roi.images import PictureError, open_picture

# BGR, told apart on photographs and on each other.
COLOURS_BGR = ((60, 60, 230), (60, 190, 60), (230, 130, 40), (30, 180, 240), (200, 60, 200), (200, 200, 40), (40, 110, 250), (140, 60, 120))
LONG_SIDE_PX = 640
JPEG_QUALITY = 85

STYLE_SHEET = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#222;background:#fff}
article{display:flex;gap:1.5rem;flex-wrap:wrap;border-top:1px solid #ccc;padding:1.2rem 0}figure{margin:0;flex:0 1 26rem}
figure img{max-width:100%}.text{flex:1 1 24rem;min-width:0}pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:.3rem 0}
.trained{background:#bfe8c4}.region{background:#ffd9a0;border-radius:3px;padding:0 .25em}.image{background:#cfe0ff;border-radius:3px;padding:0 .25em}
.key{color:#555}.problem{color:#a00}h2{font-size:1rem;margin:.2rem 0}
@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}.trained{background:#24592b}.region{background:#7a4d00}.image{background:#27417a}.key{color:#aaa}.problem{color:#f88}}
"""


def draw_regions(rgb: np.ndarray, regions: Sequence[Region], numbers: Sequence[int] | None = None) -> np.ndarray:
    """The picture with every box and its number.

    Args:
      rgb: uint8[H, W, 3].
      regions: boxes in pixels of this picture.
      numbers: region numbers; from 1 if not given.
    Returns:
      uint8[H, W, 3], a copy.
    """
    drawn = np.ascontiguousarray(rgb).copy()
    thickness = max(1, round(max(drawn.shape[:2]) / 300))
    scale = max(0.4, max(drawn.shape[:2]) / 1100)
    for position, region in enumerate(regions):
        number = position + 1 if numbers is None else numbers[position]
        colour = COLOURS_BGR[(number - 1) % len(COLOURS_BGR)][::-1]
        x0, y0, x1, y1 = (round(value) for value in region.box_xyxy)
        cv2.rectangle(drawn, (x0, y0), (x1, y1), colour, thickness)
        (width, height), baseline = cv2.getTextSize(str(number), cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
        # Inside the top left corner, moved into the picture for boxes at its edge.
        left = min(max(x0, 0), max(0, drawn.shape[1] - width - 4))
        top = min(max(y0, 0), max(0, drawn.shape[0] - height - baseline - 4))
        cv2.rectangle(drawn, (left, top), (left + width + 4, top + height + baseline + 4), colour, -1)
        cv2.putText(
            drawn, str(number), (left + 2, top + height + 2), cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), thickness, cv2.LINE_AA
        )
    return drawn


def picture_html(sample: Sample) -> str:
    """The picture, at most LONG_SIDE_PX on its long side, as an `img` with its data inside; or what is wrong with it."""
    if sample.image is None:
        return "<p class=key>text only</p>"
    try:
        picture = open_picture(sample.image)
    except PictureError as error:
        return f"<p class=problem>{html.escape(str(error))}</p>"
    scale = min(1.0, LONG_SIDE_PX / max(picture.size))
    width, height = (max(1, round(side * scale)) for side in picture.size)
    regions = [Region(_scaled(region.box_xyxy, width / picture.width, height / picture.height)) for region in sample.regions]
    drawn = draw_regions(np.asarray(picture.resize((width, height))), regions)
    is_written, buffer = cv2.imencode(".jpg", drawn[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not is_written:
        raise DataError("the drawn picture could not be encoded as JPEG", sample.image)
    data = base64.b64encode(buffer.tobytes()).decode("ascii")
    return f'<img src="data:image/jpeg;base64,{data}" width={width} height={height} alt="{html.escape(sample.image.name)}">'


def _scaled(box: tuple[float, float, float, float], x: float, y: float) -> tuple[float, float, float, float]:
    return box[0] * x, box[1] * y, box[2] * x, box[3] * y


def text_html(sample: Sample, processor: Any | None = None) -> str:
    """The conversation as the model reads it, trained parts marked.

    With a processor, token by token; without, by characters in the default prompt style with a plain chat template.
    """
    if processor is not None:
        return _tokens_html(sample, processor)
    style = STYLES["chat_template"]
    segments = render(list(sample.conversation), style, has_image=sample.image is not None, chat_template=plain_chat_template)
    pieces = []
    for segment in segments:
        if segment.is_image:
            pieces.append("<span class=image>picture</span>")
        elif segment.region_number is not None:
            pieces.append(f"<span class=region>region {segment.region_number}</span>")
        else:
            text = html.escape(segment.text)
            pieces.append(f"<span class=trained>{text}</span>" if segment.trained else text)
    return f"<pre>{''.join(pieces)}</pre>"


def plain_chat_template(messages: list[dict[str, str]], add_generation_prompt: bool) -> str:
    """Turns between `<|im_start|>role` and `<|im_end|>`, as most small instruction models write them."""
    text = "".join(f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n" for message in messages)
    return text + ("<|im_start|>assistant\n" if add_generation_prompt else "")


def _tokens_html(sample: Sample, processor: Any) -> str:
    numbers = range(1, len(sample.regions) + 1)
    encoded = processor.encode(list(sample.conversation), has_image=sample.image is not None, known_numbers=numbers)
    regions = iter(encoded.region_numbers)
    pieces = []
    num_image_tokens = 0
    for token_id, trained in zip(encoded.input_ids, encoded.trained, strict=True):
        if token_id == processor.image_token_id:
            num_image_tokens += 1
            if num_image_tokens == 1:
                pieces.append("<span class=image>picture</span>")
            continue
        if token_id == processor.region_token_id:
            pieces.append(f"<span class=region>region {next(regions)}</span>")
            continue
        text = html.escape(processor.tokenizer.decode([token_id]))
        pieces.append(f'<span class=trained title="{token_id}">{text}</span>' if trained else f'<span title="{token_id}">{text}</span>')
    note = f"{len(encoded.input_ids)} tokens, {num_image_tokens} of the picture, {sum(encoded.trained)} trained"
    return f"<pre>{''.join(pieces)}</pre><p class=key>{note}</p>"


def page_html(samples: Sequence[Sample], title: str, processor: Any | None = None) -> str:
    """The whole page; nothing is loaded from elsewhere."""
    articles = []
    for sample in samples:
        labels = ", ".join(f"{number} {region.label}" for number, region in enumerate(sample.regions, start=1) if region.label)
        heading = f"<h2>{html.escape(sample.sample_id)}</h2><p class=key>{html.escape(str(sample.image or ''))}</p>"
        try:
            text = text_html(sample, processor)
        except ValueError as error:
            text = f"<p class=problem>{html.escape(str(error))}</p>"
        articles.append(
            f"<article><figure>{picture_html(sample)}<figcaption class=key>{html.escape(labels)}</figcaption></figure>"
            f"<div class=text>{heading}{text}</div></article>"
        )
    legend = "<span class=trained>trained</span> <span class=region>region features</span> <span class=image>picture features</span>"
    safe = html.escape(title)
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>{safe}</title>"
        f"<style>{STYLE_SHEET}</style><h1>{safe}</h1><p>{legend}</p>{''.join(articles)}</html>\n"
    )
