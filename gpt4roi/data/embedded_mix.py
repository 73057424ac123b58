"""Conversations about labelled boxes, built from labels, colours, captions and geometry: the embedded default's training text.

A record is one line of `scripts/prepare_embedded_data.py`. Everything is a pure function of the record and a seed. All wording is ours.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gpt4roi.data.colours import COLOURS

MASS = frozenset(
    "pasta rice milk juice water tea coffee sugar flour honey jam oil vinegar soda candy cereal corn chocolate fish tomato-sauce cabinetry broccoli".replace(
        "-", " "
    ).split()
) | {"tomato sauce"}
PLURAL = frozenset({"beans", "nuts", "chips", "spices", "skis", "scissors", "binocular"}) - {"binocular"}
CONFUSABLE = (
    ("car", "truck", "bus", "train"), ("bicycle", "motorcycle"), ("dog", "cat", "sheep", "cow", "horse"), ("fork", "knife", "spoon"),
    ("cup", "bowl", "bottle", "wine glass", "vase"), ("chair", "couch", "bench", "bed"), ("apple", "orange", "banana", "carrot"),
    ("laptop", "keyboard", "mouse", "remote", "cell phone", "tv"), ("backpack", "handbag", "suitcase"), ("oven", "microwave", "refrigerator", "toaster", "sink"),
    ("pizza", "sandwich", "donut", "cake", "hot dog"), ("juice", "soda", "water", "milk", "vinegar", "oil"), ("beans", "corn", "rice", "pasta", "nuts"),
    ("candy", "chocolate", "cake", "chips", "cereal"), ("tea", "coffee", "sugar", "flour", "spices"), ("jam", "honey", "tomato sauce"),
    ("bird", "kite", "airplane"), ("surfboard", "skateboard", "snowboard", "skis"), ("elephant", "zebra", "giraffe", "bear"),
    ("ferry", "schooner", "ketch", "boat"), ("crocodile", "crocodile head"), ("cougar face", "cougar body", "leopard", "wild cat"),
)  # fmt: skip

# Each role: how people ask. Evaluation has phrasings of its own that never stand here.
ASK: Mapping[str, tuple[str, ...]] = {
    "name": (
        "What is {a}?", "What is in {a}?", "Name the object in {a}.", "What does {a} show?", "Identify {a}.", "What object is {a}?", "Tell me what {a} is.",
        "What can you see in {a}?", "Which thing is marked as {a}?", "What do you see at {a}?", "what's {a}", "What kind of object is {a}?", "Label {a}.",
        "Could you tell me what {a} is?", "I drew {a}. What is it?", "{a}: what is this?", "Please name {a}.", "What is the thing in {a} called?",
        "Recognise the object in {a}.", "What is inside {a}?", "Say what {a} is in one or two words.", "What category does {a} belong to?", "hey, what is {a}?",
        "What is this? {a}", "Do you know what {a} is?", "What are we looking at in {a}?", "What has been boxed in {a}?",
        "Which object does {a} mark?", "What has been marked with {a}?", "The box {a} holds what?", "Give {a} a name.", "Could you name what {a} points to?",
        "What's the object at {a}?", "Which word describes {a}?", "What would you call {a}?", "What sort of thing is {a}?", "{a} is a picture of what?",
        "I wonder what {a} is.", "Can you recognise {a}?", "What did I draw a box around? {a}", "Tell me the name of the thing in {a}.", "Which thing lies inside {a}?",
        "What type of object can be found at {a}?", "Explain what {a} shows.", "What does the box {a} contain?", "What is pictured in {a}?", "Look at {a} and name it.",
        "What am I seeing in {a}?", "Whatever is in {a}, name it.", "Classify {a}.", "Assign a category to {a}.", "Guess what {a} is.", "I need a label for {a}.",
        "which object is at {a}", "What item is in {a}?", "Name that thing: {a}", "I put a box at {a}. What does it hold?", "{a} marks a thing. What thing?",
        "What stands in {a}?",
    ),
    "name_next": ("And {a}?", "What about {a}?", "And what is {a}?", "How about {a}?", "Now {a}.", "Then {a}?", "Same for {a}.", "And in {a}?"),
    "yes_no": (
        "Is {a} {x}?", "Is that {x} in {a}?", "Does {a} show {x}?", "Can {x} be seen in {a}?", "Would you say {a} is {x}?", "Is there {x} in {a}?",
        "Is the object in {a} {x}?", "Does {a} contain {x}?", "I think {a} is {x}. Am I right?", "Is it true that {a} is {x}?", "{a} is {x}, isn't it?",
        "Do you see {x} in {a}?", "Could {a} be {x}?",
        "Is {x} what {a} shows?", "Am I looking at {x} in {a}?", "Could this be {x}? {a}", "Check whether {a} is {x}.", "Do you agree that {a} is {x}?",
        "Someone says {a} is {x}. Is that right?", "Is {x} the right name for {a}?", "Has {a} got {x} in it?", "Confirm that {a} is {x}.",
        "It looks like {a} is {x}, right?", "Yes or no: is {a} {x}?", "Answer yes or no. Is {a} {x}?", "Is it correct to call {a} {x}?", "Does the box {a} hold {x}?",
        "Can I say that {a} is {x}?", "Is what you see in {a} {x}?", "{a}: is it {x}?", "Is {x} inside {a}?", "Would it be right to say {a} shows {x}?",
        "I believe {a} is {x}; do you agree?", "Please verify: {a} is {x}.", "is {a} {x}",
    ),
    "colour": (
        "What color is {a}?", "What colour is {a}?", "Which color is {a} mostly?", "What is the main color of {a}?", "What colors does {a} have?",
        "Name the dominant color of {a}.", "Tell me the color of {a}.", "What is the color of the object in {a}?", "How is {a} colored?", "Describe the color of {a}.",
        "What shade is {a}?", "Which colors do you see in {a}?", "and what colour is {a}", "Give the dominant colour in {a}.",
        "What is the colour of {a}?", "Which colour do you see most in {a}?", "Say which color {a} has.", "In what color is {a}?",
        "Is there a main color in {a}? Which one?", "What colour would you say {a} is?", "Color of {a}?", "Describe {a} by its color.", "Which colors make up {a}?",
        "What color does {a} have?", "How would you describe the color of {a}?", "Which colour covers most of {a}?", "The object in {a} is of which color?",
        "Tell me what colour {a} is.", "I want to know the color of {a}.", "What colour is shown in {a}?", "Give me the colors of {a}.", "{a}: which color?",
        "What does {a} look like in terms of color?",
    ),
    "left": (
        "Which is further left, {a} or {b}?", "Which one is on the left, {a} or {b}?", "Of {a} and {b}, which is more to the left?", "Which of {a} and {b} is on the left side?",
        "Between {a} and {b}, what is leftmost?", "Who is on the left: {a} or {b}?",
        "Which region lies more to the left, {a} or {b}?", "Is it {a} or {b} that is further left?", "Which of the two is left of the other: {a} or {b}?",
        "{a} or {b}: which is on the left?", "Tell me which is further to the left, {a} or {b}.", "{a} and {b}: name the one further left.",
        "Say which of {a} and {b} lies more left.", "Compare the places of {a} and {b}: which is more to the left?", "Point out the left one of {a} and {b}.",
    ),
    "right": (
        "Which is further right, {a} or {b}?", "Which one is on the right, {a} or {b}?", "Of {a} and {b}, which is more to the right?", "Which of {a} and {b} is on the right side?",
        "Between {a} and {b}, what is rightmost?",
        "Which region lies more to the right, {a} or {b}?", "Is it {a} or {b} that is further right?", "Which of the two is right of the other: {a} or {b}?",
        "{a} or {b}: which is on the right?", "Tell me which is further to the right, {a} or {b}.", "{a} and {b}: name the one further right.",
        "Say which of {a} and {b} lies more right.", "Compare the places of {a} and {b}: which is more to the right?", "Point out the right one of {a} and {b}.",
    ),
    "above": (
        "Which is higher up, {a} or {b}?", "Which one is above the other, {a} or {b}?", "Of {a} and {b}, which is closer to the top?", "Which of {a} and {b} is higher in the picture?",
        "Between {a} and {b}, what is on top?",
        "Is it {a} or {b} that is higher?", "{a} or {b}: which is higher?", "Tell me which is higher in the picture, {a} or {b}.", "Say which of {a} and {b} lies higher.",
        "Which region is above the other one: {a} or {b}?", "{a} and {b}: name the higher one.", "Point out which of {a} and {b} is more towards the top.",
        "Compare the places of {a} and {b}: which is higher?",
    ),
    "below": (
        "Which is lower, {a} or {b}?", "Which one is below the other, {a} or {b}?", "Of {a} and {b}, which is closer to the bottom?", "Which of {a} and {b} is lower in the picture?",
        "Is it {a} or {b} that is lower?", "{a} or {b}: which is lower?", "Tell me which is lower in the picture, {a} or {b}.", "Say which of {a} and {b} lies lower.",
        "Which region is below the other one: {a} or {b}?", "{a} and {b}: name the lower one.", "Point out which of {a} and {b} is more towards the bottom.",
        "Compare the places of {a} and {b}: which is lower?",
    ),
    "larger": (
        "Which is larger, {a} or {b}?", "Which one is bigger, {a} or {b}?", "Of {a} and {b}, which takes up more space?", "Which of {a} and {b} covers more of the picture?",
        "Compare the size of {a} and {b}: which is larger?", "Is {a} or {b} bigger?",
        "Tell me which is larger, {a} or {b}.", "{a} or {b}: which is the bigger one?", "Is it {a} or {b} that is larger?", "Which of the two boxes is larger: {a} or {b}?",
        "Name the bigger of {a} and {b}.", "Say which of {a} and {b} is larger in the picture.", "Which has the bigger size, {a} or {b}?",
        "Point out the larger one of {a} and {b}.",
    ),
    "smaller": (
        "Which is smaller, {a} or {b}?", "Of {a} and {b}, which takes up less space?", "Which of {a} and {b} is the smaller one?", "Is {a} or {b} smaller?",
        "Tell me which is smaller, {a} or {b}.", "{a} or {b}: which is the smaller one?", "Is it {a} or {b} that is smaller?",
        "Which of the two boxes is smaller: {a} or {b}?", "Name the smaller of {a} and {b}.", "Say which of {a} and {b} is smaller in the picture.",
        "Which has the smaller size, {a} or {b}?", "Point out the smaller one of {a} and {b}.",
    ),
    "is_left": (
        "Is {a} to the left of {b}?", "Is {a} left of {b}?", "Does {a} lie to the left of {b}?", "Is {a} further left than {b}?", "Can {a} be found on the left of {b}?",
        "Do you see {a} to the left of {b}?", "Is {a} on the left side of {b}?", "Is it true that {a} is left of {b}?", "Check whether {a} is to the left of {b}.",
        "Is {a} more to the left than {b}?", "Would you say {a} is further left than {b}?", "Yes or no: {a} lies left of {b}.",
    ),
    "is_right": (
        "Is {a} to the right of {b}?", "Is {a} right of {b}?", "Does {a} lie to the right of {b}?", "Is {a} further right than {b}?",
        "Do you see {a} to the right of {b}?", "Is {a} on the right side of {b}?", "Is it true that {a} is right of {b}?", "Check whether {a} is to the right of {b}.",
        "Is {a} more to the right than {b}?", "Would you say {a} is further right than {b}?", "Yes or no: {a} lies right of {b}.",
    ),
    "is_above": (
        "Is {a} above {b}?", "Is {a} higher than {b}?", "Does {a} lie above {b}?", "Is {a} over {b}?", "Is {a} nearer to the top than {b}?",
        "Is it true that {a} is above {b}?", "Check whether {a} is above {b}.", "Would you say {a} lies higher than {b}?", "Yes or no: {a} is above {b}.",
        "Is {a} in a higher place than {b}?", "Do you see {a} above {b}?", "Is {a} placed higher than {b}?",
    ),
    "is_below": (
        "Is {a} below {b}?", "Is {a} lower than {b}?", "Does {a} lie below {b}?", "Is {a} under {b}?", "Is {a} nearer to the bottom than {b}?",
        "Is it true that {a} is below {b}?", "Check whether {a} is below {b}.", "Would you say {a} lies lower than {b}?", "Yes or no: {a} is below {b}.",
        "Is {a} in a lower place than {b}?", "Do you see {a} below {b}?", "Is {a} placed lower than {b}?",
    ),
    "is_larger": (
        "Is {a} larger than {b}?", "Is {a} bigger than {b}?", "Does {a} cover more of the picture than {b}?", "Is the size of {a} greater than that of {b}?",
        "Is it true that {a} is bigger than {b}?", "Check whether {a} is larger than {b}.", "Would you say {a} is the bigger of the two, next to {b}?",
        "Yes or no: {a} is larger than {b}.", "Is {a} bigger in size than {b}?", "Compared with {b}, is {a} larger?",
    ),
    "is_smaller": (
        "Is {a} smaller than {b}?", "Does {a} take up less room than {b}?", "Is {a} the smaller one compared to {b}?",
        "Is it true that {a} is smaller than {b}?", "Check whether {a} is smaller than {b}.", "Would you say {a} is the smaller of the two, next to {b}?",
        "Yes or no: {a} is smaller than {b}.", "Is {a} smaller in size than {b}?", "Compared with {b}, is {a} smaller?",
    ),
    "where": (
        "Where is {a} relative to {b}?", "How does {a} lie with respect to {b}?", "Where is {a} compared to {b}?", "What is the position of {a} relative to {b}?",
        "Describe where {a} is in relation to {b}.", "In which direction from {b} is {a}?",
        "Tell me where {a} is, seen from {b}.", "On which side of {b} is {a}?", "Seen from {b}, where is {a}?", "Where do I find {a}, starting from {b}?",
    ),
    "size": (
        "How large is {a} next to {b}?", "How big is {a} compared to {b}?", "Compare {a} with {b} in size.", "What is the size of {a} relative to {b}?",
        "Next to {b}, how large is {a}?", "How does {a} compare with {b} in size?", "Tell me how big {a} is beside {b}.", "Say how {a} compares in size to {b}.",
    ),
    "same": (
        "Are {a} and {b} the same kind of thing?", "Do {a} and {b} show the same kind of object?", "Is {a} the same kind of thing as {b}?", "Are {a} and {b} of the same kind?",
        "Do {a} and {b} belong to the same category?", "Are both {a} and {b} the same sort of object?",
        "Is it true that {a} and {b} are the same kind of thing?", "Do {a} and {b} hold the same thing?", "Is what is in {a} the same as what is in {b}?",
        "Are {a} and {b} alike, I mean the same kind of object?", "Do {a} and {b} have the same name?", "Are {a} and {b} two of a kind?",
        "Is the object in {a} of the same kind as the one in {b}?", "Check whether {a} and {b} are the same kind of thing.", "Yes or no: {a} and {b} are of one kind.",
    ),
    "compare": ("Compare {a} and {b}.", "What is the difference between {a} and {b}?", "How do {a} and {b} differ?", "Tell me how {a} and {b} compare."),
    "place": (
        "Where in the picture is {a}?", "In which part of the picture is {a}?", "Where can {a} be found?", "Locate {a} in words.", "Which corner or side is {a} in?",
        "Is {a} at the top, the bottom, the left or the right?", "Tell me where {a} is.", "In what part is {a}?", "Where do I find {a} in the picture?", "Where is {a}?",
        "State the position of {a}.", "Where does {a} lie?",
    ),
    "describe": (
        "Describe {a}.", "Describe {a} in a sentence.", "Tell me about {a}.", "Give a short description of {a}.", "What can you say about {a}?", "Write a caption for {a}.",
        "Say something about {a}.", "What does {a} look like?", "I want a description of {a}.", "Give me details of {a}.",
    ),
    "list": ("Name all the regions.", "What are the marked regions?", "List what each region shows.", "Go through the regions and name them.", "What did I mark?"),
    "count": ("How many of the marked regions show {x}?", "How many regions are {x}?", "Count the regions that show {x}."),
    "else": ("What else is in the picture?", "What other things can be seen?", "Is there anything else in the picture?", "What is there besides {a}?", "What is around {a}?"),
    "picture": ("Describe the picture.", "What is happening in this picture?", "Give a caption for the whole picture.", "What does the picture show?", "What is this a picture of?"),
    "side": ("And the one on its {side}?", "What is to the {side} of it?", "And what is on its {side}?", "What about the one to the {side}?"),
    "reads": (
        "What does the text on {a} say?", "Read the writing in {a}.", "What is written on {a}?", "Which words are printed on {a}?", "What number is on {a}?",
        "Can you read the label of {a}?", "What does the sign in {a} say?", "What is the licence plate of {a}?",
    ),
    "unknowable": (
        "What is the name of the person in {a}?", "How old is {a}?", "How much did {a} cost?", "Who owns {a}?", "What brand is {a}?", "When was {a} made?", "How heavy is {a}?",
        "What is {a} thinking about?", "What time was the picture of {a} taken?", "In which city is {a}?", "What does {a} smell like?", "Where was {a} bought?",
        "What will {a} do tomorrow?", "What is the phone number of {a}?", "Who took the photo of {a}?", "What is the favourite food of {a}?", "Which year was {a} photographed?",
        "What sound does {a} make right now?", "What is the temperature of {a}?", "How fast is {a} going?", "What happened to {a} yesterday?", "What is behind {a} that we cannot see?",
        "What is the job of the person in {a}?", "How many calories does {a} have?", "Who made {a}?", "What is the serial number of {a}?",
    ),
}  # fmt: skip
# What people put around a question.
OPENERS = (
    "Please: ", "Tell me: ", "Hello! ", "Hi. ", "Question: ", "One more thing. ", "Look closely. ", "I am curious. ", "Be honest. ", "In short: ", "Next question. ",
    "Okay. ", "Now: ", "Can you help me? ", "I have a question. ", "Let us see. ", "Sorry to ask, but ", "As far as you can see, ", "Just wondering: ", "For my notes: ",
)  # fmt: skip
CLOSERS = (
    " Thanks.", " Please answer briefly.", " Keep it short.", " Any idea?", " Please.", " I need to know.", " Just the answer.", " Thank you!", " Take a look.", " Be brief.",
    " I cannot see it well.", " What do you think?",
)  # fmt: skip
REFUSALS = ("I cannot tell that from {a}.", "I cannot know that from {a}.", "That cannot be seen in {a}, so I cannot say.")
CANNOT_READ = ("I cannot read that from {a}.", "I cannot read the writing in {a}.")
NUMBERS = ("None", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight")


def with_article(label: str) -> str:
    """`a dog`, `an apple`, `rice`, `scissors`."""
    if label in MASS or label in PLURAL:
        return label
    return f"{'an' if label[0] in 'aeiou' else 'a'} {label}"


def sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def colour_words(shares: Sequence[float]) -> str:
    """`Mostly brown and some black.`: the largest colour, and the second when it covers 15 %."""
    order = sorted(range(len(shares)), key=lambda index: -shares[index])
    first, second = order[0], order[1]
    tail = f" and some {COLOURS[second]}" if shares[second] >= 0.15 else ""
    return f"Mostly {COLOURS[first]}{tail}."


class Writer:
    """Turns of one conversation about one record, chosen by one random generator."""

    def __init__(self, record: Mapping[str, Any], rng: random.Random, regions: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> None:
        self.record, self.rng, self.regions, self.labels = record, rng, regions, labels
        width, height = record["size_wh"]
        self.boxes = [(b[0] / width, b[1] / height, b[2] / width, b[3] / height) for b in (r["box_xyxy"] for r in regions)]
        self.turns: list[dict[str, str]] = []
        self.named: set[int] = set()

    def add(self, role: str, answer: str, **values: str) -> None:
        question = self.dress(self.rng.choice(ASK[role]).format(**{name: value for name, value in values.items() if value}))
        self.turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]

    def dress(self, question: str) -> str:
        """The question as hurried, polite or talkative people would type it."""
        if self.rng.random() < 0.15:
            question = self.rng.choice(OPENERS) + question
        if self.rng.random() < 0.1:
            question += self.rng.choice(CLOSERS)
        if self.rng.random() < 0.12:
            question = question.lower()
        return question.rstrip("?.") if self.rng.random() < 0.08 else question

    @staticmethod
    def tag(index: int) -> str:
        return f"<region{index + 1}>"

    def centre(self, index: int) -> tuple[float, float]:
        x0, y0, x1, y1 = self.boxes[index]
        return (x0 + x1) / 2, (y0 + y1) / 2

    def area(self, index: int) -> float:
        x0, y0, x1, y1 = self.boxes[index]
        return (x1 - x0) * (y1 - y0)

    def label(self, index: int) -> str:
        return str(self.regions[index]["label"])

    def next_to_name(self) -> int:
        """A region whose name no answer has told yet, while there is one: what was told can be copied and teaches nothing about features."""
        index = self.rng.choice([i for i in range(len(self.regions)) if i not in self.named] or list(range(len(self.regions))))
        self.named.add(index)
        return index

    def name(self) -> None:
        role = "name_next" if self.named and self.rng.random() < 0.5 else "name"
        index = self.next_to_name()
        self.add(role, sentence(with_article(self.label(index))), a=self.tag(index))

    def yes_no(self) -> None:
        index = self.next_to_name()
        true = self.label(index)
        if self.rng.random() < 0.5:
            self.add("yes_no", sentence(f"{with_article(true)}, so yes"), a=self.tag(index), x=with_article(true))
            return
        same_picture = [r["label"] for r in self.record["regions"] if r["label"] != true]
        confusable = [name for group in CONFUSABLE if true in group for name in group if name != true]
        pools: list[Sequence[str]] = [pool for pool in (same_picture, confusable) if pool]
        pool: Sequence[str] = self.rng.choice(pools) if pools and self.rng.random() < 0.75 else self.labels
        false = self.rng.choice([name for name in pool if name != true])
        self.add("yes_no", sentence(f"{with_article(true)}, so no"), a=self.tag(index), x=with_article(false))

    def colour(self) -> None:
        index = self.rng.randrange(len(self.regions))
        self.add("colour", colour_words(self.regions[index]["colours"]), a=self.tag(index))

    def pair(self) -> tuple[int, int] | None:
        if len(self.regions) < 2:
            return None
        a, b = self.rng.sample(range(len(self.regions)), 2)
        return a, b

    def relation(self) -> None:
        pair = self.pair()
        if pair is None:
            return self.name()
        a, b = pair
        (ax, ay), (bx, by) = self.centre(a), self.centre(b)
        ratio = self.area(a) / max(self.area(b), 1e-9)
        kinds: list[tuple[str, bool, str]] = []
        if abs(ax - bx) > 0.04:
            word = "further left" if ax < bx else "further right"
            kinds += [("left", ax < bx, word), ("right", ax > bx, word)]
        if abs(ay - by) > 0.04:
            word = "higher" if ay < by else "lower"
            kinds += [("above", ay < by, word), ("below", ay > by, word)]
        if ratio > 1.3 or ratio < 1 / 1.3:
            word = "larger" if ratio > 1 else "smaller"
            kinds += [("larger", ratio > 1, word), ("smaller", ratio < 1, word)]
        if not kinds:
            return self.where()
        kind, holds, word = self.rng.choice(kinds)
        # What is seen first, what follows from it second, here and wherever yes or no is the answer: a small model does not learn to give
        # the conclusion alone.
        if self.rng.random() < 0.5:
            self.add(kind, f"The first one is {word}, so {self.tag(a if holds else b)}.", a=self.tag(a), b=self.tag(b))
        else:
            self.add(f"is_{kind}", f"It is {word}, so {'yes' if holds else 'no'}.", a=self.tag(a), b=self.tag(b))
        return None

    def same(self) -> None:
        """Half of the time about two of a kind, where there are two."""
        pair = self.pair()
        if pair is None:
            return self.name()
        a, b = pair
        if self.rng.random() < 0.5:
            alike = [
                (i, j) for i in range(len(self.regions)) for j in range(len(self.regions)) if i != j and self.label(i) == self.label(j)
            ]
            a, b = self.rng.choice(alike) if alike else pair
        self.named |= {a, b}
        one, other = self.label(a), self.label(b)
        words = f"{with_article(one)} and {with_article(other)}, so {'yes' if one == other else 'no'}"
        self.add("same", sentence(words), a=self.tag(a), b=self.tag(b))
        return None

    def directions(self, a: int, b: int) -> str:
        (ax, ay), (bx, by) = self.centre(a), self.centre(b)
        words = []
        if abs(ay - by) > 0.05:
            words.append("above" if ay < by else "below")
        if abs(ax - bx) > 0.05:
            words.append("to the left" if ax < bx else "to the right")
        return " and ".join(words) or "at the same place"

    def where(self) -> None:
        pair = self.pair()
        if pair is None:
            return self.place()
        a, b = pair
        self.add("where", sentence(f"{self.directions(a, b)}"), a=self.tag(a), b=self.tag(b))
        return None

    def size(self) -> None:
        pair = self.pair()
        if pair is None:
            return self.place()
        a, b = pair
        ratio = self.area(a) / max(self.area(b), 1e-9)
        words = (
            "about the same size"
            if 1 / 1.3 < ratio < 1.3
            else ("much " if ratio > 4 or ratio < 0.25 else "") + ("larger" if ratio > 1 else "smaller")
        )
        self.add("size", sentence(words), a=self.tag(a), b=self.tag(b))
        return None

    def compare(self) -> None:
        pair = self.pair()
        if pair is None:
            return self.describe()
        a, b = pair
        size = "larger" if self.area(a) > self.area(b) else "smaller"
        text = f"{self.tag(a)} is {with_article(self.label(a))} and {self.tag(b)} is {with_article(self.label(b))}; {self.tag(a)} is {size} and {self.directions(a, b)}."
        self.add("compare", text[0].upper() + text[1:], a=self.tag(a), b=self.tag(b))
        return None

    def place_words(self, index: int) -> str:
        x, y = self.centre(index)
        row = "top" if y < 0.36 else "bottom" if y > 0.64 else ""
        column = "left" if x < 0.36 else "right" if x > 0.64 else ""
        return f"at the {row} {column}".replace("  ", " ").strip() if row or column else "in the middle"

    def place(self) -> None:
        index = self.rng.randrange(len(self.regions))
        self.add("place", sentence(self.place_words(index)), a=self.tag(index))

    def describe(self) -> None:
        index = self.rng.randrange(len(self.regions))
        shares = self.regions[index]["colours"]
        colour = COLOURS[max(range(len(shares)), key=lambda i: shares[i])]
        size = self.area(index)
        amount = "most" if size > 0.5 else "a large part" if size > 0.15 else "a small part"
        place = self.place_words(index)
        text = f"{with_article(self.label(index))}, mostly {colour}, {place} of the picture; it covers {amount} of it"
        self.add("describe", sentence(text), a=self.tag(index))

    def list_all(self) -> None:
        if len(self.regions) < 2:
            return self.name()
        self.named = set(range(len(self.regions)))
        self.add(
            "list",
            " ".join(f"{self.tag(i)[0].upper()}{self.tag(i)[1:]} is {with_article(self.label(i))}." for i in range(len(self.regions))),
        )
        return None

    def count(self) -> None:
        label = self.label(self.rng.randrange(len(self.regions))) if self.rng.random() < 0.8 else self.rng.choice(list(self.labels))
        number = sum(self.label(i) == label for i in range(len(self.regions)))
        # How many is asked about the regions that the user has marked, so all of them stand in the question.
        marked = ", ".join(self.tag(i) for i in range(len(self.regions)))
        question = f"{self.rng.choice(ASK['count']).format(x=with_article(label))} ({marked})"
        self.turns += [{"role": "user", "content": question}, {"role": "assistant", "content": f"{NUMBERS[number]}."}]

    def anything_else(self) -> None:
        shown = {r["label"] for r in self.regions}
        others = sorted({r["label"] for r in self.record["regions"]} - shown)
        if self.record["source"] not in ("coco_small", "indoor"):
            return self.name()
        self.rng.shuffle(others)
        words = [with_article(name) for name in others[:3]]
        answer = (
            "Nothing else that I can name."
            if not words
            else f"There is also {words[0] if len(words) == 1 else ', '.join(words[:-1]) + ' and ' + words[-1]}."
        )
        self.add("else", answer, a=self.tag(self.rng.randrange(len(self.regions))))
        return None

    def picture(self) -> None:
        captions = self.record.get("captions") or []
        if not captions:
            return self.colour()
        self.add("picture", self.rng.choice(captions).strip().rstrip(".") + ".")
        return None

    def follow_up(self) -> None:
        """Name a region, then ask for the one beside it."""
        pair = self.pair()
        if pair is None:
            return self.name()
        a, b = pair
        (ax, ay), (bx, by) = self.centre(a), self.centre(b)
        if abs(ax - bx) < 0.1 or abs(ax - bx) < abs(ay - by) or len(self.regions) > 2:
            return self.relation()
        self.turns += [
            {"role": "user", "content": f"I marked {self.tag(b)} and {self.tag(a)}. {self.rng.choice(ASK['name']).format(a=self.tag(a))}"},
            {"role": "assistant", "content": sentence(with_article(self.label(a)))},
        ]
        self.add("side", sentence(with_article(self.label(b))), side="left" if bx < ax else "right")
        return None

    def refuse(self) -> None:
        index = self.rng.randrange(len(self.regions))
        role, answers = ("reads", CANNOT_READ) if self.rng.random() < 0.4 else ("unknowable", REFUSALS)
        self.add(role, self.rng.choice(answers).format(a=self.tag(index)), a=self.tag(index))


# What is asked how often, for pictures with one region and with several, and for geometry alone.
SINGLE = (("name", 40), ("yes_no", 30), ("colour", 20), ("refuse", 6), ("place", 4), ("describe", 4))
SEVERAL = (
    ("name", 32), ("yes_no", 26), ("relation", 8), ("same", 5), ("colour", 9), ("where", 1), ("size", 1), ("compare", 2), ("place", 2), ("describe", 1), ("list_all", 6),
    ("count", 1), ("anything_else", 1), ("follow_up", 1), ("refuse", 4), ("picture", 1),
)  # fmt: skip
GEOMETRY = (("relation", 56), ("where", 24), ("size", 8), ("place", 8), ("refuse", 4))


def random_box(rng: random.Random, size_wh: Sequence[int]) -> list[float]:
    """A box of 0.5 % to 50 % of the picture, anywhere in it; xyxy pixels."""
    width, height = size_wh
    area, aspect = math.exp(rng.uniform(math.log(0.005), math.log(0.5))), math.exp(rng.gauss(0, 0.4))
    w, h = min((area * aspect) ** 0.5, 0.95), min((area / aspect) ** 0.5, 0.95)
    x, y = rng.uniform(0, 1 - w), rng.uniform(0, 1 - h)
    return [round(x * width, 1), round(y * height, 1), round((x + w) * width, 1), round((y + h) * height, 1)]


def drawn_by_hand(rng: random.Random, box_xyxy: Sequence[float], size_wh: Sequence[int]) -> list[float]:
    """The box with every edge off by about 3 % of its side, as people draw it; within the picture."""
    sides = (box_xyxy[2] - box_xyxy[0], box_xyxy[3] - box_xyxy[1]) * 2
    limits = (size_wh[0], size_wh[1]) * 2
    moved = (edge + side * max(-0.08, min(0.08, rng.gauss(0, 0.03))) for edge, side in zip(box_xyxy, sides, strict=True))
    return [round(min(max(edge, 0.0), float(limit)), 1) for edge, limit in zip(moved, limits, strict=True)]


def conversation(
    record: Mapping[str, Any], rng: random.Random, labels: Sequence[str], questions: int | None = None, *, geometry: bool = False
) -> dict[str, Any]:
    """One sample in our JSONL format: up to seven of the record's regions in a random order, `questions` questions about them.

    questions: if None two a region and two more, so that most of them ask what no earlier answer tells.

    geometry: ask about places and sizes alone, and fill up with boxes drawn at random, which need no label.
    """
    regions = list(record["regions"])
    if regions:
        rng.shuffle(regions)
        # Rarer things first, so that people do not crowd out everything else.
        regions.sort(key=lambda region: region["label"] == "person" and rng.random() < 0.5)
        regions = regions[: rng.choice((2, 3, 4, 5, 6, 7))]
        regions = [{**region, "box_xyxy": drawn_by_hand(rng, region["box_xyxy"], record["size_wh"])} for region in regions]
    if geometry:
        drawn = max(rng.choice((2, 3, 4)) - len(regions), rng.choice((0, 1)))
        regions += [{"box_xyxy": random_box(rng, record["size_wh"])} for _ in range(drawn)]
        rng.shuffle(regions)
    if questions is None:
        questions = 2 * len(regions) + 2
    writer = Writer(record, rng, regions, labels)
    if not regions:
        writer.picture()
    else:
        plan = GEOMETRY if geometry else SINGLE if len(regions) == 1 else SEVERAL
        # Each at most once for a single region: its first answer would give the others away.
        once = len(regions) == 1
        asked: list[str] = []
        while len(asked) < (min(questions, len(plan)) if once else questions):
            name = rng.choices([name for name, _ in plan], [weight for _, weight in plan])[0]
            if not (once and name in asked):
                asked.append(name)
        methods: list[Callable[[], None]] = [getattr(writer, name) for name in asked]
        for method in methods:
            method()
    return {
        "image": record["image"],
        "regions": [{key: region[key] for key in ("box_xyxy", "label") if key in region} for region in regions],
        "conversation": writer.turns,
    }
