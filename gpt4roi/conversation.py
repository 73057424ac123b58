"""Turns, roles, separators, `<regionN>` mentions: text only, no tensors, no tokenizer.

A conversation is a list of `Turn`s. Users write `<region2>`; it means region number 2, whoever mentions it first and however
often. `render` turns a conversation into `Segment`s of model text: which words are trained, which placeholder carries which region.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from gpt4roi.errors import UserError

ROLES = ("system", "user", "assistant")
MENTION = re.compile(r"<region\s*(\d+)>")
# What a model writes for a region in its own answers: "region2", "region 2", "Region 2".
WRITTEN_MENTION = re.compile(r"(?<![<\w])[Rr]egion ?(\d+)\b(?!>)")


class ConversationError(UserError):
    """A conversation that cannot be rendered; the message is a sentence for the user."""


@dataclass(frozen=True)
class Turn:
    """One turn. `content` may mention regions as `<regionN>` (N counts from 1)."""

    role: str
    content: str

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ConversationError(f"a turn's role is one of {', '.join(ROLES)}; got '{self.role}'")

    def to_dict(self) -> dict[str, str]:
        return {"role": self.role, "content": self.content}


def as_turns(conversation: str | Sequence[Turn | Mapping[str, str]]) -> list[Turn]:
    """A string (one user turn), Turns, or {"role", "content"} dicts, as Turns."""
    if isinstance(conversation, str):
        return [Turn("user", conversation)]
    turns = []
    for item in conversation:
        if isinstance(item, Turn):
            turns.append(item)
        elif isinstance(item, Mapping) and isinstance(item.get("role"), str) and isinstance(item.get("content"), str):
            turns.append(Turn(item["role"], item["content"]))
        else:
            raise ConversationError(f'a turn is {{"role": …, "content": …}} with two strings; got {item!r}')
    return turns


def mentioned_numbers(text: str) -> list[int]:
    """Region numbers in order of mention, repeats included."""
    return [int(match.group(1)) for match in MENTION.finditer(text)]


def check_mentions(text: str, known_numbers: Collection[int]) -> None:
    """Refuse a text that names a region which was never drawn.

    Raises:
      ConversationError: naming the region and what to do.
    """
    for number in mentioned_numbers(text):
        if number not in known_numbers:
            drawn = ", ".join(f"<region{n}>" for n in sorted(known_numbers))
            advice = f"drawn so far: {drawn}" if drawn else "no box has been drawn yet"
            raise ConversationError(
                f"the text names <region{number}> but there is no box with that number ({advice}); draw it or rename it"
            )


def restore_mentions(text: str, known_numbers: Collection[int]) -> str:
    """`region 2` in a model's answer back to `<region2>`, where region 2 exists."""
    return WRITTEN_MENTION.sub(lambda m: f"<region{m.group(1)}>" if int(m.group(1)) in known_numbers else m.group(0), text)


@dataclass(frozen=True)
class Segment:
    """A run of model text.

    `trained`: the language model is trained on it. `region_number`: the segment is the one placeholder of that region's
    features. `is_image`: the segment is the place of the picture's features. At most one of the two last holds.
    """

    text: str
    trained: bool = False
    region_number: int | None = None
    is_image: bool = False


@dataclass(frozen=True)
class PromptStyle:
    """How one model family writes pictures, regions and turns.

    image_prefix: text put before the first user turn when there is a picture; `{image}` is where its features go.
    mention: text of a user's mention that carries features; `{number}`, and `{region}` for the placeholder.
    plain_mention: text of a mention that carries none (every assistant mention; repeats, if features go to first mentions).
    features_at: `every` user mention carries features, or only the `first` of each region (as the released model was trained).
    separator: None = the tokenizer's own chat template renders the turns; otherwise the separator of Vicuna v0 turns.
    system: the system sentence; None leaves it to the chat template.
    """

    image_prefix: str
    mention: str
    plain_mention: str
    features_at: str = "every"
    separator: str | None = None
    system: str | None = None


STYLES = {
    # arXiv:2307.03601 as released: conversation "v1_2", stage-2 image sentence (docs: reference section 5.1).
    "vicuna_v0": PromptStyle(
        image_prefix="The <im_start>{image}<im_end> provides an overview of the picture.\n",
        mention="region{number} {region}",
        plain_mention="region{number}",
        features_at="first",
        separator="###",
        system="A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, "
        "detailed, and polite answers to the human's questions.",
    ),
    "chat_template": PromptStyle(
        image_prefix="Picture:{image}\n",
        mention="region {number}{region}",
        plain_mention="region {number}",
    ),
}


def without_separator(text: str, style: PromptStyle) -> str:
    """A text in which the style's separator stands nowhere: the signs of any run that holds it are set apart, so nobody can forge a turn."""
    if style.separator is None:
        return text
    sign = style.separator[0]
    run = re.compile(rf"(?:{re.escape(sign)}[\u200b-\u200f\u2060\ufeff]*){{{len(style.separator)},}}")
    return run.sub(lambda match: " ".join(sign * match[0].count(sign)), text)


def render(
    turns: Sequence[Turn],
    style: PromptStyle,
    *,
    has_image: bool,
    add_generation_prompt: bool = False,
    chat_template: Callable[[list[dict[str, str]], bool], str] | None = None,
) -> list[Segment]:
    """A conversation as segments of model text.

    The assistant's words and its end mark are trained, nothing else. Spans are by construction, not by counting tokens: the
    reference's counted mask drifts as soon as whitespace beside a placeholder is dropped (reference section 5.3).

    Args:
      turns: optional system turn, then user and assistant turns in any number.
      has_image: whether the picture's placeholder goes before the first user turn.
      add_generation_prompt: end where the assistant's next answer begins.
      chat_template: messages and add_generation_prompt to text, for styles without a separator.
    Raises:
      ConversationError: no user turn to carry the picture, or a chat template that rewrites earlier turns.
    """
    turns = list(turns)
    first_user = next((i for i, turn in enumerate(turns) if turn.role == "user"), None)
    if has_image and first_user is None:
        raise ConversationError("a conversation about a picture needs at least one user turn")
    if style.separator is not None:
        pieces = _render_separated(turns, style, add_generation_prompt)
    else:
        if chat_template is None:
            raise ConversationError("this prompt style needs the tokenizer's chat template; the tokenizer has none")
        pieces = _render_templated(turns, style, add_generation_prompt, chat_template)
    segments: list[Segment] = []
    seen: set[int] = set()
    for text, trained, turn_index in pieces:
        if turn_index is None:
            segments.append(Segment(text, trained))
            continue
        if has_image and turn_index == first_user:
            before, after = style.image_prefix.split("{image}")
            segments += [Segment(before), Segment("", is_image=True), Segment(after)]
        segments += _mention_segments(text, style, trained, turns[turn_index].role == "user", seen)
    return _merged(segments)


def _render_separated(turns: list[Turn], style: PromptStyle, add_generation_prompt: bool) -> list[tuple[str, bool, int | None]]:
    """Vicuna v0: `system\\n\\n### Human: …\\n### Assistant: …\\n###`; the answer ends at the separator after it, which is trained with it."""
    system = next((turn.content for turn in turns if turn.role == "system"), style.system or "")
    pieces: list[tuple[str, bool, int | None]] = [(f"{system}\n\n", False, None)]
    opening: str = style.separator or ""
    for index, turn in enumerate(turns):
        if turn.role == "user":
            pieces += [(f"{opening} Human: ", False, None), (turn.content, False, index), ("\n", False, None)]
            opening = style.separator or ""
        elif turn.role == "assistant":
            pieces += [(f"{opening} Assistant: ", False, None), (turn.content, True, index), (f"\n{style.separator}", True, None)]
            opening = ""
    if add_generation_prompt:
        pieces.append((f"{opening} Assistant:", False, None))
    return pieces


def _render_templated(
    turns: list[Turn], style: PromptStyle, add_generation_prompt: bool, chat_template: Callable[[list[dict[str, str]], bool], str]
) -> list[tuple[str, bool, int | None]]:
    """Split the template's output at each turn's content, which goes in as a marker so that no template can alter it."""
    markers = [f"\u27e6turn{index}\u27e7" for index in range(len(turns))]
    messages = [{"role": turn.role, "content": marker} for turn, marker in zip(turns, markers, strict=True)]
    if style.system is not None and not any(turn.role == "system" for turn in turns):
        messages.insert(0, {"role": "system", "content": style.system})
    text = chat_template(messages, add_generation_prompt)
    has_answer = any(turn.role == "assistant" for turn in turns)
    end_mark = _end_mark(chat_template) if has_answer else ""
    pieces: list[tuple[str, bool, int | None]] = []
    for index, (turn, marker) in enumerate(zip(turns, markers, strict=True)):
        before, found, text = text.partition(marker)
        if not found:
            raise ConversationError(f"the tokenizer's chat template dropped turn {index + 1} ({turn.role})")
        pieces += [(before, False, None), (turn.content, turn.role == "assistant", index)]
        if turn.role == "assistant":
            if not text.startswith(end_mark):
                raise ConversationError(
                    f"the tokenizer's chat template does not end answer {index + 1} with '{end_mark}' as it ends others"
                )
            pieces.append((end_mark, True, None))
            text = text[len(end_mark) :]
    pieces.append((text, False, None))
    return pieces


def _end_mark(chat_template: Callable[[list[dict[str, str]], bool], str]) -> str:
    """What a chat template writes after an answer, and the model must learn to write: what is left when a conversation ends there.

    Looking for a line break instead would fail on Llama 3 and Mistral, which put none between turns.

    Raises:
      ConversationError: nothing follows an answer, so a model could never learn to stop.
    """
    question, answer = "\u27e6question\u27e7", "\u27e6answer\u27e7"
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    _, _, tail = chat_template(messages, False).rpartition(answer)
    if not tail:
        raise ConversationError("the tokenizer's chat template writes nothing after an answer, so the model could not learn to stop")
    return tail.rstrip() or tail


def _mention_segments(text: str, style: PromptStyle, trained: bool, by_user: bool, seen: set[int]) -> list[Segment]:
    segments: list[Segment] = []
    position = 0
    for match in MENTION.finditer(text):
        number = int(match.group(1))
        segments.append(Segment(text[position : match.start()], trained))
        carries = by_user and (style.features_at == "every" or number not in seen)
        if carries:
            seen.add(number)
            before, after = style.mention.format(number=number, region="\0").split("\0")
            segments += [Segment(before, trained), Segment("", trained, region_number=number), Segment(after, trained)]
        else:
            segments.append(Segment(style.plain_mention.format(number=number), trained))
        position = match.end()
    segments.append(Segment(text[position:], trained))
    return segments


def _merged(segments: list[Segment]) -> list[Segment]:
    merged: list[Segment] = []
    for segment in segments:
        is_text = segment.region_number is None and not segment.is_image
        if is_text and not segment.text:
            continue
        last = merged[-1] if merged else None
        if last and is_text and last.region_number is None and not last.is_image and last.trained == segment.trained:
            merged[-1] = Segment(last.text + segment.text, last.trained)
        else:
            merged.append(segment)
    return merged
