"""Question templates, many for each role, and the choice among them by a hash.

A template is a sentence with `{regions}` (mentions joined in words), `{first}`, `{second}` (single mentions), `{word}` or `{text}`.
All sentences are this project's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from gpt4roi.conversation import Turn
from gpt4roi.data.errors import DataError
from gpt4roi.data.sample import Sample
from gpt4roi.data.seeding import stable_hash

TEMPLATES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        # One region, a class name as the answer.
        "name": (
            "What is {regions}?",
            "Name what {regions} shows.",
            "Which object is in {regions}?",
            "What do you call the thing in {regions}?",
            "In a word or two, what is {regions}?",
            "Identify {regions}.",
            "What kind of thing is {regions}?",
            "What has been marked as {regions}?",
            "Give {regions} a name.",
            "Tell me what {regions} is, just its name.",
            "{regions}: what is it?",
            "What am I looking at in {regions}?",
            "To which category does {regions} belong?",
            "What sort of object did I draw {regions} around?",
            "Put a label on {regions}.",
            "Please name the object inside {regions}.",
        ),
        # The same, when an earlier turn has already asked it.
        "name_next": (
            "And {regions}?",
            "What about {regions}?",
            "Now {regions}, please.",
            "And what is {regions}?",
            "How about {regions}?",
            "Next, {regions}: what is it?",
            "Same question for {regions}.",
            "Then what is {regions}?",
            "{regions}?",
            "And the one in {regions}?",
            "What would you call {regions}?",
            "Go on with {regions}.",
        ),
        # One region, a phrase of a few words to a sentence.
        "describe": (
            "Describe {regions}.",
            "Describe {regions} in a short phrase.",
            "What can be seen in {regions}?",
            "Say briefly what {regions} shows.",
            "Caption {regions}.",
            "Write a short caption for {regions}.",
            "What does {regions} look like?",
            "Sum up {regions} in a few words.",
            "What is going on in {regions}?",
            "Tell me about {regions} in one phrase.",
            "How would you describe {regions} to someone on the phone?",
            "Put {regions} into words.",
            "Give me a brief description of {regions}.",
            "What is worth saying about {regions}?",
            "If {regions} were a photo of its own, what would its title be?",
            "What do you notice in {regions}?",
        ),
        "describe_next": (
            "Now describe {regions}.",
            "And {regions}, how would you describe it?",
            "What about {regions}?",
            "And what does {regions} show?",
            "Do the same for {regions}.",
            "Then caption {regions}.",
            "Go on: {regions}.",
            "A few words about {regions} as well, please.",
            "What can you say of {regions}?",
            "Next, {regions}.",
            "And in {regions}?",
            "How does {regions} look?",
        ),
        "describe_in_detail": (
            "Describe {regions} in detail.",
            "Tell me everything you can see in {regions}.",
            "Give a full description of {regions}: what it is, how it looks, what is around it.",
            "Look closely at {regions} and describe it thoroughly.",
            "What are the details of {regions}?",
            "Write a paragraph about {regions}.",
            "Describe {regions} so that a painter could paint it.",
            "I cannot see the picture well. What exactly is in {regions}?",
            "Take your time with {regions}: colours, materials, parts, everything.",
            "Explain at length what {regions} shows.",
            "Describe the appearance of {regions} and what it is doing or used for.",
            "Leave nothing out: what is in {regions}?",
            "What would a careful observer write about {regions}?",
        ),
        # A referring expression, place in the picture allowed.
        "refer": (
            "Describe {regions} so that someone else could point at it.",
            "How would you tell a friend which thing in the picture {regions} is?",
            "Which one is {regions}? Say it in words.",
            "Give a phrase that picks out {regions} and nothing else in the picture.",
            "Point out {regions} using words only.",
            "Say where {regions} is and what it is, so that it can be found.",
            "How can I find {regions} in the picture?",
            "Refer to {regions} without ambiguity.",
            "Write an expression that singles out {regions}.",
            "Someone has to tap {regions} without seeing my box. What do you tell them?",
            "Tell {regions} apart from everything else here.",
            "What words lead straight to {regions}?",
            "In a short phrase, which object do I mean by {regions}?",
        ),
        # A referring expression by looks alone (RefCOCO+).
        "refer_by_looks": (
            "By its looks alone, which thing is {regions}?",
            "Single out {regions} without saying where in the picture it is.",
            "Describe {regions} so that it cannot be confused with the others; do not use its position.",
            "What about the appearance of {regions} sets it apart?",
            "Which one is {regions}? No left, no right, only how it looks.",
            "Tell {regions} from its neighbours by how it looks.",
            "Give a phrase for {regions} that works even if the picture were mirrored or shuffled.",
            "How does {regions} differ from similar things here?",
            "Refer to {regions} by its attributes.",
            "Which features identify {regions}?",
            "Pick out {regions} by looks, not by place.",
            "Name what makes {regions} recognisable among the rest.",
        ),
        # The whole picture, with regions marked in it.
        "describe_image": (
            "Describe the picture, in which {regions} are marked.",
            "I marked {regions}. What does the picture show?",
            "With {regions} in view, write one sentence about the picture.",
            "Here are {regions}. What is happening?",
            "Summarise the scene around {regions}.",
            "Write a caption for this picture; {regions} point at the things that matter.",
            "What is the picture about? Pay attention to {regions}.",
            "Tell me in one sentence what is going on, given {regions}.",
            "Given {regions}, how would you caption this photo?",
            "What story do {regions} tell together?",
            "Look at {regions} and the rest of the photo, then describe it.",
            "One sentence for the whole picture, please; see {regions}.",
            "Explain the scene. I have marked {regions} in it.",
        ),
        # Which words of the caption belong to one region.
        "phrase": (
            "Which words of that sentence mean {regions}?",
            "What did you call {regions} there?",
            "Who or what is {regions} in your description?",
            "In that description, what stands for {regions}?",
            "And {regions}: which part of the sentence is it?",
            "How is {regions} mentioned in it?",
            "Match {regions} with the words you used.",
            "Which thing that you mentioned is {regions}?",
            "What phrase goes with {regions}?",
            "{regions} is which of them?",
            "And what exactly is {regions}?",
            "Which of the things in your sentence did I mark as {regions}?",
        ),
        "list": (
            "List what is in {regions}.",
            "Name each of {regions}, in order.",
            "What are {regions}? Answer one after the other.",
            "Go through {regions} and say what each is.",
            "Give me the names of {regions}.",
            "Label {regions}.",
            "What do {regions} contain?",
            "Enumerate {regions} with their names.",
            "Tell me, for each of {regions}, what it is.",
            "Write down what every one of {regions} shows.",
            "Which objects are {regions}?",
            "Make a list: {regions}.",
        ),
        "locate": (
            "Where in the picture is {regions}?",
            "In which part of the picture is {regions}?",
            "Say where {regions} lies.",
            "Describe the position of {regions}.",
            "Whereabouts is {regions}?",
            "Is {regions} on the left, in the middle or on the right?",
            "Where would I have to look for {regions}?",
            "Give the place of {regions} in words.",
            "How is {regions} placed in the picture?",
            "Which corner or side is {regions} nearest to?",
            "Where has {regions} been drawn?",
            "Locate {regions} in words.",
        ),
        "compare": (
            "Compare {first} with {second}.",
            "Are {first} and {second} the same kind of thing?",
            "Do {first} and {second} show the same sort of object?",
            "What is the difference between {first} and {second}?",
            "How do {first} and {second} differ?",
            "Is {first} like {second}?",
            "Put {first} and {second} side by side: same or different?",
            "What do {first} and {second} have in common, and what not?",
            "Would you give {first} and {second} the same name?",
            "Look at {first}, then at {second}. Are they alike?",
            "Set {first} against {second}.",
            "Is there a difference in kind between {first} and {second}?",
        ),
        "reason": (
            "What can be concluded from {regions}?",
            "Looking at {regions}, what is likely to happen next?",
            "What do {regions} tell you about the situation?",
            "What might be the purpose of {regions}?",
            "Think about {regions}: what is probably going on?",
            "From {regions}, what would you guess about this place?",
            "What does {regions} suggest?",
            "What is {regions} most likely for?",
            "Given {regions}, what happened before this photo was taken?",
            "What could be inferred from {regions}?",
            "Reason about {regions}: what does it mean for the scene?",
            "Take {regions} into account and say what is happening here.",
        ),
        # Asks for the grounds of the answer that was just given.
        "why": (
            "Why?",
            "Why do you think so?",
            "What makes you say that?",
            "How do you know?",
            "What is your reason?",
            "Explain your answer.",
            "What in the picture tells you that?",
            "On what do you base this?",
            "How can you tell?",
            "Please justify that.",
            "What supports your answer?",
            "Which clues led you there?",
            "And the reason?",
            "What evidence do you see for it?",
        ),
        "yes_no": (
            "Is {regions} a {word}?",
            "Does {regions} show a {word}?",
            "Is there a {word} in {regions}?",
            "Would you say that {regions} is a {word}?",
            "Can a {word} be seen in {regions}?",
            "Is the thing in {regions} a {word}?",
            "Did I mark a {word} as {regions}?",
            "{regions}: is it a {word}?",
            "Yes or no: is {regions} a {word}?",
            "Have I drawn {regions} around a {word}?",
            "Is it right to call {regions} a {word}?",
            "Am I right that {regions} is a {word}?",
        ),
        "count": (
            "How many of {regions} are a {word}?",
            "Count each {word} among {regions}.",
            "Among {regions}, how many times do you see a {word}?",
            "How often does a {word} occur in {regions}?",
            "In how many of {regions} is there a {word}?",
            "Tell me the number of boxes with a {word} among {regions}.",
            "Of {regions}, how many show a {word}?",
            "Look at {regions} and count: {word}.",
            "What is the count of {word} in {regions}?",
            "How many boxes out of {regions} hold a {word}?",
            "Give a number: how many of {regions} would you call a {word}?",
            "Count for me: {word}, in {regions}.",
        ),
        "colour": (
            "What colour is {regions}?",
            "Which colour does {regions} have?",
            "Name the main colour of {regions}.",
            "What is the colour of {regions}?",
            "In what colour is {regions}?",
            "Tell me the colour of {regions}.",
            "How would you call the colour of {regions}?",
            "Which colour dominates {regions}?",
            "What shade is {regions}?",
            "Is {regions} light or dark, and of which colour?",
            "What colour do you see in {regions}?",
            "Say the colour of {regions} in one word.",
        ),
        # Introduces regions before a question of the data set's own; `{text}` is that question.
        "about": (
            "In the picture: {regions}. {text}",
            "I marked {regions}. {text}",
            "Here are {regions}. {text}",
            "These are marked: {regions}. {text}",
            "Look at {regions}. {text}",
            "You see {regions}. {text}",
            "My boxes are {regions}. {text}",
            "Consider {regions}. {text}",
            "Take a look at {regions} first. {text}",
            "{text} (I mean {regions}.)",
            "{text} The boxes are {regions}.",
            "With {regions} marked: {text}",
        ),
        # The same where what the boxes hold is told, by a detector that may err.
        "about_detected": (
            "A detector found {regions}. {text}",
            "Possibly in the picture: {regions}. {text}",
            "These boxes came from a detector: {regions}. {text}",
            "Detected: {regions}. {text}",
            "Hints from a detector: {regions}. {text}",
            "{text} For what it is worth, a detector reports {regions}.",
            "There may be {regions}. {text}",
            "Automatic detection gives {regions}. {text}",
            "{text} Detected objects: {regions}.",
            "The following might help: {regions}. {text}",
            "Some of what is in the picture: {regions}. {text}",
            "I ran a detector, which says {regions}. {text}",
        ),
        # Multiple choice; `{text}` is the question with its choices.
        "choose": (
            "{text}\nAnswer with the letter of the right choice.",
            "{text}\nWhich choice is right? Give its letter only.",
            "Pick the right answer and reply with its letter. {text}",
            "{text}\nReply with one letter.",
            "Choose one. {text}\nYour answer is a letter.",
            "Multiple choice: {text}\nOnly the letter, please.",
            "Which of the choices fits the picture? {text}\nGive the letter.",
            "{text}\nOne choice is correct; name its letter.",
            "Read the choices and answer with a letter. {text}",
            "{text}\nWhat is the letter of the best choice?",
            "Decide between the choices below. {text}\nWrite the letter.",
            "{text}\nLetter of the correct choice?",
        ),
    }
)


def mention(number: int) -> str:
    return f"<region{number}>"


def join_words(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


@dataclass(frozen=True)
class Question:
    """What a user turn asks, before it is put into words.

    role: a key of TEMPLATES.
    numbers: the regions it names, in this order; at least one unless the role names none.
    values: what else the templates of the role need (`word`, `text`).
    notes: what is told about each region, shown in brackets; empty or one a number.
    """

    role: str
    numbers: tuple[int, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def text(self, *key: object) -> str:
        """The question in words; the same key chooses the same template.

        Raises:
          DataError: an unknown role.
        """
        if self.role not in TEMPLATES:
            raise DataError(f"there are no question templates for '{self.role}'; the roles are {', '.join(TEMPLATES)}")
        choices = TEMPLATES[self.role]
        template = choices[stable_hash("template", *key) % len(choices)]
        mentions = [mention(number) for number in self.numbers]
        if self.notes:
            mentions = [f"{text} ({note})" for text, note in zip(mentions, self.notes, strict=True)]
        places = {"regions": join_words(mentions), "first": "", "second": ""}
        places.update(zip(("first", "second"), mentions, strict=False))
        return _with_article(template, self.values.get("word", "")).format_map({**places, **self.values})

    def turn(self, *key: object) -> Turn:
        return Turn("user", self.text(*key))


def _with_article(template: str, word: str) -> str:
    return template.replace(" a {word}", " an {word}") if word[:1].lower() in tuple("aeiou") else template


def worded(sample: Sample, seed: int, epoch: int) -> Sample:
    """The sample with its templated questions in this epoch's words.

    Readers leave `extra["questions"]`: one `Question` or None a turn. The choice depends on (seed, epoch, sample_id, turn) alone,
    so every rank, worker and resumed run sees the same words, and every epoch sees others.
    """
    questions = sample.extra.get("questions")
    if not questions:
        return sample
    turns = tuple(
        turn if question is None else question.turn(seed, epoch, sample.sample_id, index)
        for index, (turn, question) in enumerate(zip(sample.conversation, questions, strict=True))
    )
    return replace(sample, conversation=turns)
