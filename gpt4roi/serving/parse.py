"""From a request to a prompt and how it is answered."""

from __future__ import annotations

from dataclasses import dataclass

from gpt4roi.chat import RegionChat
from gpt4roi.conversation import Turn, mentioned_numbers
from gpt4roi.engine import Engine, PreparedImage, Prompt, Sampling, build_prompt
from gpt4roi.engine.constraint import Constraint, JsonForms
from gpt4roi.engine.events import Answer
from gpt4roi.meaning import meant, spell_mentions
from gpt4roi.regions import RegionSet
from gpt4roi.serving.errors import ApiError
from gpt4roi.serving.images import ImageStore
from gpt4roi.serving.regions import region_set, take_written
from gpt4roi.serving.schema import ChatRequest, ImagePart, Message, RegionFields, RegionPart, TextPart
from gpt4roi.serving.settings import ServerSettings

DEFAULT_QUESTION, DEFAULT_REGION_QUESTION = "What is in the picture?", "What is this?"
# The model knows three roles. What a tool returned is something that it is told.
ROLES = {"developer": "system", "tool": "user", "function": "user"}


@dataclass(frozen=True)
class Job:
    """What the engine is asked; `known` is the answer where facts give it, and the engine has nothing to do."""

    prompt: Prompt
    sampling: Sampling
    known_numbers: frozenset[int]
    stop_strings: list[str]
    question: str
    known: Answer | None = None


@dataclass
class Conversation:
    """Turns about one image: the newest. What was said about an image before it is not shown to the model."""

    turns: list[Turn]
    image_url: str | None
    given: list[RegionFields]


def build_job(request: ChatRequest, engine: Engine, images: ImageStore, forms: JsonForms, settings: ServerSettings) -> Job:
    """Check everything and render the prompt; blocking, for a worker thread.

    Raises:
      ApiError, UserError: what is wrong, in one sentence.
    """
    conversation = read_conversation(request)
    given = conversation.given
    if len(given) > settings.max_regions:
        raise ApiError(400, f"{len(given)} regions were given; at most {settings.max_regions} are taken", "messages")
    characters = sum(len(turn.content) for turn in conversation.turns)
    if characters > settings.max_text_characters:
        raise ApiError(400, f"the texts have {characters} characters; at most {settings.max_text_characters} are taken", "messages")
    if conversation.image_url is None:
        if given or any(mentioned_numbers(turn.content) for turn in conversation.turns if turn.role == "user"):
            raise ApiError(400, "regions were named without a picture; add an image_url part", "messages")
        image, regions = None, RegionSet()
    else:
        image = images.load(conversation.image_url)
        regions = region_set(given, image.size_wh)
    turns = _with_meant_regions(conversation.turns, regions)
    prompt = build_prompt(engine.processor, turns, image, regions)
    if len(prompt.input_ids) > settings.max_prompt_tokens:
        raise ApiError(400, f"the prompt has {len(prompt.input_ids)} tokens; at most {settings.max_prompt_tokens} are taken", "messages")
    stops = [request.stop] if isinstance(request.stop, str) else list(request.stop or [])
    sampling = Sampling(
        min(request.max_completion_tokens or request.max_tokens or settings.default_new_tokens, settings.max_new_tokens),
        temperature=request.temperature or 0.0,
        top_p=request.top_p or 1.0,
        seed=request.seed,
        constraint=_constraint(request, forms),
    )
    known = _fact(engine, image, regions, turns) if sampling.constraint is None and image is not None else None
    return Job(prompt, sampling, frozenset(regions), [*engine.stop_strings, *filter(None, stops)], turns[-1].content, known)


def _fact(engine: Engine, image: PreparedImage, regions: RegionSet, turns: list[Turn]) -> Answer | None:
    """The answer that looking gives, as in `RegionChat`; None where the language model is to speak."""
    chat = RegionChat(engine.model, engine.processor, engine)
    chat.set_image(image, regions=regions)
    return chat.fact(turns[-1].content)


def _constraint(request: ChatRequest, forms: JsonForms) -> Constraint | None:
    """What `response_format` asks of the answer's form."""
    wanted = request.response_format or {"type": "text"}
    match wanted.get("type"):
        case "text":
            return None
        case "json_object":
            return forms.constraint({"type": "object"})
        case "json_schema":
            described = wanted.get("json_schema")
            schema = described.get("schema") if isinstance(described, dict) else None
            if not isinstance(schema, dict):
                raise ApiError(400, 'response_format needs "json_schema": {"schema": {…}}', "response_format")
            return forms.constraint(schema)
        case other:
            raise ApiError(400, f"response_format is text, json_object or json_schema; got '{str(other)[:40]}'", "response_format")


def has_image(request: ChatRequest) -> bool:
    """Whether answering needs an image to be decoded or fetched."""
    return any(isinstance(part, ImagePart) for message in request.messages for part in message.content)


def read_conversation(request: ChatRequest) -> Conversation:
    """Turns, the newest image and its regions.

    Raises:
      ApiError: several images in one message, the wrong role for one, no question at the end.
    """
    conversation = Conversation([], None, [])
    for message in request.messages:
        role = ROLES.get(message.role, message.role)
        urls = list(dict.fromkeys(part.image_url.url for part in message.content if isinstance(part, ImagePart)))
        if role != "user" and any(not isinstance(part, TextPart) for part in message.content):
            raise ApiError(400, f"pictures and regions belong into user messages, not into a {message.role} message", "messages")
        if len(urls) > 1:
            raise ApiError(400, f"a question is about one picture; {len(urls)} were given in one message", "messages")
        if urls and urls[0] != conversation.image_url:
            if conversation.image_url is not None:
                conversation.turns = [turn for turn in conversation.turns if turn.role == "system"]
                conversation.given = []
            conversation.image_url = urls[0]
        conversation.given += [part for part in message.content if isinstance(part, RegionPart)]
        text = _text(message)
        if role == "user":
            text, written = take_written(text)
            conversation.given += written
        conversation.turns.append(Turn(role, text))
    conversation.given += request.regions or []
    last = conversation.turns[-1]
    if last.role != "user":
        raise ApiError(400, "the last message must be a question from the user", "messages")
    if not last.content.strip():
        if not any(not isinstance(part, TextPart) for part in request.messages[-1].content):
            raise ApiError(400, "the last message holds no text; it must be a question from the user", "messages")
        conversation.turns[-1] = Turn("user", DEFAULT_REGION_QUESTION if conversation.given else DEFAULT_QUESTION)
    return conversation


def _with_meant_regions(turns: list[Turn], regions: RegionSet) -> list[Turn]:
    """Mentions in one spelling, and in the question the region that is meant where none is named."""
    known = list(regions)
    spelled = [Turn(turn.role, spell_mentions(turn.content, known)) if turn.role == "user" else turn for turn in turns]
    earlier = [turn.content for turn in spelled[:-1] if turn.role == "user"]
    if not known:
        return spelled
    return [*spelled[:-1], Turn("user", meant(spelled[-1].content, known, previous=earlier[-1] if earlier else None).text)]


def _text(message: Message) -> str:
    text = "\n".join(part.text for part in message.content if isinstance(part, TextPart))
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ApiError(400, "a text holds half a character (a lone surrogate); send whole characters", "messages") from error
    return text
