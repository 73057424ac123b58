"""Questions that labelled boxes alone can answer: what it is, whether it is, how many, where, the same or not.

Where labels are not classes but texts (captions, colours, conclusions), the label itself is the answer: TEXT_ROLES.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gpt4roi.data.seeding import generator
from gpt4roi.data.templates import Question, mention
from gpt4roi.regions import Region

Exchange = tuple[Question, str]
NUMBER_WORDS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def questions_about_labels(
    regions: Sequence[Region],
    roles: Sequence[str],
    image_size_wh: tuple[int, int] | None,
    all_labels: Sequence[str],
    *key: object,
) -> list[Exchange]:
    """Exchanges for each role in turn.

    Args:
      regions: with labels; region number = position + 1.
      roles: keys of LABEL_ROLES or of TEXT_ROLES.
      image_size_wh: needed to say where a box lies; without it `locate` asks nothing.
      all_labels: the classes of the data set, from which "is it a …?" takes the wrong ones.
      key: decides what is drawn at random, alone.
    """
    exchanges: list[Exchange] = []
    for role in roles:
        if role in TEXT_ROLES:
            exchanges += _text(regions, role)
        else:
            exchanges += LABEL_ROLES[role](regions, image_size_wh, all_labels, (role, *key))
    return exchanges


def _text(regions: Sequence[Region], role: str) -> list[Exchange]:
    """Asked of every region; from the second on in the role's words for a follow-up."""
    labelled = [(number, region.label) for number, region in enumerate(regions, start=1) if region.label]
    return [(Question(role if turn == 0 else TEXT_ROLES[role], (number,)), label) for turn, (number, label) in enumerate(labelled)]


def _name(regions: Sequence[Region], size: object, all_labels: object, key: object) -> list[Exchange]:
    labelled = [(number, region.label) for number, region in enumerate(regions, start=1) if region.label]
    return [(Question("name" if turn == 0 else "name_next", (number,)), label) for turn, (number, label) in enumerate(labelled)]


def _list(regions: Sequence[Region], size: object, all_labels: object, key: object) -> list[Exchange]:
    numbers = tuple(number for number, region in enumerate(regions, start=1) if region.label)
    answer = ", ".join(f"{mention(number)}: {regions[number - 1].label}" for number in numbers)
    return [(Question("list", numbers), answer)] if len(numbers) > 1 else []


def _yes_no(regions: Sequence[Region], size: object, all_labels: Sequence[str], key: tuple[object, ...]) -> list[Exchange]:
    """One question a region, true or false by the toss of a coin; a false one names another class of the data set."""
    exchanges: list[Exchange] = []
    for number, region in enumerate(regions, start=1):
        others = sorted({label for label in all_labels if label != region.label})
        random = generator(*key, number)
        if not region.label:
            continue
        if random.random() < 0.5 or not others:
            exchanges.append((Question("yes_no", (number,), {"word": region.label}), "Yes."))
        else:
            wrong = others[int(random.integers(len(others)))]
            exchanges.append((Question("yes_no", (number,), {"word": wrong}), f"No, it is {_with_article(region.label)}."))
    return exchanges


def _count(regions: Sequence[Region], size: object, all_labels: object, key: tuple[object, ...]) -> list[Exchange]:
    labels = [region.label for region in regions if region.label]
    if len(labels) < 2 or len(labels) != len(regions):
        return []
    word = sorted(set(labels))[int(generator(*key).integers(len(set(labels))))]
    count = labels.count(word)
    answer = NUMBER_WORDS[count] if count < len(NUMBER_WORDS) else str(count)
    return [(Question("count", tuple(range(1, len(regions) + 1)), {"word": word}), answer.capitalize() + ".")]


def _locate(regions: Sequence[Region], size: tuple[int, int] | None, all_labels: object, key: object) -> list[Exchange]:
    if size is None:
        return []
    return [(Question("locate", (n,)), f"{place_in_words(region.box_xyxy, size)}.") for n, region in enumerate(regions, start=1)]


def _compare(regions: Sequence[Region], size: object, all_labels: object, key: tuple[object, ...]) -> list[Exchange]:
    labelled = [number for number, region in enumerate(regions, start=1) if region.label]
    if len(labelled) < 2:
        return []
    first, second = (labelled[i] for i in generator(*key).permutation(len(labelled))[:2])
    a, b = regions[first - 1].label, regions[second - 1].label
    names = f"{mention(first)} is {_with_article(str(a))} and {mention(second)} is {_with_article(str(b))}"
    return [(Question("compare", (first, second)), f"{'The same' if a == b else 'Not the same'}: {names}.")]


def place_in_words(box_xyxy: Sequence[float], image_size_wh: tuple[int, int]) -> str:
    """Where the centre of a box lies, on a grid of three by three: `Top left`, `Middle right`, `Centre` …"""
    x = (box_xyxy[0] + box_xyxy[2]) / 2 / image_size_wh[0]
    y = (box_xyxy[1] + box_xyxy[3]) / 2 / image_size_wh[1]
    row = ("Top", "Middle", "Bottom")[min(2, max(0, int(3 * y)))]
    column = ("left", "centre", "right")[min(2, max(0, int(3 * x)))]
    return "Centre" if (row, column) == ("Middle", "centre") else f"{row} {column}"


def _with_article(label: str) -> str:
    return f"{'an' if label[:1].lower() in tuple('aeiou') else 'a'} {label}"


LABEL_ROLES: dict[str, Callable[..., list[Exchange]]] = {
    "name": _name,
    "list": _list,
    "yes_no": _yes_no,
    "count": _count,
    "locate": _locate,
    "compare": _compare,
}

# Role -> role of the next region's question. Only "And <region2>?" would not say that details are wanted again.
TEXT_ROLES: dict[str, str] = {
    "describe": "describe_next",
    "describe_in_detail": "describe_in_detail",
    "colour": "colour",
    "reason": "reason",
}
