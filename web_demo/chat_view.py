"""The conversation as HTML. Everything that a user or a model wrote is escaped here, and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Any

from gpt4roi.conversation import MENTION, WRITTEN_MENTION, mentioned_numbers
from gpt4roi.meaning import spell_mentions
from web_demo.palette import region_colour

ANY_MENTION = re.compile(f"{MENTION.pattern}|{WRITTEN_MENTION.pattern}")


def mention_html(number: int) -> str:
    """A region mention in the colour of its box; the canvas selects the box when it is clicked."""
    colour = region_colour(number)
    return f'<span class="mention" role="button" tabindex="0" data-number="{number}" style="--region:{colour}">region {number}</span>'


def text_html(text: str) -> str:
    """Text with its region mentions coloured; line breaks stay (the style sheet has `white-space: pre-wrap`)."""
    parts, position = [], 0
    for match in ANY_MENTION.finditer(text):
        parts.append(escape(text[position : match.start()]))
        parts.append(mention_html(int(match.group(1) or match.group(2))))
        position = match.end()
    parts.append(escape(text[position:]))
    return "".join(parts)


def timings_text(timings: Any) -> str:
    """`First word after 0.8 s · 2.1 s in all · 14 tokens · picture 0 ms · 61 of 78 prompt tokens reused`, of `engine.events.Timings`."""
    parts = [
        f"First word after {timings.first_token_s:.1f} s",
        f"{timings.total_s:.1f} s in all",
        f"{timings.new_tokens} tokens",
        f"picture {timings.vision_s * 1000:.0f} ms",
    ]
    if timings.reused_tokens:
        parts.append(f"{timings.reused_tokens} of {timings.prompt_tokens} prompt tokens reused")
    return " · ".join(parts)


def chat_html(
    exchanges: Sequence[Any],
    *,
    question: str | None = None,
    draft: str | None = None,
    waiting: str = "",
    suggestions: Sequence[str] = (),
) -> str:
    """The whole conversation.

    Args:
      exchanges: what is said and done (`gpt4roi.chat.Exchange`), without the question that is being answered.
      question: the question that is being answered.
      draft: its answer so far; None while nothing has come.
      waiting: what the answer waits for, shown until the first words come.
      suggestions: questions to offer while nothing has been said.
    """
    if not exchanges and question is None:
        return _empty_html(suggestions)
    parts = []
    for exchange in exchanges:
        unnamed = [
            number for number in exchange.regions if number not in mentioned_numbers(spell_mentions(exchange.question, exchange.regions))
        ]
        parts.append(_user_html(exchange.question, unnamed))
        parts.append(_answer_html(exchange, can_regenerate=question is None and exchange is exchanges[-1]))
    if question is not None:
        parts.append(_user_html(question))
        if draft:
            body = f'<div class="words">{text_html(draft)}<span class="caret"></span></div>'
        else:
            dots = '<span class="dots"><i></i><i></i><i></i></span>'
            body = f'<div class="words waiting">{dots}<span>{escape(waiting)}</span></div>'
        parts.append(f'<div class="message answer" aria-busy="true">{body}<div class="under"></div></div>')
    return "".join(parts)


def _user_html(content: str, meant: Sequence[int] = ()) -> str:
    """`meant`: regions that the question is about without naming them; each is shown as a chip."""
    chips = "".join(f" {mention_html(number)}" for number in meant)
    return f'<div class="message user"><div class="words">{text_html(content)}{chips}</div></div>'


def _answer_html(exchange: Any, can_regenerate: bool) -> str:
    regenerate = '<button type="button" data-act="regenerate" title="Answer again">Regenerate</button>' if can_regenerate else ""
    content = exchange.text
    shown = text_html(content) if content.strip() else '<span class="quiet">(no words)</span>'
    stale = '<span class="quiet stale">about where the region was before</span>' if exchange.stale else ""
    details = f'<details class="timings"><summary title="How long it took">i</summary>{escape(timings_text(exchange.timings))}</details>'
    return (
        f'<div class="message answer{" is-stale" if exchange.stale else ""}"><div class="words">{shown}</div><div class="under">'
        f'<button type="button" data-act="copy" data-text="{escape(content)}" title="Copy this answer">Copy</button>{regenerate}'
        f"{stale}{details}</div></div>"
    )


def _empty_html(suggestions: Sequence[str]) -> str:
    if suggestions:
        buttons = "".join(
            f'<button type="button" class="suggestion" data-question="{escape(text)}">{text_html(text)}</button>' for text in suggestions
        )
        return f'<div class="empty"><h2>Ask about these regions</h2><p>Pick a question or write your own.</p>{buttons}</div>'
    return (
        '<div class="empty"><h2>Talk about regions</h2><ol><li>Open a photo, or try an example.</li>'
        "<li>Drag boxes around what interests you.</li>"
        f"<li>Ask: “What is this?” or “Is {mention_html(1)} left of {mention_html(2)}?”</li></ol></div>"
    )
