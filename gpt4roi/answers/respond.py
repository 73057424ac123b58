"""From a question to a fact: each kind of question has one function, which looks and says what it saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from gpt4roi.answers.facts import Fact, Look
from gpt4roi.answers.phrases import NUMBERS, Phrase
from gpt4roi.answers.places import ORDERS, area, centre, gap, iou, order, overlap, place_words, stands
from gpt4roi.answers.questions import Question, read_question
from gpt4roi.colors import COLORS, color_phrase
from gpt4roi.eyes.names import listed, plural, with_article
from gpt4roi.regions import Region

# Below this the name is not said as if it were known; from here on a yes is said.
SURE = 0.5
YES = 0.5
CAPABILITIES = (
    "I can name what is in a box, find and count things in the picture, compare regions, and tell colors and places. "
    "Draw a box, or ask about the whole picture."
)
CANNOT = "I cannot tell that from the picture"
LIMITS = "I can name, find, count, compare and measure; I do not judge actions, moods or materials"
_WORDS = {value: word for word, value in NUMBERS.items()}
_ORDER_WORDS = {
    "bigger": "largest", "larger": "largest", "biggest": "largest", "largest": "largest", "taller": "tallest", "tallest": "tallest",
    "wider": "widest", "widest": "widest", "smaller": "smallest", "smallest": "smallest", "higher": "topmost", "highest": "topmost",
    "above": "topmost", "at the top": "topmost", "lower": "bottommost", "lowest": "bottommost", "below": "bottommost", "left": "leftmost",
    "leftmost": "leftmost", "on the left": "leftmost", "to the left": "leftmost", "right": "rightmost", "rightmost": "rightmost",
    "on the right": "rightmost", "to the right": "rightmost", "closer": "bottommost", "nearer": "bottommost", "nearest": "bottommost",
    "closest": "bottommost",
}  # fmt: skip


def respond(asked: str, look: Look) -> Fact | None:
    """The fact that answers a question; None where it is no question about the picture and the language model may speak.

    Args:
      asked: in English, with regions named as `<regionN>`.
    """
    question = read_question(asked, len(look.regions), len(look.meant))
    return _ANSWERS[question.kind](question, look)


def _chat(question: Question, look: Look) -> Fact:
    return Fact(f"Hello! {CAPABILITIES}")


def _cannot(question: Question, look: Look) -> Fact:
    return Fact(f"{CANNOT}.")


def _unknown(question: Question, look: Look) -> Fact:
    seen = [with_article(look.name_of(look.regions[number].box_xyxy)) for number in look.meant]
    return Fact(f"I see {listed(seen)} there. {CANNOT}: {LIMITS}." if seen else f"{CANNOT}: {LIMITS}.")


# Names


def _name(question: Question, look: Look) -> Fact:
    among = _among(question, look)
    named = [_named(look, look.regions[number], among) for number in look.meant]
    scores = {name: score for _, _, found in named for name, score in found.items()}
    if len(named) == 1:
        said, is_sure, _ = named[0]
        return Fact(f"{said[0].upper()}{said[1:]}." if is_sure else f"I am not sure: maybe {said}.", scores=scores)
    pairs = [f"{look.regions[n].mention} {'is' if sure else 'may be'} {said}" for n, (said, sure, _) in zip(look.meant, named, strict=True)]
    return Fact(f"{listed(pairs)}.", scores=scores)


def _among(question: Question, look: Look) -> tuple[int, ...] | None:
    """The names that a question leaves open: of "which animal" the animals."""
    if not question.phrases:
        return None
    meaning = look.sight.names.lookup(question.phrases[0], guess=False)
    return meaning.ids if meaning is not None and len(meaning.ids) > 1 else None


def _named(look: Look, region: Region, among: Sequence[int] | None) -> tuple[str, bool, dict[str, float]]:
    """How a region is named, whether that is sure, and the scores."""
    if region.label is not None and region.score is None:
        return with_article(region.label), True, {region.label: 1.0}  # A person has said so.
    guess = look.sight.guess(region.box_xyxy, among)
    scores = {guess.name: guess.score} | dict(guess.runners_up)
    name = with_article(guess.name)
    if guess.kind is not None:
        name = f"{name}, it looks like {with_article(guess.kind)}"
    if guess.score >= SURE or not guess.runners_up:
        return name, True, scores
    second = guess.runners_up[0]
    if second[1] < 0.5 * guess.score:
        return f"probably {name}", True, scores
    return f"{with_article(guess.name)} or {with_article(second[0])}", False, scores


def _is(question: Question, look: Look) -> Fact:
    phrase = look.phrase(question.phrases[0])
    if not look.meant:
        return _exists(question, look)
    if phrase.meaning is None or not phrase.noun:
        return _is_colored(phrase, look) if phrase.colors else _unknown(question, look)
    results = [_is_one(look, look.regions[number], phrase) for number in look.meant]
    if len(results) == 1:
        return results[0]
    yes = all(result.yes for result in results)
    return Fact(" ".join(f"{look.regions[n].mention}: {r.text}" for n, r in zip(look.meant, results, strict=True)), yes=yes)


def _is_one(look: Look, region: Region, phrase: Phrase) -> Fact:
    assert phrase.meaning is not None
    probability = look.sight.probability(region.box_xyxy, phrase.meaning.ids)
    name = with_article(look.name_of(region.box_xyxy))
    scores = {phrase.noun: probability}
    if probability < YES:
        return Fact(f"No, it looks like {name}.", scores=scores, yes=False)
    if phrase.colors and not look.has_colors(region, phrase.colors):
        return Fact(f"No: it is {name}, but {color_phrase(look.colors(region))}.", scores=scores, yes=False)
    if not phrase.meaning.is_exact or phrase.words:
        return Fact(
            f"It looks like {name}; I cannot tell whether it is {with_article(' '.join([*phrase.words, phrase.noun]))}.", scores=scores
        )
    return Fact(f"Yes, {name}.", scores=scores, yes=True)


def _is_colored(phrase: Phrase, look: Look) -> Fact:
    region = look.regions[look.meant[0]]
    yes = look.has_colors(region, phrase.colors)
    return Fact(f"{'Yes' if yes else 'No'}, it is {color_phrase(look.colors(region))}.", yes=yes)


def _use(question: Question, look: Look) -> Fact:
    meaning = look.sight.names.lookup(question.phrases[0])
    region = look.regions[look.meant[0]]
    assert meaning is not None  # The uses stand for words of the table.
    yes = look.sight.probability(region.box_xyxy, meaning.ids) >= YES
    return Fact(f"{'Yes' if yes else 'No'}, it looks like {with_article(look.name_of(region.box_xyxy))}.", yes=yes)


def _either(question: Question, look: Look) -> Fact:
    phrases = [look.phrase(option) for option in question.phrases]
    colors = [phrase.colors[0] if phrase.colors else phrase.noun for phrase in phrases]
    region = look.regions[look.meant[0]] if look.meant else None
    if region is not None and all(color in COLORS or color == "grey" for color in colors):
        shares = look.colors(region)
        best = max(colors, key=lambda color: shares[COLORS.index("gray" if color == "grey" else color)])
        return Fact(
            f"{best.capitalize()}.", scores={color: float(shares[COLORS.index("gray" if color == "grey" else color)]) for color in colors}
        )
    known = [phrase for phrase in phrases if phrase.meaning is not None]
    if region is None or len(known) < len(phrases):
        return _unknown(question, look)
    odds = {phrase.noun: look.sight.probability(region.box_xyxy, phrase.meaning.ids) for phrase in known if phrase.meaning}
    best = max(odds, key=lambda noun: odds[noun])
    total = sum(odds.values())
    if total < 0.1:
        return Fact(f"Neither, it looks like {with_article(look.name_of(region.box_xyxy))}.", scores=odds)
    return Fact(f"{with_article(best).capitalize()}.", scores={noun: value / total for noun, value in odds.items()})


# The whole picture


def _exists(question: Question, look: Look) -> Fact:
    phrase = look.phrase(question.phrases[0])
    if phrase.meaning is None:
        return Fact(f"{CANNOT}: I do not know what {phrase.noun or phrase.text} looks like.")
    found = look.find(phrase)
    what = " ".join([*phrase.colors, phrase.noun])
    if not found:
        return Fact(f"No, I see no {what} here.", yes=False, number=0)
    several = len(found) > 1
    label = found[0].label or phrase.noun
    shown = f"{len(found)} {plural(label, len(found))}" if several else with_article(label)
    return Fact(f"Yes, I see {shown}: {listed(_mentions(found))}.", tuple(found), yes=True, number=len(found))


def _count(question: Question, look: Look) -> Fact:
    phrase = look.phrase(question.phrases[0])
    if phrase.meaning is None:
        return Fact(f"{CANNOT}: I do not know what {phrase.noun or phrase.text} looks like.")
    found = look.find(phrase)
    if not found:
        return Fact(f"None: I see no {' '.join([*phrase.colors, phrase.noun])} here.", number=0)
    count = _WORDS.get(len(found), str(len(found)))
    noun = phrase.meaning.word
    return Fact(f"{count.capitalize()} {plural(noun, len(found))}: {listed(_mentions(found))}.", tuple(found), number=len(found))


def _where(question: Question, look: Look) -> Fact:
    text = question.phrases[0]
    region = _one(text, look)
    if region is not None and region.origin != "found":
        return Fact(f"{_place(region, look)[0].upper()}{_place(region, look)[1:]}.")
    phrase = look.phrase(text)
    found = look.find(phrase) or ([region] if region is not None else [])
    if not found:
        what = " ".join([*phrase.colors, phrase.noun]) or phrase.text
        return Fact(f"I see no {what} here." if phrase.meaning else f"{CANNOT}: I do not know what {what} looks like.", number=0)
    if len(found) == 1:
        return Fact(f"The {phrase.noun or found[0].label} is {_place(found[0], look)}: {{0}}.", tuple(found), number=1)
    places = [f"{mention} {place_words(region.box_xyxy, look.size_wh)}" for mention, region in zip(_mentions(found), found, strict=True)]
    return Fact(f"I see {len(found)} {plural(phrase.noun or 'thing', len(found))}: {listed(places)}.", tuple(found), number=len(found))


def _place(region: Region, look: Look) -> str:
    """Where a region is in the picture, and on what it stands or lies if that was found."""
    where = place_words(region.box_xyxy, look.size_wh)
    under = _support(region, look)
    return f"{where}, on {with_article(under)}" if under else where


def _support(region: Region, look: Look) -> str | None:
    """What bears a region: a bed, couch, table … that reaches below it and overlaps it."""
    names = look.sight.names
    ids = sorted({index for word in ("furniture", "dining table", "bed", "couch", "bench") if (m := names.lookup(word)) for index in m.ids})
    bearing = [
        (overlap(region.box_xyxy, box), names[index])
        for box, index, _ in look.sight.find([i for i in ids if names.entries[i].detector is not None])
        if iou(box, region.box_xyxy) < 0.6
        and area(box) > 1.2 * area(region.box_xyxy)
        and overlap(region.box_xyxy, box) >= 0.5 * area(region.box_xyxy)
    ]
    return max(bearing)[1] if bearing else None


def _describe(question: Question, look: Look) -> Fact:
    if look.meant:
        return _describe_regions(look)
    found = look.things()
    if not found:
        return Fact(
            f"I am not sure what this shows: it looks like {with_article(look.name_of((0.0, 0.0, float(look.size_wh[0]), float(look.size_wh[1]))))}."
        )
    counts = Counter(region.label or "thing" for region in found)
    parts = [f"{_WORDS.get(count, count)} {plural(label, count)}" if count > 1 else with_article(label) for label, count in counts.items()]
    largest = found[0]
    main = f"the {largest.label} {place_words(largest.box_xyxy, look.size_wh)} is {color_phrase(look.colors(largest))}"
    return Fact(f"I see {listed(parts)}; {main}.", tuple(found))


def _describe_regions(look: Look) -> Fact:
    parts = []
    for number in look.meant:
        region = look.regions[number]
        said, is_sure, _ = _named(look, region, None)
        share = 100 * area(region.box_xyxy) / (look.size_wh[0] * look.size_wh[1])
        parts.append(
            f"{region.mention} shows {said if is_sure else f'perhaps {said}'}, {color_phrase(look.colors(region))}, {_place(region, look)}; it covers {share:.0f} % of the picture."
        )
    return Fact(" ".join(parts))


# Colors, places, comparisons


def _color(question: Question, look: Look) -> Fact | None:
    if look.meant:
        return None  # `gpt4roi.measured` answers those, for all models.
    region = _one(question.phrases[0], look) if question.phrases else None
    if region is None:
        phrase = look.phrase(question.phrases[0]) if question.phrases else None
        if phrase is None or phrase.meaning is None:
            return Fact(f"{CANNOT}; draw a box around it.")
        return Fact(f"I see no {phrase.noun} here; draw a box around it.")
    said = color_phrase(look.colors(region))
    return Fact(f"{said.capitalize()}: {{0}}.", (region,)) if region.origin == "found" else Fact(f"{said.capitalize()}.")


def _compare(question: Question, look: Look) -> Fact:
    if question.word == "which box":
        return _which_box(question, look)
    regions = [look.regions[number] for number in look.meant] if len(look.meant) > 1 else list(look.regions.values())
    regions = [region for region in regions if region.origin != "found"] or regions
    found = False
    if len(regions) < 2 and question.phrases:
        regions, found = look.find(look.phrase(question.phrases[0])), True
    if len(regions) < 2:
        return Fact(f"{CANNOT}: I need two regions to compare; draw them.")
    by = _ORDER_WORDS[question.word]
    places = order([region.box_xyxy for region in regions], by, look.size_wh)
    best = regions[places[0]]
    name = f"{color_phrase(look.colors(best))} {question.phrases[0] if question.phrases else look.name_of(best.box_xyxy)}"
    where = _apart(best, [regions[place] for place in places[1:]])
    if found:
        return Fact(f"The {name} {where}: {{0}}.", (best,))
    return Fact(f"{best.mention}, the {name} {where}.")


def _apart(region: Region, others: Sequence[Region]) -> str:
    """Where a region stands among the others, in the direction that tells them apart best."""
    (x, y), mean = centre(region.box_xyxy), np.mean([centre(other.box_xyxy) for other in others], axis=0)
    if abs(x - mean[0]) >= abs(y - mean[1]):
        return "on the left" if x < mean[0] else "on the right"
    return "at the top" if y < mean[1] else "at the bottom"


def _which_box(question: Question, look: Look) -> Fact:
    phrase = look.phrase(question.phrases[0])
    if phrase.meaning is None or not look.regions:
        return _unknown(question, look)
    ids = look.wide(phrase).meaning.ids  # type: ignore[union-attr]
    scored = {n: look.sight.probability(region.box_xyxy, ids) for n, region in look.regions.items() if region.origin != "found"}
    best = max(scored, key=lambda number: scored[number])
    if scored[best] < 0.05:
        return Fact(f"None of them shows {with_article(phrase.noun)}.", scores={f"<region{n}>": v for n, v in scored.items()})
    return Fact(f"<region{best}> shows the {phrase.noun}.", scores={f"<region{n}>": v for n, v in scored.items()})


def _one(text: str, look: Look) -> Region | None:
    """The region that a phrase speaks of: one of the conversation if it is named or meant, else one that is found."""
    for number in look.meant:
        if f"<region{number}>" in text:
            return look.regions[number]
    phrase = look.phrase(text)
    if phrase.meaning is not None:
        drawn = [look.regions[n] for n in look.meant if look.sight.probability(look.regions[n].box_xyxy, phrase.meaning.ids) >= 0.3]
        return drawn[0] if len(drawn) == 1 else look.locate(phrase)
    return look.regions[look.meant[0]] if len(look.meant) == 1 else None


def _side(question: Question, look: Look) -> Fact:
    region = _one(question.phrases[0], look)
    if region is None:
        return _exists(question, look)
    where = place_words(region.box_xyxy, look.size_wh)
    if question.word.endswith(" or"):
        first = question.word.removesuffix(" or")
        x, y = centre(region.box_xyxy)
        across = "left" if x < look.size_wh[0] / 2 else "right"
        down = "top" if y < look.size_wh[1] / 2 else "bottom"
        side = across if first in ("left", "right") else down
        return Fact(f"{'On' if side == across else 'At'} the {side}.")
    wanted = question.word.replace("center", "middle").replace("centre", "middle")
    yes = wanted in where
    return Fact(f"{'Yes' if yes else 'No'}, it is {where}.", yes=yes)


def _relation(question: Question, look: Look) -> Fact:
    first, second = _one(question.phrases[0], look), _one(question.phrases[1], look)
    if first is None or second is None or first is second:
        return _unknown(question, look)
    relation = question.word.removesuffix(" or")
    a, b = first.box_xyxy, second.box_xyxy
    opposite = {"left of": "right of", "right of": "left of", "above": "below", "below": "above", "larger than": "smaller than", "smaller than": "larger than"}  # fmt: skip
    yes = stands(a, b, relation)
    if question.word.endswith(" or"):
        return Fact(f"It is {_spoken(relation if yes else opposite.get(relation, relation))} it.")
    if not yes and relation in opposite:
        return Fact(f"No, it is {_spoken(opposite[relation])} it.", yes=False)
    return Fact(f"{'Yes' if yes else 'No'}, it is {'' if yes else 'not '}{_spoken(relation)} it.", yes=yes)


def _spoken(relation: str) -> str:
    return {"left of": "to the left of", "right of": "to the right of", "larger than": "larger than", "smaller than": "smaller than"}.get(
        relation, relation
    )


def _beside(question: Question, look: Look) -> Fact:
    """What else is there, in the direction asked for."""
    phrase = look.phrase(question.phrases[0])
    anchor = _one(question.phrases[0], look)
    if anchor is None:
        return _exists(Question("exists", question.phrases), look) if phrase.meaning else _unknown(question, look)
    box = anchor.box_xyxy
    direction = question.word
    others = [thing for thing in look.things(20) if iou(thing.box_xyxy, box) < 0.5 and thing.label != anchor.label]

    def fits(thing: Region) -> bool:
        other = thing.box_xyxy
        if direction in ("left of", "to the left of", "right of", "to the right of"):
            return stands(other, box, direction.removeprefix("to the "))
        if direction in ("under", "below"):
            return other[3] > box[3] - 0.2 * (box[3] - box[1]) and overlap((other[0], 0, other[2], 1), (box[0], 0, box[2], 1)) > 0
        if direction in ("behind", "in front of"):
            return overlap(other, box) > 0 or gap(other, box) <= 0.2 * area(box) ** 0.5
        return (
            overlap(other, box) > 0
            or gap(other, box) <= (0.5 if direction in ("near", "next to", "beside", "around") else 0.05) * area(box) ** 0.5
        )

    near = sorted(
        (thing for thing in others if fits(thing)),
        key=lambda thing: -overlap(thing.box_xyxy, box) / max(min(area(thing.box_xyxy), area(box)), 1),
    )
    if not near:
        return Fact(f"{CANNOT}: I find nothing that I know there.")
    best = near[0]
    return Fact(f"I think {with_article(best.label or 'thing')}: {{0}}.", (best,), scores={best.label or "thing": best.score or 0.0})


def _read(question: Question, look: Look) -> Fact:
    if look.read_text is None:
        return Fact(f"{CANNOT}: reading letters needs the package rapidocr (pip install 'gpt4roi[ocr]').")
    if look.meant:
        texts = [look.read_text(look.regions[number].box_xyxy) for number in look.meant]
    else:
        texts = [look.read_text(None)]
    said = "; ".join(text for text in texts if text)
    return Fact(f'It says "{said}".' if said else "I see no letters that I can read there.")


def _mentions(found: Sequence[Region]) -> list[str]:
    """Places that the conversation's numbers take."""
    return [f"{{{place}}}" for place in range(len(found))]


_ANSWERS: dict[str, Callable[[Question, Look], Fact | None]] = {
    "chat": _chat, "cannot": _cannot, "read": _read, "color": _color, "count": _count, "exists": _exists, "where": _where,
    "compare": _compare, "side": _side, "relation": _relation, "either": _either, "is": _is, "use": _use, "beside": _beside,
    "describe": _describe, "name": _name, "unknown": _unknown,
}  # fmt: skip
assert ORDERS.keys() >= set(_ORDER_WORDS.values())
