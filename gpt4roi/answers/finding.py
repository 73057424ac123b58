"""Finding by a list of phrases: `dog, red car`, what is not meant, one or all."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gpt4roi.answers.facts import Look
from gpt4roi.answers.places import iou
from gpt4roi.errors import UserError
from gpt4roi.regions import Region

MAX_PHRASES = 80
EVERYTHING = frozenset({"everything", "all", "anything", "*", "things", "objects"})


class FindError(UserError):
    """Something that cannot be looked for, in one sentence."""


def find_phrases(look: Look, what: str, one: bool = False, without: Sequence[str] = (), threshold: float | None = None) -> list[Region]:
    """Regions of all phrases, the surest first, unnumbered; see `RegionChat.find`.

    Raises:
      FindError: there is no phrase, one stands twice, no known name has to do with one, or the threshold is out of range.
    """
    if threshold is not None and not (math.isfinite(threshold) and 0 <= threshold <= 1):
        raise FindError(f"the threshold is a number from 0 to 1; got {threshold:g}")
    said = [part.strip() for part in what.replace("\n", ",").replace(";", ",").split(",") if part.strip()]
    if not said:
        raise FindError("there is nothing to look for; name something, for example: dog, red car")
    if len(said) > MAX_PHRASES:
        raise FindError(f"at most {MAX_PHRASES} things are looked for at once; got {len(said)}")
    twice = next((part for place, part in enumerate(said) if part.lower() in [other.lower() for other in said[:place]]), None)
    if twice is not None:
        raise FindError(f"{twice!r} stands twice in the list; name each thing once")
    found: list[Region] = []
    for part in said:
        if part.lower() in EVERYTHING:
            found += look.things(40)
            continue
        phrase = look.phrase(part)
        if phrase.meaning is None and not (phrase.colors or phrase.by):
            raise FindError(f"I do not know what {part[:60]!r} looks like; name a thing that I know (gpt4roi info --names lists them)")
        if one:
            best = look.locate(phrase)
            found += [best] if best is not None else []
        else:
            found += look.find(phrase, threshold)
    for name in without:
        unwanted = look.find(look.phrase(name), threshold)
        # What looks more like the unwanted name is dropped.
        found = [r for r in found if not any(iou(r.box_xyxy, u.box_xyxy) >= 0.6 and (u.score or 0) >= (r.score or 0) for u in unwanted)]
    found.sort(key=lambda region: -(region.score or 0))
    return found[:1] if one and len(said) == 1 else found
