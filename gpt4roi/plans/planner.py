"""From a request to a plan by patterns: verbs are actions, noun phrases are what is found, selected or related before.

The language model is not asked: it is small, and what this reads it reads the same every time, in no time. What no pattern reads is one
`ask`, so that every request has a plan.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from gpt4roi.answers.phrases import ORDINALS, SUPERLATIVES
from gpt4roi.answers.questions import read_question
from gpt4roi.answers.translate import is_english, to_english
from gpt4roi.eyes.names import forms, names
from gpt4roi.plans.actions import COLORS, MAX_STEPS, Plan, PlanError, mentioned_regions, parse_plan

_REFUSED = re.compile(
    r"\b(?:print|e-?mail|mail|send|upload|post|tweet|share|order|buy|book|call|phone|whatsapp|publish|install|download|google|translate .* voice|sing|dance|play (?:me )?(?:a |some )?(?:song|music|video)|turn (?:it|this) into a (?:video|3d)|animate|record|delete (?:the |my )?file|format|set (?:an? )?(?:alarm|timer)|remind me)\b"
    r"|\b(?:what|how) (?:did|does|do|will|would) [\w ]+ (?:say|said|sound|smell|taste)\b|\b(?:before|after) this (?:was|photo|picture|shot)\b|\bwhat (?:was|is) (?:said|heard)\b|\bwill (?:happen|win)\b|\bphone number\b|\bhome address\b|\bwho (?:took|shot) (?:this|the)\b"
)
_GENERATE = re.compile(
    r"^(?:please )?(?:(?:paint|draw|sketch|generate|imagine|render|invent|design) (?:me |us )?(?:an? |some )(?!box|circle|line|outline|frame|rectangle)|(?:create|make|give me) (?:me |us )?(?:an? )?(?:new )?(?:picture|image|photo|painting|drawing|illustration|poster|logo) (?:of|with|showing|that)|(?:create|generate) )"
)
_EDIT = re.compile(
    r"\b(?:give|put|add|place|insert) (?:<region\d+>|him|her|it|them|the [\w ]+?) (?:an? |some |on )|\b(?:add|insert) (?:an? |some |the )|\b(?:turn|transform|make|change|convert) .+? (?:into|look like|look as if|to) (?:an? |the |as )|\breplace .+ (?:with|by) |\bswap .+ (?:for|with) |\b(?:make|let) (?:him|her|it|them|the [\w ]+?) (?:smile|laugh|wear|look|older|younger|cry|dance|run)"
)
_STYLE = re.compile(
    r"\b(?:in the style of|(?:as|like|into|in) an? (?:oil |watercolou?r |pencil |pop ?art |comic |cartoon |anime |impressionist )?(?:painting|sketch|drawing|cartoon|comic|mosaic|style)|watercolou?r|van gogh|monet|picasso|cartoon|sketch|cubist|impressionist|pop art)\b"
)
_COLOR = rf"(?:light |dark |bright |deep |solid |plain |pure )?({'|'.join(COLORS)}|#[0-9a-f]{{6}})"
_REST = r"(?:(?:all )?the rest(?: of (?:it|the (?:picture|image|photo)))?|everything else|all else|the others?|the surroundings|(?:(?:the|this) )?(?:background|backdrop))"
_BUT = r"(?:everything|all|anything|the whole (?:picture|image|photo)|the (?:picture|image|photo))(?: else)? (?:but|except(?: for)?|other than|apart from|besides|save(?: for)?|outside(?: of)?)"
# Verb patterns; the first group, where there is one, is what it is done to.
_VERBS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("pixelate", r"(?:pixelate|pixelize|pixellate|mosaic)\b\s*(.*)", {}),
    ("cut_out", r"(?:cut ?out|isolate|extract|snip(?: out)?|clip out|make (?:a )?(?:sticker|cutout) (?:of|from))\b(?!\s*(?:the )?(?:words|text|letters))\s*(.*)", {}),
    ("cut_out", r"cut\s+(.+?)\s+out\b(?: of .*)?", {}),
    ("cut_out", r"(?:i (?:need|want)|give me|get me|export|save|make)?\s*(.+?) (?:as|into|on|with) an? (?:transparent(?: png| background)?|png(?: with transparency)?)\b.*", {}),
    ("crop", r"(?:crop|trim|zoom in(?:to| on)?|zoom to)\b(?: (?:the )?(?:picture|image|photo))?(?: (?:to|around|on))?\s*(.*)", {}),
    ("blur", r"(?:blur|hide|censor|obscure|anonymi[sz]e|conceal|unfocus|defocus|mask out|black out)\b(?: out)?\s*(.*)", {}),
    ("blur", r"(?:make|turn|let) (.+?) (?:go |be |look )?(?:blurry|blurred|out of focus|unrecogni[sz]able)", {}),
    ("grayscale", r"(?:desaturate|gr[ae]y(?:scale)? out|gr[ae]yscale|decolou?ri[sz]e|remove (?:the )?colou?rs? (?:from|of)|drain (?:the )?colou?r from)\b\s*(.*)", {}),
    ("grayscale", r"(?:make|turn|convert|set|change|render) (.+?)(?: in)?(?:to)? (?:black[- ]and[- ]white|b&w|b/w|gr[ae]yscale|monochrome|colou?rless)", {}),
    ("highlight", r"(?:highlight|spotlight|emphasi[sz]e|draw attention to|focus on|make (?:the )?.*?stand out:?)\b\s*(.*)", {}),
    ("highlight", r"make (.+?) (?:stand out|pop)", {}),
    ("annotate", r"(?:annotate|label|tag|(?:draw|put) (?:a )?(?:box(?:es)?|rectangles?|frames?) (?:around|on)|box(?: in)?|frame|mark|circle)\b\s*(.+?)(?: with (?:a )?(?:box(?:es)?|numbers|names|labels|frames?|rectangles?))?", {}),
    ("segment", r"(?:outline|segment|trace(?: (?:the )?(?:outlines?|contours?|shapes?|edges?) of)?|(?:draw |show |give me |get )?(?:the |a )?(?:masks?|outlines?|contours?|silhouettes?) (?:of|for|around))\s+(.*)", {}),
    ("remove", r"(?:remove|delete|erase|take (?:out|away|off)|get rid of|wipe out|clean up|retouch|eliminate|drop|lose|paint over|edit out)\b\s*(.*)", {}),
    ("remove", r"(?:make|let) (.+?) (?:disappear|vanish|go away|invisible)", {}),
    ("move", r"(?:move|shift|nudge|push|drag|slide|relocate|pull)\b\s*(.*)", {}),
    ("move", r"(?:duplicate|clone|copy|double)\b\s*(.*)", {"copy": True}),
    ("flip", r"(?:flip|mirror)\b.*", {}),
    ("rotate", r"(?:rotate|turn) (?:it|this|the (?:picture|image|photo)|everything)?\s*(?:by )?(?:\d+|left|right|clockwise|counter|around|upside).*|rotate\b.*", {}),
    ("resize", r"(?:resize|scale(?: (?:up|down))?|shrink|enlarge|upscale|downscale|halve|double the size)\b.*|make (?:it|the (?:picture|image|photo)) (?:half|twice|double|smaller|bigger|larger).*", {}),
)  # fmt: skip
_NEAR = {
    r"(?:to )?(?:the )?left(?: side)? of": "left_of", r"(?:to )?(?:the )?right(?: side)? of": "right_of", r"(?:above|over|higher than)": "above",
    r"(?:below|under(?:neath)?|beneath|lower than)": "below", r"(?:near(?:est)?(?: to)?|next to|close to|beside|by|around|closest to)": "near",
    r"(?:inside(?: of)?|within|in)": "inside", r"(?:outside(?: of)?)": "outside", r"on(?: top of)?": "on",
    r"(?:overlapping|touching)": "overlapping",
}  # fmt: skip
_PRONOUN = re.compile(
    r"^(?:it|them|that|this|those|these|him|her|they|the same|that one|those ones|the result|ones?)(?: (?:too|as well|all|both|please))?$"
)
_WHOLE = re.compile(
    r"^(?:(?:the )?(?:whole |entire |full )?(?:picture|image|photo|pic|photograph|scene|thing|shot)|everything|it all|all of it|all|this (?:picture|image|photo))$"
)
_STRONG = re.compile(r"\b(?:a lot|much|strongly|very|far too|heavily|way)\b")
_HALF = re.compile(r"\b(?:in|on|from|at) (?:the )?(left|right|top|upper|bottom|lower) half(?: of (?:the )?(?:picture|image|photo))?\b")
_SIZE = re.compile(
    r"\b(?:how (?:big|large|tall|wide|long) (?:is|are)|measure|(?:the )?size of|what(?:'s| is) the size of|dimensions of|how much (?:space|of the (?:picture|image|photo)) (?:does|do|is|are))\b\s*(.*)"
)


class _Builder:
    """Steps in the making."""

    def __init__(self, request: str, regions: Collection[int]) -> None:
        self.request = request
        self.regions = sorted(regions)
        self.steps: list[dict[str, Any]] = []
        self.last: str | list[str] | None = None
        self.found: dict[str, str] = {}

    def add(self, action: str, **arguments: Any) -> str:
        step = {"id": f"s{len(self.steps) + 1}", "action": action} | {
            name.rstrip("_"): value for name, value in arguments.items() if value is not None
        }
        self.steps.append(step)
        return str(step["id"])

    def find(self, noun: str, describes: bool = False) -> str:
        """A thing is looked for once."""
        if noun not in self.found:
            self.found[noun] = self.add("locate", phrase=noun) if describes else self.add("find", what=noun)
        return self.found[noun]


def plan_request(request: str, regions: Collection[int]) -> Plan:
    """The plan for a request; the same for the same words.

    Args:
      regions: numbers of the conversation's regions.
    Raises:
      PlanError: the request is empty.
    """
    if not request.strip():
        raise PlanError("the request is empty; say what is to be done")
    english = _lowered(to_english(request, names()).text)
    missing = [number for number in mentioned_regions(english) if number not in regions]
    builder = _Builder(request.strip(), regions)
    if missing:
        builder.add("ask_back", question=f"There is no region {missing[0]} yet. Which thing do you mean? Draw a box around it.")
    else:
        _read(_trimmed(english), builder)
    try:
        return parse_plan({"version": 1, "request": request.strip(), "steps": builder.steps[:MAX_STEPS]}, regions)
    except PlanError:  # Patterns can contradict each other; then the chat model is asked.
        numbers = [f"r{number}" for number in mentioned_regions(english)]
        step = {"id": "s1", "action": "ask", "question": request.strip()} | ({"regions": numbers} if numbers else {})
        return parse_plan({"version": 1, "request": request.strip(), "steps": [step]}, regions)


def _lowered(text: str) -> str:
    """As `straight`, but with the punctuation that parts sentences."""
    return " ".join(re.sub(r"\b(what|where|who|that|there)s\b", r"\1's", text.lower().replace("’", "'")).split())


def _trimmed(text: str) -> str:
    text = re.sub(r"\b(?:no edits?|don't (?:change|edit) anything|without (?:editing|changing) anything)\b", " ", text)
    text = re.sub(r"^.*\b(?:no wait|wait no|i mean|or rather|correction|scratch that|actually)\b,?\s*", "", text)
    text = re.sub(
        r"\b(?:please|pls|plz|kindly|thanks(?: a lot| so much)?|thank you(?: very much)?|thx|can you|could you|would you|will you|i(?:'d| would) like (?:you )?to|i want (?:you )?to|i need (?:you )?to|let's|just|maybe|for me)\b,?",
        " ",
        text,
    )
    text = re.sub(r"^(?:(?:ok(?:ay)?|so|hey|hi|hello|well|hm+|um+|and|but|now|sorry|excuse me)[\s,:!]+)+", "", " ".join(text.split()))
    return text.strip(" ,;.!?-")


def _read(text: str, b: _Builder) -> None:
    if _REFUSED.search(text) and not re.search(r"\bprinted\b", text):
        b.add("refuse", reason="Nothing here can do that: I look at the picture, find, count, compare, read and edit.")
        return
    if _GENERATE.match(text) and not mentioned_regions(text):
        b.add("generate", prompt=_GENERATE.sub("", text) or text)
        return
    of_these = re.match(r"^(?:out )?of (?:these|the|my|those) (?:two |three |four )?(?:boxes|regions)\b(.*)$", text)
    if of_these and len(b.regions) > 1:
        words = [SUPERLATIVES[word] for word in of_these[1].split() if word in SUPERLATIVES]
        if words:
            b.add("select", regions=[f"r{number}" for number in b.regions], by=words[0])
            return
    for part in re.split(r",? (?:and|then) (?=(?:also )?(?:tell|say|count|show|how)\b)", text):
        # "Keep the bear in color, the rest gray" is one clause with a comma in it.
        keeps = re.search(rf"\b{_REST}\b", part) and re.match(r"(?:keep|leave|let|only)\b|.*\b(?:stays?|remains?|keeps?)\b", part)
        if keeps and _kept(part, b):
            continue
        for clause in _clauses(part):
            if len(b.steps) < MAX_STEPS:
                _clause(clause, b)
    if not b.steps:
        _ask(text, b)


def _clauses(text: str) -> list[str]:
    """Parts that each begin with a verb of their own or a question word."""
    starts = r"(?:pixel|cut|crop|blur|hide|censor|gr[ae]y|desatur|highlight|spotlight|annotate|label|outline|segment|trace|remove|delete|erase|take|get rid|make|turn|move|shift|nudge|copy|flip|mirror|rotate|resize|scale|brighten|lighten|darken|dim|paint|colou?r|recolou?r|dye|tint|count|tally|how|what|where|which|who|is|are|tell|describe|read|find|locate|show|select|measure|put|replace|swap|change|frame|draw|mark|box|compare|caption|give|set|keep|leave|the rest|(?:all )?the rest|everything else)"
    parts = re.split(
        rf"\s*(?:[;.!?]+(?=\s|$)|,? ?\band then\b|,? ?\bthen\b|,? ?\bafter that\b|,(?= {starts}\b)|,? ?\b(?:and|but|plus)(?: also)?\b(?= {starts}))\s*",
        text,
    )
    return [part.strip(" ,-") for part in parts if part and part.strip(" ,-")]


def _clause(text: str, b: _Builder) -> None:
    text = re.sub(r"\s+(?:too|as well|also)$", "", text)
    if text in ("where", "where exactly", "which ones", "how") and b.last is not None:
        return
    if _background(text, b) or _kept(text, b) or _brightness(text, b) or _recolored(text, b):
        return
    for action, pattern, extra in _VERBS:
        found = re.match(rf"^(?:and |also |to )?{pattern}$", text)
        if found:
            _do(action, (found[1] or "").strip() if found.groups() else "", text, extra, b)
            return
    for reader in (_counted, _measured, _read_out, _compared, _restyled, _selected, _looked_for):
        if reader(text, b):
            return
    if _EDIT.search(text):
        numbers = mentioned_regions(text)
        b.add("edit", instruction=text, regions=_as_refs([f"r{number}" for number in numbers]) if numbers else None)
    else:
        _talk(text, b)


def _restyled(text: str, b: _Builder) -> bool:
    """ "Make it look like van Gogh": a style, not a thing to look for."""
    if not _STYLE.search(text) or not re.match(r"(?:make|turn|paint|render|style|convert|transform|give|draw|restyle|apply|redo)\b", text):
        return False
    target = re.match(r"(?:make|turn|paint|render|convert|transform) (.+?) (?:in|into|like|as|look)\b", text)
    ref = _refs(target[1], b) if target and not _WHOLE.match(target[1]) and not _PRONOUN.match(target[1]) else None
    b.add("edit", instruction=text, regions=ref)
    return True


# Editing


def _do(action: str, target: str, text: str, extra: dict[str, Any], b: _Builder) -> None:
    if action == "flip":
        b.add("flip", axis="vertical" if re.search(r"vertical|upside|top", text) else "horizontal")
        return
    if action == "rotate":
        degrees = re.search(r"(\d+)", text)
        angle = float(degrees[1]) if degrees else 180.0 if re.search(r"upside|around", text) else 90.0
        b.add("rotate", angle=-angle if re.search(r"counter|anti|left", text) else angle)
        return
    if action == "resize":
        share = re.search(r"(\d+(?:\.\d+)?)\s*(%|percent|x\b|times)?", text)
        smaller = re.search(r"half|halve|shrink|smaller|down", text)
        factor = 0.5 if smaller else 2.0
        if share:
            factor = float(share[1]) / 100 if share[2] in ("%", "percent") or float(share[1]) > 8 else float(share[1])
            if " by " in text and share[2] in ("%", "percent"):
                factor = 1 - factor if smaller else 1 + factor
        b.add("resize", scale=factor)
        return
    arguments = dict(extra)
    if action == "move":
        target, arguments = _direction(target, arguments)
    target = re.sub(
        r"\s+(?:a bit|a little|slightly|too|completely|entirely|out|in (?:the|this) (?:picture|image|photo|office|room|scene))$", "", target
    )
    but = re.match(rf"^{_BUT} (.+)$", target)
    if but and action in ("blur", "pixelate", "grayscale", "highlight"):
        b.last = _refs(but[1], b)
        b.add(action, regions=b.last, invert=True)
        return
    if re.match(rf"^{_REST}$", target):
        if b.last is not None:
            b.add(action, regions=b.last, invert=True) if action in ("blur", "pixelate", "grayscale") else b.add(action, regions=b.last)
        elif action in ("blur", "pixelate", "grayscale"):
            b.add("ask_back", question="Which thing should stay as it is?")
        else:
            b.add("ask_back", question="What should be kept?")
        return
    if not target or _WHOLE.match(target):
        if action in ("blur", "pixelate", "grayscale"):
            b.add(action, **arguments)
        else:
            _pronoun(action, arguments, b)
        return
    if _PRONOUN.match(target):
        _pronoun(action, arguments, b)
        return
    b.last = _refs(target, b)
    b.add(action, regions=b.last, **arguments)


def _pronoun(action: str, arguments: dict[str, Any], b: _Builder) -> None:
    """What "it" stands for: what was spoken of, else the only region; else the user is asked."""
    ref = b.last if b.last is not None else f"r{b.regions[0]}" if len(b.regions) == 1 else None
    if ref is None:
        options = _as_refs([f"r{number}" for number in b.regions]) if b.regions else None
        b.add("ask_back", question=f"What should be {action.replace('_', ' ')}? Draw a box or name it.", options=options)
        return
    b.last = ref
    b.add(action, regions=ref, **arguments)


def _direction(target: str, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    dx = dy = 0.0
    amount = 0.3 if re.search(r"\b(?:far|a lot|all the way|much)\b", target) else 0.1
    share = re.search(r"(\d+)\s*(?:%|percent)", target)
    if share:
        amount = min(1.0, float(share[1]) / 100)
    for word, (x, y) in {
        "right": (1, 0),
        "left": (-1, 0),
        "up(?:wards?)?": (0, -1),
        "down(?:wards?)?": (0, 1),
        "higher": (0, -1),
        "lower": (0, 1),
    }.items():
        if re.search(rf"\b{word}\b", target):
            dx, dy = dx + x * amount, dy + y * amount
    target = re.sub(
        r"\s*\b(?:a (?:bit|little)|slightly|far|a lot|much|\d+\s*(?:%|percent)|(?:further |more )?(?:to|towards) the (?:left|right|top|bottom)|(?:to the )?(?:left|right)|up(?:wards?)?|down(?:wards?)?|higher|lower|by)\b",
        "",
        target,
    ).strip()
    return target, arguments | {"dx": dx, "dy": dy} if dx or dy or not arguments else arguments


def _background(text: str, b: _Builder) -> bool:
    found = (
        re.match(r"^(?:swap|replace|change|exchange|switch) (?:the |out the )?(?:background|backdrop)(?: (?:of|behind) (.+?))? (?:for|with|to|into|by) (?:an? |the )?(.+)$", text)
        or re.match(r"^put (.+?) (?:on|onto|in front of|against) (?:an? )?(.+?)(?: background| backdrop)?$", text)
        or re.match(r"^(?:make|turn|colou?r|paint|set) the (?:background|backdrop)(?: (?:of|behind) (.+?))? (?:to |into |completely |all )?(.+)$", text)
    )  # fmt: skip
    if not found or ("put" in text.split()[:1] and not re.search(r"background|backdrop", text) and not re.search(_COLOR, found[2])):
        return False
    ground = re.sub(r"\b(?:solid|plain|pure|a|an|completely)\b|\bbackground\b", "", found[2]).strip()
    ground = "blur" if re.match(r"blur", ground) else "transparent" if "transparent" in ground or "see-through" in ground else ground
    ref = _refs(found[1], b) if found[1] else b.last or (f"r{b.regions[0]}" if len(b.regions) == 1 else None)
    if ref is None:
        b.add("ask_back", question="Which thing stands before the background? Name it or draw a box.")
        return True
    b.last = ref
    if ground == "blur":
        b.add("blur", regions=ref, invert=True)
    else:
        b.add("replace_background", regions=ref, with_=ground)
    return True


def _kept(text: str, b: _Builder) -> bool:
    """ "keep the bear in color, the rest gray"; "the cat stays sharp, all the rest goes blurry"."""
    found = re.match(
        rf"^(?:keep|leave|let|only|have)?\s*(.+?) (?:stays?|remains?|keeps?|in|as|sharp|colou?red|untouched|clear|alone|visible|focused|be)\b[^,]*?(?:,|and|but|;)?\s*(?:make |turn |blur |with |and )*{_REST}\s*(.*)$", text
    ) or re.match(r"^(?:keep|leave) (?:only )?(.+?)(?: in| as)?(?: focus| colou?rs?| is| it is| sharp| alone)?$", text)  # fmt: skip
    if not found:
        return False
    whole = text
    if re.search(r"\b(?:its|their|his|her) \w+$|^(?:it|them|that)$", found[1]):
        return True  # What it asks for is what happens: nothing else is changed.
    ref = _refs(found[1], b)
    b.last = ref
    if re.search(r"blur|focus|sharp|clear", whole):
        b.add("blur", regions=ref, invert=True)
    elif re.search(r"gr[ae]y|black and white|colou?r|monochrome|b&w", whole):
        b.add("grayscale", regions=ref, invert=True)
    elif re.search(r"dark|dim", whole):
        b.add("highlight", regions=ref)
    elif re.search(r"pixel", whole):
        b.add("pixelate", regions=ref, invert=True)
    return True


def _brightness(text: str, b: _Builder) -> bool:
    sign = 0
    if re.search(r"\b(?:brighten|lighten|brighter|lighter|too dark|underexposed|light up)\b", text):
        sign = 1
    if re.search(r"\b(?:darken|darker|too bright|overexposed|dimmer|^dim)\b|^dim\b", text):
        sign = -1
    if not sign or re.search(r"\bwhich\b", text):
        return False
    amount = sign * (0.4 if _STRONG.search(text) else 0.2)
    target = re.sub(
        r"\b(?:make|is|are|it's|looks?|let|turn|brighten|lighten|brighter|lighter|darken|darker|dimmer|dim|too|dark|bright|much|far|way|a bit|a little|slightly|up|very|underexposed|overexposed|light|more|lot|by \d+ ?%?)\b",
        " ",
        text,
    )
    target = " ".join(target.split()).strip(" ,")
    but = re.match(rf"^{_BUT} (.+)$", target)
    if but:
        b.last = _refs(but[1], b)
        b.add("brighten", regions=b.last, amount=amount, invert=True)
    elif (
        not target
        or _WHOLE.match(target)
        or re.match(rf"^{_REST}$", target)
        or (_PRONOUN.match(target) and b.last is None and not b.regions)
    ):
        b.add("brighten", amount=amount)
    elif _PRONOUN.match(target):
        ref = b.last or f"r{b.regions[0]}"
        b.add("brighten", regions=ref, amount=amount)
    else:
        b.last = _refs(target, b)
        b.add("brighten", regions=b.last, amount=amount)
    return True


def _recolored(text: str, b: _Builder) -> bool:
    found = (
        re.match(rf"^(?:paint|colou?r|recolou?r|dye|tint|make|turn|let|change|set|shade)\s+(.+?)(?: look| be| into| to| in)?(?: a)? {_COLOR}(?: in)?(?: colou?r)?$", text)
        or re.match(rf"^(?:change|switch|set) (?:the )?colou?r of (.+?) (?:to|into) {_COLOR}$", text)
        or re.match(rf"^(?:give) (.+?) an? {_COLOR} (?:colou?r|paint(?: job)?|tint|coat)$", text)
    )  # fmt: skip
    if not found or re.search(r"\b(?:background|backdrop)\b", found[1]) or re.search(r"black and white$", text):
        return False
    target = re.sub(r"^(?:the )?colou?r of ", "", found[1])
    if _PRONOUN.match(target):
        _pronoun("recolor", {"color": found[2]}, b)
    elif _WHOLE.match(target):
        b.add("edit", instruction=text)
    else:
        b.last = _refs(target, b)
        b.add("recolor", regions=b.last, color=found[2])
    return True


# Looking


def _counted(text: str, b: _Builder) -> bool:
    more = re.match(r"^(?:are|is|do|does|have|there)?\s*(?:there )?(?:are )?(?:more|fewer|as many|less)\s+(.+?) (?:than|as)(?: there are)?\s+(.+)$", text) or re.match(r"^(?:do|does) (.+?) outnumber (.+)$", text)  # fmt: skip
    if more:
        first, second = more[1], more[2]
        inside = re.match(r"^(.+?) in (<region\d+>)$", first)
        if inside and (other := re.match(r"^in (<region\d+>)$", second)):
            base = b.find(_noun(inside[1]))
            refs = [b.add("relate", regions=base, relation="inside", to=f"r{mentioned_regions(part)[0]}") for part in (inside[2], other[1])]
        else:
            refs = [str(_refs(part, b)) for part in (first, second)]
        for ref in refs:
            b.add("count", regions=ref)
        return True
    found = re.match(r"^(?:and )?(?:how many|count(?: up)?(?: all)?|tally(?: up)?|(?:the )?(?:total )?number of|nb of|(?:tell|say|show)(?: me| us)? how many|give (?:me )?the number of)\s*(?:of )?\b(.*)$", text) or re.match(r"^(.+?)[:,] ?how many$", text)  # fmt: skip
    if not found:
        return False
    said = re.sub(
        r"\s+(?:are|is)(?: there)?\s+(?=(?:to the |on the )?(?:left|right)\b|above|below|under|over|near|next|behind|inside|outside|between|close)",
        " ",
        found[1],
    )
    target, *separate = re.split(r",? ?\b(?:separately|and separately)\b", said)
    target = re.sub(
        r"\s+\b(?:are|is|do|does|can|there|you|we|i|have|in (?:the|this) (?:picture|image|photo|room|scene|harbou?r)|here|on the (?:floor|table))\b.*$",
        "",
        target.strip(" ,"),
    )
    if not target or _PRONOUN.match(target) or target in ("there", "there are"):
        if b.last is not None:
            b.add("count", regions=b.last)
            return True
        return False
    b.last = _refs(target, b)
    b.add("count", regions=b.last)
    if separate:
        property_ = re.sub(r"\b(?:the|ones?)\b", " ", separate[0]).strip()
        kept = b.add("filter", regions=b.last, that=" ".join(property_.split()))
        b.add("count", regions=kept)
    return True


def _measured(text: str, b: _Builder) -> bool:
    found = _SIZE.search(text)
    if not found or re.search(r"\bcompare", text):
        return False
    before = text[: found.start()].strip(" ,-")
    target = before or found[1]
    target = re.sub(r"\b(?:take|takes|cover|covers|covered by|occupy|fill)\b.*$", "", target).strip()
    ref = (b.last or (f"r{b.regions[0]}" if len(b.regions) == 1 else None)) if not target or _PRONOUN.match(target) else _refs(target, b)
    if ref is None:
        return False
    b.last = ref
    b.add("measure", regions=ref)
    return True


def _read_out(text: str, b: _Builder) -> bool:
    if not re.search(
        r"\b(?:read|printed|written|inscription|lettering|(?:extract|copy|transcribe|get) the (?:words|text|letters)|transcribe|ocr|what (?:does|do) .+ says?|what's on the sign|text on)\b",
        text,
    ):
        return False
    target = (
        re.sub(r"^.*?\b(?:on|of|from|in|at)\b ", "", text)
        if re.search(r"\b(?:on|of|from)\b", text)
        else re.sub(r"^(?:read|transcribe|ocr|what (?:does|do)|what's|what is)\s*(?:out )?", "", text)
    )
    target = re.sub(r"\b(?:says?|read|aloud|out loud|written|printed)\b", "", target).strip()
    if mentioned_regions(text):
        b.last = _as_refs([f"r{number}" for number in mentioned_regions(text)])
    elif not target or _WHOLE.match(target) or re.match(r"^(?:the |any |all )?(?:text|letters|words|writing)$", target):
        b.add("read_text")
        return True
    elif _PRONOUN.match(target):
        b.last = b.last or (f"r{b.regions[0]}" if b.regions else None)
    else:
        b.last = _refs(target, b)
    b.add("read_text", regions=b.last)
    return True


def _compared(text: str, b: _Builder) -> bool:
    numbers = mentioned_regions(text)
    refs: Any = [f"r{number}" for number in numbers]
    if not numbers and re.search(r"\b(?:these|the|both) (?:two )?(?:boxes|regions|both)\b|\bboth of them\b", text) and len(b.regions) == 2:
        refs = [f"r{number}" for number in b.regions]
    if len(refs) >= 2:
        order = re.search(r"\b(?:the one|which(?: one)?)\b.*\b(" + "|".join(SUPERLATIVES) + r")\b", text)
        if order and not re.search(r"\bolder|younger\b", text):
            b.last = b.add("select", regions=refs, by=SUPERLATIVES[order[1]])
            return True
        if re.search(r"\b(?:compare|differ|difference|same|alike|similar|which|older|or|both)\b", text):
            b.last = b.add("compare", regions=refs, question=b.request if len(b.steps) == 0 else text)
            return True
    if re.match(r"^is this one\b.*\b(?:the other|that one)$", text) and len(b.regions) > 2:
        b.add("ask_back", question="Which of the regions do you mean?")
        return True
    return False


def _selected(text: str, b: _Builder) -> bool:
    """Ordinals, superlatives, relations, exceptions: noun phrases that are the whole clause."""
    plain = re.sub(
        r"^(?:select|pick|choose|give me|show(?: me)?|find|locate|get|mark out|(?:which|what)(?: one)?(?: is| are)?|point (?:at|to)|where(?:'s| is| are))\s+(?:me )?(?:all )?",
        "",
        text,
    )
    either = re.match(r"^(?:is|are) (.+?) (above|below|left|right) or (above|below|left|right)(?: of)? (.+)$", text)
    if either:
        subject, other = _refs(either[1], b), _refs(either[4], b)
        for word in (either[2], either[3]):
            b.last = b.add("relate", regions=subject, relation={"left": "left_of", "right": "right_of"}.get(word, word), to=other)
        return True
    inside = re.match(r"^(?:are there |is there |do you see )?(?:any|an?|some) (.+?) (?:in|on|inside|within) (<region\d+>)$", text)
    if inside:
        b.last = b.add("relate", regions=b.find(_noun(inside[1])), relation="inside", to=f"r{mentioned_regions(inside[2])[0]}")
        return True
    wh = re.match(r"^(?:which|what) ([\w' ]+?) (?:is|are) (?:the )?([\w' -]+)$", text)
    if (
        wh
        and not re.search(r"\b(?:this|that|it|these|<)\b", wh[1])
        and wh[2].split()[0] not in ("in", "on", "at", "there", "here", "visible")
    ):
        base = b.find(_noun(wh[1]))
        word = wh[2].split()[-1]
        b.last = b.add("select", regions=base, by=SUPERLATIVES[word]) if word in SUPERLATIVES else b.add("filter", regions=base, that=wh[2])
        return True
    if _has_structure(plain) and not re.match(r"^(?:is|are|was|does|do|can|why|how|when|who|whose)\b", text):
        b.last = _refs(plain, b)
        return True
    return False


def _looked_for(text: str, b: _Builder) -> bool:
    found = re.match(
        r"^(?:find|locate|search(?: for)?|look for|where(?:'s| is| are| can i (?:find|see))|show(?: me)?(?: where)?|point (?:out|to|at)|detect|spot|select|pick|(?:is|are) there(?: really)?|(?:do|can) you see|any|i'm looking for|looking for|give me|there (?:ought to|should|must) be)\s+(.+?)(?:\s+(?:somewhere|anywhere|in here|visible|around|hiding)\b.*)?$", text
    )  # fmt: skip
    target = found[1] if found else ""
    if found is None:
        bare = re.match(r"^(?:the |a |an |all |every |both )?[a-z][a-z'-]*(?: [a-z'-]+){0,7}$", text)
        is_sentence = re.match(
            r"^(?:is|are|was|were|does|do|did|has|have|can|could|will|what|which|who|how|why|when|tell|describe|write|say|it|this|that|he|she|they|i|we|you|thanks?|hi|hello|hey|good|great|nice|ok|okay|bye|no|yes|caption|compare|explain|name|guess|if|because|help|make|turn|let|put|add|give|change|apply|use|try|do|go|come|look|stop|start|undo|save|open|close)\b",
            text,
        )
        if not bare or is_sentence or not _names_something(text):
            return False
        target = text
    if _PRONOUN.match(target) or _WHOLE.match(target) or mentioned_regions(target):
        return False
    b.last = _refs(target, b)
    return True


def _names_something(text: str) -> bool:
    return (
        bool(text.startswith(("the ", "a ", "an ", "all ", "every ", "both ")))
        or names().lookup(text, guess=False) is not None
        or len(text.split()) <= 2
    )


def _talk(text: str, b: _Builder) -> None:
    numbers = mentioned_regions(text)
    refs = _as_refs([f"r{number}" for number in numbers]) if numbers else None
    if re.search(r"\b(?:describe|caption|tell (?:me |us )?(?:something )?about|what (?:the|this) (?:picture|image|photo) shows|what (?:do|can) (?:you|we) see|summari[sz]e|about (?:<region\d+>|the picture|this))\b", text) or read_question(text, len(b.regions), len(numbers)).kind == "describe":  # fmt: skip
        b.add("describe", regions=refs if refs else None)
        return
    either = re.match(
        r"^(?:is|are|was) (?:it|this|that|<region\d+>)\s+(?:an? |the )?([\w' -]+?(?:, (?:an? )?[\w' -]+?)*),? or (?:an? |the )?([\w' -]+)$",
        text,
    )
    if either and (refs or len(b.regions) == 1):
        classes = [re.sub(r"^(?:an?|the) ", "", part.strip()) for part in [*either[1].split(","), either[2]]]
        b.add("classify", regions=refs or f"r{b.regions[0]}", classes=classes)
        return
    if re.search(r"\bis this one\b|\bthe other\b", text) and len(b.regions) > 2 and not numbers:
        b.add("ask_back", question="Which of the regions do you mean?", options=[f"r{number}" for number in b.regions])
        return
    _ask(text, b, refs)


def _ask(text: str, b: _Builder, refs: Any = None) -> None:
    """One question to the chat model: about the regions it names, else what was just spoken of, else the only region."""
    points = re.search(r"\b(?:it|this|that|he|she|they|these|those|here)\b", text)
    subject = re.match(r"^(?:what(?:'s| is| are)|is|are|does|do) the ([a-z]+)\b", text)
    if refs is None and b.steps and b.last is not None:
        refs = b.last
    elif refs is None and points and len(b.regions) == 1:
        refs = f"r{b.regions[0]}"
    elif (
        refs is None
        and subject
        and b.steps == []
        and b.request.count("?")
        and len(_clauses(_trimmed(_lowered(b.request)))) > 1
        and names().lookup(subject[1], guess=False)
    ):
        refs = b.last = b.find(_noun(subject[1]))
    alone = len(_clauses(_trimmed(_lowered(b.request)))) <= 1
    b.add(
        "ask",
        question=b.request
        if alone
        else text[:1].upper() + text[1:] + ("?" if re.match(r"^(?:what|who|where|how|is|are|why|which|does|do)", text) else "."),
        regions=refs,
    )


# Noun phrases


def _as_refs(refs: list[str]) -> str | list[str]:
    return refs[0] if len(refs) == 1 else refs


def _has_structure(text: str) -> bool:
    """Whether a noun phrase asks for an order, a relation or an exception."""
    words = text.split()
    return (
        any(word in ORDINALS or (word in SUPERLATIVES and word not in ("left", "right", "top", "bottom", "front", "back", "big", "small", "large", "little", "tiny", "tall", "huge", "upper", "lower")) for word in words)
        or re.search(r"\b(?:minus|except|apart from|without the|but not|other than|between)\b", text) is not None
        or any(re.search(rf"\w (?:that |which )?(?:is |are |lies? |lying |stands? |sits? |standing |sitting )?{pattern} (?:the |my |<)", text) for pattern, name in _NEAR.items() if name in ("left_of", "right_of", "above", "below", "near"))
        or _HALF.search(text) is not None
    )  # fmt: skip


def _refs(text: str, b: _Builder) -> Any:
    """The reference for a noun phrase; steps that find, select, relate or combine are added as needed."""
    text = text.strip(" ,.")
    numbers = mentioned_regions(text)
    ones = re.match(r"^(?:only |just |all )?(?:the )?(.+?) ones?$", text)
    if ones and b.last is not None and not numbers:
        base = next((step["regions"] for step in reversed(b.steps) if step["action"] == "count"), b.last)
        return b.add("filter", regions=base, that=ones[1])
    if numbers and re.fullmatch(r"(?:(?:the )?[\w' ]*?(?:in|of|at)? ?<region\d+>(?:,| and| or|\s)*)+(?: only| alone| too| as well)?", text):
        return _as_refs([f"r{number}" for number in numbers])
    if _PRONOUN.match(text) and b.last is not None:
        return b.last
    both = re.match(r"^(.+?),? (?:and|as well as) ((?:the |all |every |both )?[a-z].*)$", text)
    if both and not re.search(r"\b(?:between|salt|black) ", both[1]):
        parts = [part for one in (*both[1].split(","), both[2]) if (part := one.strip())]
        found_refs = [_refs(part, b) for part in parts]
        flat = [ref for one in found_refs for ref in ([one] if isinstance(one, str) else one)]
        return _as_refs(list(dict.fromkeys(flat)))
    excepted = re.match(r"^(.+?),? (?:minus|except(?: for)?|apart from|but not|other than|without|but) (?:the )?(.+)$", text)
    if excepted and (re.search(r"\b(?:minus|except|apart from|but|other than)\b", text) or excepted[2].endswith(("ones", "one"))):
        base = _refs(excepted[1], b)
        rest = re.match(r"^(.+?) ones?$", excepted[2])
        other = b.add("filter", regions=base, that=rest[1]) if rest else _refs(excepted[2], b)
        return b.add(
            "combine",
            regions=[*(base if isinstance(base, list) else [base]), *(other if isinstance(other, list) else [other])],
            how="difference",
        )
    half = _HALF.search(text)
    if half:
        side = {"upper": "top", "lower": "bottom"}.get(half[1], half[1])
        return b.add("relate", regions=_refs(text[: half.start()] + text[half.end() :], b), relation="inside", to=f"{side}_half")
    ordered = _ordered(text, b)
    if ordered is not None:
        return ordered
    between = re.match(r"^(.+?) (?:that (?:is|are) )?between (.+?) and (.+)$", text)
    if between:
        base, first, second = (_refs(part, b) for part in between.groups())
        return b.add("relate", regions=base, relation="between", to=[first, second])
    for pattern, relation in _NEAR.items():
        if relation in ("inside", "on", "outside", "overlapping") and not re.search(r"<region\d+>$", text):
            continue
        found = re.match(
            rf"^(.+?) (?:that |which )?(?:is |are |lies? |lying |stands? |sits? |standing |sitting )?{pattern} ((?:the |my |a |<).+)$", text
        )
        if found and not re.fullmatch(r"(?:the |all )?(?:left|right)", found[1]):
            return b.add("relate", regions=_refs(found[1], b), relation=relation, to=_refs(found[2], b))
    without = re.match(r"^(?:all |the |every )?([\w-]+) (without .+|with(?:out)? no .+)$", text)
    if without:
        return b.add("filter", regions=b.find(_noun(without[1])), that=without[2])
    noun = _noun(text)
    describes = re.search(r"\b(?:that|who|which|with|wearing|holding|in|at|on|of)\b", noun) is not None and not re.match(
        r"^(?:all|every|each|both)\b", text
    )
    return b.find(noun, describes)


def _ordered(text: str, b: _Builder) -> str | None:
    """ "4th lantern from the right", "the smaller of the two benches", "second biggest dog"."""
    sides = {"left": "leftmost", "right": "rightmost", "top": "topmost", "bottom": "bottommost"}
    found = re.match(r"^(?:the )?(\w+) (.+?) (?:from|counting from|starting from) (?:the )?(left|right|top|bottom)$", text)
    if found and found[1] in ORDINALS:
        return b.add(
            "select", regions=b.find(_noun(found[2])), by=sides[found[3]], n=ORDINALS[found[1]] if ORDINALS[found[1]] > 1 else None
        )
    found = re.match(r"^(?:the )?(\w+)(?: one)? (?:of|among|from) (?:the |these |those |all )?(?:two |three |four |five )?(.+)$", text)
    if found and found[1] in SUPERLATIVES:
        base = _refs(found[2], b) if "<region" in found[2] else b.find(_noun(found[2]))
        return b.add("select", regions=base, by=SUPERLATIVES[found[1]])
    strict = {
        word: by
        for word, by in SUPERLATIVES.items()
        if word
        not in (
            "big",
            "large",
            "small",
            "little",
            "tiny",
            "tall",
            "huge",
            "front",
            "back",
            "left",
            "right",
            "top",
            "bottom",
            "upper",
            "lower",
            "middle",
            "central",
        )
    }
    found = re.match(r"^(?:the )?(?:(\w+) )?(\w+) (.+)$", text)
    if found and found[2] in strict and (found[1] is None or found[1] in ORDINALS):
        n = ORDINALS.get(found[1] or "", 1)
        return b.add("select", regions=b.find(_noun(found[3])), by=strict[found[2]], n=n if n > 1 else None)
    found = re.match(r"^(?:the )?(?:(two|three|four|five) )(\w+) (.+)$", text)
    if found and found[2] in strict:
        return b.add(
            "select", regions=b.find(_noun(found[3])), by=strict[found[2]], top={"two": 2, "three": 3, "four": 4, "five": 5}[found[1]]
        )
    found = re.match(
        r"^(?:the )?(.+?) (?:that (?:is|are) |sitting |standing )?(?:on|at|to) the (?:far |very )(left|right|top|bottom)$", text
    )
    if found:
        return b.add("select", regions=b.find(_noun(found[1])), by=sides[found[2]])
    found = re.match(r"^(?:the )?(middle|central) (.+)$", text)
    if found:
        return b.find(f"{_noun(found[2])} in the middle", describes=True)
    return None


def _noun(text: str) -> str:
    """A noun phrase as a plan has it: no article, singular."""
    text = re.sub(
        r"^(?:(?:the|a|an|any|some|all|every|each|of|my|your|his|her|their|our|its|this|that|these|those|both|only|me|no|spare|single|other|one|two|three|four)\s+)+",
        "",
        text.strip(" ,."),
    )
    text = re.sub(
        r"\s+(?:here|there|only|alone|too|as well|in here|please|visible|around|in (?:the|this) (?:picture|image|photo))$", "", text
    )
    head, joint, tail = _split_head(text)
    if names().lookup(head, guess=False) is None and " " not in head and not is_english(head):
        near = names().lookup(head)
        head = near.word if near is not None else head
    return f"{forms(head)[1] if len(forms(head)) > 1 and forms(head)[1] != head.replace(' ', '') else head}{joint}{tail}"


def _split_head(text: str) -> tuple[str, str, str]:
    """The words up to the noun, and what describes it behind."""
    found = re.match(r"^(.+?)( (?:that|who|which|with|in|on|at|of|behind|wearing|holding) .+)$", text)
    return (found[1], "", found[2]) if found else (text, "", "")
