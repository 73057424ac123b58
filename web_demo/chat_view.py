"""The conversation as HTML. Everything that a user or a model wrote is escaped here, and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape

from gpt4roi.conversation import MENTION, WRITTEN_MENTION, Turn
from web_demo.palette import region_colour

ANY_MENTION = re.compile(f"{MENTION.pattern}|{WRITTEN_MENTION.pattern}")


def mention_html(number: int) -> str:
    """A region mention in the colour of its box."""
    return f'<span class="mention" style="--region:{region_colour(number)}">region {number}</span>'


def text_html(text: str) -> str:
    """Text with its region mentions coloured; line breaks stay (the style sheet has `white-space: pre-wrap`)."""
    parts, position = [], 0
    for match in ANY_MENTION.finditer(text):
        parts.append(escape(text[position : match.start()]))
        parts.append(mention_html(int(match.group(1) or match.group(2))))
        position = match.end()
    parts.append(escape(text[position:]))
    return "".join(parts)


def timings_text(timings: Mapping[str, float]) -> str:
    """`First word after 0.8 s · 2.1 s in all · 14 tokens · picture 0 ms · 61 of 78 prompt tokens reused`, with what is known."""
    parts = []
    if timings.get("first_token_s") is not None:
        parts.append(f"First word after {timings['first_token_s']:.1f} s")
    if timings.get("total_s") is not None:
        parts.append(f"{timings['total_s']:.1f} s in all")
    if timings.get("new_tokens") is not None:
        parts.append(f"{timings['new_tokens']:.0f} tokens")
    if timings.get("vision_s") is not None:
        parts.append(f"picture {timings['vision_s'] * 1000:.0f} ms")
    if timings.get("reused_tokens"):
        parts.append(f"{timings['reused_tokens']:.0f} of {timings['prompt_tokens']:.0f} prompt tokens reused")
    return " · ".join(parts)


def chat_html(
    turns: Sequence[Turn],
    timings: Sequence[Mapping[str, float]] = (),
    *,
    question: str | None = None,
    draft: str | None = None,
    waiting: str = "",
    suggestions: Sequence[str] = (),
) -> str:
    """The whole conversation.

    Args:
      turns: what is said and done, without the question that is being answered.
      timings: of the i-th answer.
      question: the question that is being answered.
      draft: its answer so far; None while nothing has come.
      waiting: what the answer waits for, shown until the first words come.
      suggestions: questions to offer while nothing has been said.
    """
    if not turns and question is None:
        return _empty_html(suggestions)
    parts, answers = [], 0
    last_answer = len(turns) - 1 if question is None else -1
    for index, turn in enumerate(turns):
        if turn.role == "user":
            parts.append(_user_html(turn.content))
        elif turn.role == "assistant":
            shown = timings_text(timings[answers]) if answers < len(timings) else ""
            parts.append(_answer_html(turn.content, shown, can_regenerate=index == last_answer))
            answers += 1
    if question is not None:
        parts.append(_user_html(question))
        if draft:
            body = f'<div class="words">{text_html(draft)}<span class="caret"></span></div>'
        else:
            dots = '<span class="dots"><i></i><i></i><i></i></span>'
            body = f'<div class="words waiting">{dots}<span>{escape(waiting)}</span></div>'
        parts.append(f'<div class="message answer" aria-busy="true">{body}<div class="under"></div></div>')
    return "".join(parts)


def _user_html(content: str) -> str:
    return f'<div class="message user"><div class="words">{text_html(content)}</div></div>'


def _answer_html(content: str, timings: str, can_regenerate: bool) -> str:
    regenerate = '<button type="button" data-act="regenerate" title="Answer again">Regenerate</button>' if can_regenerate else ""
    shown = text_html(content) if content.strip() else '<span class="quiet">(no words)</span>'
    return (
        f'<div class="message answer"><div class="words">{shown}</div><div class="under">'
        f'<button type="button" data-act="copy" data-text="{escape(content)}" title="Copy this answer">Copy</button>{regenerate}'
        f'<span class="timings">{escape(timings)}</span></div></div>'
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
        f"<li>Ask: “What is {mention_html(1)}?” or “Is {mention_html(1)} left of {mention_html(2)}?”</li></ol></div>"
    )
