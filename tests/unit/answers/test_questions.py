"""What questions ask for, in many wordings and in five languages. No model."""

from __future__ import annotations

import pytest

from gpt4roi.answers.phrases import parse_phrase
from gpt4roi.answers.questions import read_question
from gpt4roi.answers.translate import to_english
from gpt4roi.eyes.names import names

CASES = [
    ("what is this?", 1, "name", ()),
    ("which vehicle do you see in <region1>?", 1, "name", ("vehicle",)),
    ("is it a bicycle?", 1, "is", ("a bicycle",)),
    ("is it a bus or a truck?", 1, "either", ("a bus", "truck")),
    ("can I eat this?", 1, "use", ("food",)),
    ("are there any bottles?", 0, "exists", ("any bottles",)),
    ("does the picture contain a clock?", 0, "exists", ("a clock",)),
    ("can a kite be seen?", 0, "exists", ("a kite",)),
    ("how many horses are there?", 0, "count", ("horses",)),
    ("number of chairs", 0, "count", ("chairs",)),
    ("where is the umbrella?", 0, "where", ("the umbrella",)),
    ("what color is the couch?", 0, "color", ("the couch",)),
    ("is <region1> left of <region2>?", 2, "relation", ("<region1>", "<region2>")),
    ("which one is bigger?", 2, "compare", ()),
    ("describe the picture", 0, "describe", ()),
    ("what do you see?", 0, "describe", ()),
    ("what does the sign say?", 0, "read", ()),
    ("how old is she?", 1, "cannot", ()),
    ("what is the man thinking about?", 1, "cannot", ()),
    ("why is he here?", 1, "cannot", ()),
    ("what is he doing?", 1, "unknown", ()),
    ("hello", 0, "chat", ()),
    ("what can you do?", 0, "chat", ()),
]


@pytest.mark.parametrize(("text", "regions", "kind", "phrases"), CASES)
def test_kinds(text: str, regions: int, kind: str, phrases: tuple[str, ...]) -> None:
    found = read_question(text, regions, regions)
    assert found.kind == kind
    assert found.phrases == phrases


@pytest.mark.parametrize(
    ("text", "language", "kind"),
    [
        ("Wie viele Pferde gibt es?", "de", "count"),
        ("Wo ist der Hund?", "de", "where"),
        ("Ist das ein Auto?", "de", "is"),
        ("¿Dónde está el gato?", "es", "where"),
        ("¿Cuántos perros hay?", "es", "count"),
        ("Combien de chaises y a-t-il ?", "fr", "count"),
        ("De quelle couleur est la voiture ?", "fr", "color"),
        ("图片里有多少只猫？", "zh", "count"),
        ("狗在哪里？", "zh", "where"),
        ("how many dogs are there?", "en", "count"),
    ],
)
def test_other_languages(text: str, language: str, kind: str) -> None:
    english = to_english(text, names())
    assert english.language == language
    assert read_question(english.text, 1, 1).kind == kind


def test_slips_of_the_finger_are_put_right_and_words_are_left_alone() -> None:
    assert to_english("whch anmal is taht", names()).text == "which animal is that"
    assert to_english("can a train be seen near the shed", names()).text == "can a train be seen near the shed"


def test_noun_phrases() -> None:
    second = parse_phrase("the second red plane from the left", names())
    assert (second.colors, second.by, second.n) == (("red",), "leftmost", 2)
    assert second.meaning is not None and "airplane" in [names()[i] for i in second.meaning.ids]
    assert parse_phrase("hot dog", names()).noun == "hot dog"
    assert parse_phrase("the bag lying on the bed", names()).noun == "bag"
    assert parse_phrase("flurbs", names()).meaning is None
