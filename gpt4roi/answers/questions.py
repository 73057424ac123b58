"""What kind of fact a question asks for. Patterns over English text in lower case; other languages are translated before."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from gpt4roi.conversation import MENTION

Kind = Literal[
    "chat", "cannot", "read", "color", "count", "exists", "where", "compare", "side", "relation", "either", "is", "use", "beside", "describe",
    "name", "unknown",
]  # fmt: skip


@dataclass(frozen=True)
class Question:
    """What is asked. phrases: noun phrases it is about, in the order that its kind says. word: one word that decides (a relation, a use)."""

    kind: Kind
    phrases: tuple[str, ...] = ()
    word: str = ""


R = r"(?:<region\d+>|it|this|that|he|she|they|these|those|the (?:thing|object|one|box|region))"
_NOISE = re.compile(
    r"^(?:(?:ok(?:ay)?|so|hey|hi|hello|well|hm+|um+|and|but|now|please|pls|sorry|excuse me|say|maybe|also|then|tell me|can you tell(?: me)?|could you tell(?: me)?|do you know|do you think|i wonder|i want to know|let me know|can you see|just|from [\w' ]+:)[\s,:!]+)+"
)
_TAIL = re.compile(
    r"[\s,]*(?:please|pls|thanks|thank you|isn't it|isnt it|right|or not|do you think|would you say|by the way|btw|\bhuh)\s*$"
)
_PERSONAL = re.compile(
    r"\b(?:called|named?|nickname|surname)\b(?=\s*$)|\b(?:what(?:'s| is)|know) (?:the |his |her |its |their )(?:[\w' ]*\b)?(?:name|age|job|price|cost|address|phone number|religion|nationality|birthday|weight|mood)\b"
    r"|\bhow (?:much|old|heavy|expensive|long ago|fast|far|tall|hot|cold|deep)\b|\bhow many (?:years|kilos|dollars|euros|days|hours)\b|\b(?:price|cost|costs|pay|paid|worth|spend|bought|sold)\b"
    r"|\bwhy\b|\bwhen\b|\bwhat (?:year|day|date|time|month)\b|\bthink(?:s|ing)? (?:of|about)\b|\bfeel(?:s|ing)?\b|\bdid (?:he|she|it|they|the)\b|\bwill (?:he|she|it|they|the)\b|\bwhat happen(?:s|ed)\b|\bbefore this\b|\bnext\?*$"
    r"|^(?:who|whose)\b(?! (?:or what )?(?:stands?|sits?|is (?:standing|sitting|behind|next|beside|in front|on|under|left|right)|else|can))|\bfamous\b|\bbrothers?\b|\bsisters?\b|\bmarried\b|\bin love\b"
)
_CHAT = re.compile(
    r"^(?:hi|hey|hello|good (?:morning|evening|day|afternoon)|thanks?|thank you|thx|bye|cheers|nice|great|ok|okay|cool|wow)\b(?:[\s!,.]*(?:there|all|everyone|you|again|a lot|so much|very much|that was [\w ]+|gpt4roi|friend))*[\s!,.]*$"
    r"|\b(?:who|what) are you\b|\bwhat (?:else )?can (?:you do|i (?:ask|do))\b|\bwhat (?:kind|sort|type)s? of (?:things|questions|stuff)\b|\bhow are you\b|\bhow (?:do|does) (?:this|it|you) work\b|^help\b|\bcan (?:you|i) (?:help|ask)\b"
)
_READ = re.compile(
    r"\b(?:read|spell)\b|\bwhat (?:does|do|is|'s)[\w' ]* (?:say|says|written|writing|text|letters?|words?)\b|\bwritten\b|\b(?:brand|logo|inscription|license plate|number plate|lettering|text|letters|slogan|title|label)\b|\bwhat number\b|\bwhich number\b|\bsays?\b\W*$"
)
_COLOR = re.compile(r"\bcolou?rs?\b|\bcolou?red\b")
_COUNT = re.compile(r"\b(?:how many|number of|count(?: up)?(?: all)?|how much of)\b(?: of)?\s*(.*)|^(.*?)[,:]? (?:how many|number)\??$")
_EXISTS = (
    re.compile(r"\b(?:is|are|was|were) there (?:really |actually |maybe |perhaps |also )?(.+)"),
    re.compile(r"^(?:any|is any|are any|see any|do you see any|do you see|can you see|did you see|have you seen|do i see) (.+)"),
    re.compile(r"^(?:does|do|did|has|have) (?:the|this|that|my|our|we|you|it|i|they)?\s*(?:picture|photo|image|pic|scene|photograph|room|table|shot)?\s*(?:have|has|show|shows|contain|contains|include|got|see|find)\s+(.+)"),
    re.compile(r"^(?:is|are) (?!(?:it|this|that|he|she|they|these|those|we|you|i|one)\b)(.+?) (?:visible|present|shown|in (?:the|this|that|it)\b.*|there|here|around|to be seen|on (?:the|this) (?:picture|photo|image).*)$"),
    re.compile(r"^(?:can|could) (.+?) be (?:seen|found|spotted)"),
    re.compile(r"^(?:do|does) (?:we|you|i|they) (?:have|see|spot|find|notice|recogni[sz]e) (.+)"),
    re.compile(r"^(?:got|have|has it got) (?:any|a|an|some) (.+)"),
)  # fmt: skip
_WHERE = re.compile(
    r"^(?:where(?:'s|s| is| are| was| were| can i (?:see|find)| do (?:you|we|i) see| does| do)?|(?:can you |could you |please |help me )?(?:find|locate|show(?: me)?|point (?:to|at|out)|spot|mark|search(?: for)?|look for|highlight|give me|select|detect))\s+(?:me )?(?:where )?(.+)"
)
_SIDE = re.compile(r"\b(?:is|are) (.+?) (?:at|on|in|to|near|towards) (?:the )?(?:far )?(left|right|top|bottom|middle|cent(?:er|re))\b(.*)")
_RELATIONS = {
    "left of": r"(?:to )?(?:the )?left (?:side )?of", "right of": r"(?:to )?(?:the )?right (?:side )?of", "above": r"above|over|higher than|on top of",
    "below": r"below|under(?:neath)?|beneath|lower than", "inside": r"inside|within|in", "near": r"near|next to|beside|close to|by",
    "touching": r"touching|overlapping|on", "larger than": r"(?:bigger|larger|taller|wider) than", "smaller than": r"(?:smaller|shorter|narrower) than",
}  # fmt: skip
_COMPARE = re.compile(
    r"\b(?:which|what|who)\b(?: one| of (?:them|the two|these|those|my boxes)|\s[\w' <>]+?)?\s*(?:is|are|stands|flies|sits|lies|looks|hangs|appears|goes)\s*(?:further |farther |more |the )?(bigger|larger|smaller|taller|wider|higher|lower|left(?:most)?|right(?:most)?|biggest|largest|smallest|tallest|widest|highest|lowest|closer|nearer|nearest|closest|on the left|on the right|to the left|to the right|at the top|at the bottom|above|below)\b"
)
_WHICH_BOX = re.compile(
    r"^(?:in |on )?which (?:of (?:my|the|these) )?(?:box|boxes|region|regions|number|one)\b.*?\b(?:has|have|is|shows?|contains?|holds?|with)\s+(.+)"
)
_BESIDE = (
    re.compile(r"^(?:what|who) (?:is|'s|stands?|sits?|lies|are|can be seen|do you see) (?:(?:standing|sitting|lying|hanging|there|right|directly) )?(on|behind|next to|beside|in front of|under|below|above|near|inside|in|left of|right of|to the left of|to the right of|between|around)\s+(.+)"),
    re.compile(r"^what (?:does|do|is|are|'s) (.+?) (?:rest(?:ing)?|sit(?:ting)?|stand(?:ing)?|ly?ing|lie|sleep(?:ing)?|hold(?:ing)?|wear(?:ing)?|carry(?:ing)?|rid(?:e|ing)|eat(?:ing)?)\s*(on|in|with)?\W*$"),
)  # fmt: skip
_DESCRIBE = re.compile(
    r"\b(?:describe|caption|summari[sz]e)\b|\bwhat (?:do|can) (?:we|you|i|one) see\b|\bwhat(?:'s| is| are| was)?(?: all)? (?:shown|seen|here|there|depicted|visible|happening|going on)\b"
    r"|\bwhat (?:is|'s|does|do you see|do we see)\b.* (?:in|on|of) (?:this|the|that|my) (?:whole |entire )?(?:picture|photo|image|pic|scene|photograph|shot)\b|\bwhat (?:is|'s) (?:this|the|that) (?:picture|photo|image|pic|scene|photograph) (?:of|about|showing)\b"
    r"|\btell (?:me|us) (?:something )?(?:about|what)\b|^(?:something )?about (?:the|this|that|my|our|it|<region\d+>)|\bwhat does (?:the|this) (?:picture|photo|image|pic|scene) show\b|^caption\b|\bwhich (?:things|objects)\b|\blist (?:all|every|the)\b|\bwhat(?:'s| is) in (?:here|there|it)\b|\babout this (?:picture|photo|image)\b"
)
_EITHER = re.compile(
    r"\b(?:is|are|was|were)?\s*(?:<region\d+>|it|this|that|these|those|he|she|they)?\s*(?:rather |more |a kind of |on |in |at )?\s*((?:an? |the |some )?[\w' -]+?)(?:, ((?:an? |the )?[\w' -]+?))?,? or (?:rather |just |an? )?((?:an? |the )?[\w' -]+)$"
)
_IS = (
    re.compile(rf"^(?:{R}\W+)?(?:is|are|was|were|would|could|might|isn't|isnt|ain't)\s+{R}\s+(?:be |really |actually |also |maybe |perhaps |probably |some kind of |a kind of |a type of |some sort of )*(.+)$"),
    re.compile(rf"^(?:are|am|is) (?:we|i|you|one) (?:looking at|seeing) (.+?)(?:\s+(?:in|at|inside) {R}.*)?$"),
    re.compile(rf"^(?:does|do) {R} (?:show|contain|look like|depict|resemble|have)\s+(.+)$"),
    re.compile(rf"^(?:{R}\W+)((?:an?|some|the) [\w' -]+)$"),
    re.compile(rf"^(?:is|are) the (?:thing|object|one|animal|person)? ?(?:in|at|inside) {R}\s+(.+)$"),
)  # fmt: skip
_USES = {
    "eat": "food", "eaten": "food", "edible": "food", "cook": "food", "drink": "beverage", "drive": "motor vehicle", "ride": "vehicle",
    "wear": "clothing", "pet": "animal", "alive": "living thing", "living": "living thing", "fly": "aircraft", "sit on": "seat", "play music": "musical instrument",
}  # fmt: skip
_USE = re.compile(
    rf"\b(?:can|could|may|should|would) (?:i|you|we|one|people|someone|{R}) (?:be )?(eat|eaten|drink|drive|ride|wear|cook|sit on|play music)\b|\b(edible|alive|living)\b"
)
_NAME = re.compile(r"\b(?:what|which|name|identify|recogni[sz]e|guess|explain|classify|label)\b")
_ACTION = re.compile(
    r"\b(?:do(?:es|ing)?|did|playing|going to|happen\w*|made of|material|flavou?r|taste|smell|sound|season|weather|country|city|game|sport|style|use(?:d)? for|purpose|function|breed of|mean|means|cause|wear(?:ing|s)?|hold(?:ing|s)?|look(?:s|ing)? (?:at|like)|eat(?:ing|s)?|say(?:ing|s)?|emotion|mood|expression|gender|turn)\b"
)


_WIDE = str.maketrans("？！。，", "?!.,")


def straight(text: str) -> str:
    """Lower case, straight quotes, one space, no question mark."""
    text = text.lower().replace("’", "'").replace("…", " ").translate(_WIDE)
    text = re.sub(r"\b(what|where|who|that|there)s\b", r"\1's", text)
    return " ".join(re.sub(r"[?!.]+(?=\s|$)", " ", text).split()).strip(" ,;:-")


def clean(text: str) -> str:
    """A `straight` text without its polite beginning and end."""
    for _ in range(3):
        shorter = _TAIL.sub("", _NOISE.sub("", text)).strip(" ,;:-")
        if not shorter:
            break
        text = shorter
    return text


def read_question(text: str, num_regions: int, num_meant: int) -> Question:
    """What a question asks for.

    Args:
      text: with regions named as `<regionN>`, in English.
      num_regions: regions there are. num_meant: regions that the question is about.
    """
    # `meant` puts the region before a question that does not point; the question itself begins behind it.
    raw = straight(re.sub(r"^<region\d+>: ", "", text))
    if _CHAT.search(raw):
        return Question("chat")
    said = clean(raw)
    bare = clean(MENTION.sub("it", said))
    for kind, parse in _ORDER:
        found = parse(said, bare, num_meant)
        if found is not None:
            return Question(kind, *found)
    if not num_meant and re.match(r"^(?:what|who|which|name|identify|guess)\b.*\b(?:this|that|it|these|here)$", bare):
        return Question("describe")
    is_yes_no = re.match(r"(?:is|are|was|were|does|do|did|has|have|had|can|could|will|would|should)\b", bare)
    if num_meant and not is_yes_no and not _acts(said):
        # Whatever else is said beside a box asks for its name.
        return Question("name", _category(bare))
    return Question("unknown")


Parsed = tuple[tuple[str, ...], str] | None
Parser = Callable[[str, str, int], Parsed]


def _which_box(said: str, bare: str, meant: int) -> Parsed:
    found = _WHICH_BOX.match(said)
    return (
        ((found[1],), "which box")
        if found and not re.match(r"(?:the )?(?:bigger|larger|smaller|higher|lower|left|right)", found[1])
        else None
    )


def _use(said: str, bare: str, meant: int) -> Parsed:
    found = _USE.search(bare)
    return ((_USES[found[1] or found[2]],), found[1] or found[2]) if found and meant else None


def _compare(said: str, bare: str, meant: int) -> Parsed:
    found = _COMPARE.search(said)
    if found is None:
        return None
    noun = re.match(r"(?:which|what) ([\w' ]+?) (?:is|are|stands|flies|sits|lies|looks|hangs|appears|goes)\b", said)
    return ((noun[1],) if noun and noun[1] not in ("one", "of them", "of the two", "of these") else (), found[1])


def _side(said: str, bare: str, meant: int) -> Parsed:
    found = _SIDE.search(said)
    if found is None or re.match(r"\s*(?:side |edge )?of\b", found[3]):
        return None
    return (found[1],), found[2] + (" or" if " or " in found[3] else "")


def _relation(said: str, bare: str, meant: int) -> Parsed:
    if re.match(r"^(?:are|am|is) (?:we|i|you|one) (?:looking|seeing)\b", said):
        return None
    for name, pattern in _RELATIONS.items():
        found = re.match(rf"^(?:is|are|does|do)\s+(.+?)\s+(?:{pattern})(?: or (\w+(?: of| to| than)?))?\s+(.+)$", said)
        if found and (len(MENTION.findall(said)) >= 2 or re.match(r"(?:the|<region|it\b|this|that|my)", found[3])):
            first, second = found[1], found[3]
            if re.match(r"(?:it|this|that|he|she)\s+\w+", first) or (name in ("inside", "touching") and not MENTION.search(second)):
                continue
            return (first, second), name + (" or" if found[2] else "")
    return None


def _beside(said: str, bare: str, meant: int) -> Parsed:
    first, second = (pattern.match(said) for pattern in _BESIDE)
    if first and not re.search(r"'s |\b(?:picture|photo|image|pic|scene|background)\b", first[2]) and not re.match(R + r"\W*$", first[2]):
        return (first[2],), first[1]
    return ((second[1],), second[2] or "with") if second and "'s " not in second[1] else None


def _either(said: str, bare: str, meant: int) -> Parsed:
    found = _EITHER.search(bare)
    if found is None or not re.match(r"^(?:<region\d+>\W+)?(?:is|are|was|were|it\W|this\W|that\W|what|which|an? )", bare):
        return None
    options = tuple(
        re.sub(r"^(?:is|are|it|this|that|was|which is it|what is it)\s+", "", option).strip() for option in found.groups() if option
    )
    return options, ""


def _color(said: str, bare: str, meant: int) -> Parsed:
    if not _COLOR.search(said):
        return None
    for pattern in (
        r"colou?rs?(?: is| are| does| do| has| have|'s)?(?: of)?\s+(?!.*\bwhat\b)(.+)", r"^(.+?) (?:is|are|has|have) (?:what|which) colou?rs?", r"^(.+?) colou?rs?$",
    ):  # fmt: skip
        found = re.search(pattern, said)
        if found:
            phrase = re.sub(r"\s*\b(?:have|has|does|is|are)$", "", found[1]).strip()
            return (phrase,), ""
    return (), ""


def _exists(said: str, bare: str, meant: int) -> Parsed:
    for pattern in _EXISTS:
        found = pattern.search(bare)
        about_region = meant and re.match(r"(?:does|do|did|has|have) (?:it|this|that)\b", bare)
        if found and not about_region and not re.match(r"(?:the )?(?:it|this|that)\b\s*$", found[1]):
            return (found[1],), ""
    return None


def _where(said: str, bare: str, meant: int) -> Parsed:
    found = _WHERE.match(said)
    if found and re.search(r"\bor\b", found[1]):
        return None
    return (
        ((re.sub(r"\s+(?:sits?|sitting|lying|stand(?:s|ing)?|located|is|are|placed|be|hiding|lie|lies|parked)\W*$", "", found[1]),), "")
        if found
        else None
    )


def _count(said: str, bare: str, meant: int) -> Parsed:
    found = _COUNT.search(bare)
    if found is None:
        return None
    phrase = (found[1] or found[2] or "").strip()
    phrase = re.sub(
        r"\s+(?:are|is|do|does|can|could|were|have|stand|sit|lie|pose|play|there|you|we|i|i'm|fly|walk|grow|hang|swim|in (?:the|this) (?:picture|photo|image|scene))\b.*$",
        "",
        phrase,
    )
    return ((phrase,), "") if phrase else None


def _is(said: str, bare: str, meant: int) -> Parsed:
    for pattern in _IS:
        found = pattern.match(said) or pattern.match(bare)
        if found:
            return (found[1],), ""
    tagged = (
        re.match(r"^(?:<region\d+>\W+)?((?:an?|some) [\w' -]+?)(?:,? (?:isn't it|isnt it|right|no|correct|yes))?$", bare) if meant else None
    )
    return ((tagged[1],), "") if tagged else None


def _acts(said: str) -> bool:
    """Whether it asks what somebody does, what a thing is made of, or else what nothing here can judge."""
    if re.search(r"(?<!what)(?<!that)(?<!it)(?<!who)(?<!where)(?<!there)(?<!here)(?<!he)(?<!she)'s (?:[a-z]+)", said):
        return True  # Of a dog's head, the head is not what is named.
    return _ACTION.search(re.sub(r"\b(?:do|did|does) (?:we|you|i)\b|\bdoes <region\d+>", "", said)) is not None


def _category(bare: str) -> tuple[str, ...]:
    """The kind of thing that a question about a name takes for granted: of "which animal" the animal."""
    noun = re.search(
        r"\b(?:which|what|name (?:the|this)|identify (?:the|this)|(?:kind|type|sort|species) of)\s+(?:(?:kind|type|sort|species) of )?(?!(?:is|are|was|it|this|that|these|those|do|does|did|kind|type|sort|of|on|in|out|the|can|might|could|would|you|we|i)\b)([a-z]+)\b",
        bare,
    )
    lone = re.match(r"^(?:the |a |an )?([a-z]+)(?: part| thing| object| item)? (?:in|at|inside|on) it$", bare)
    found = noun or lone
    return (found[1],) if found else ()


def _name(said: str, bare: str, meant: int) -> Parsed:
    return (_category(bare), "") if _NAME.search(bare) and meant and not _acts(said) else None


def _pattern(pattern: re.Pattern[str]) -> Parser:
    return lambda said, bare, meant: ((), "") if pattern.search(bare) else None


_ORDER: tuple[tuple[Kind, Parser], ...] = (
    ("cannot", lambda said, bare, meant: ((), "") if _PERSONAL.search(bare) and not _COUNT.search(bare) else None),
    ("compare", _which_box),
    ("color", _color),
    ("count", _count),
    ("read", _pattern(_READ)),
    ("compare", _compare),
    ("relation", _relation),
    ("side", _side),
    ("beside", _beside),
    ("use", _use),
    ("either", _either),
    ("exists", _exists),
    ("is", _is),
    ("describe", _pattern(_DESCRIBE)),
    ("where", _where),
    ("name", _name),
)  # fmt: skip
