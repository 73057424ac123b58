"""What is in a picture: names of boxes with scores, and boxes of names. Facts for answers; the language model phrases, it need not know."""

from gpt4roi.eyes.names import Meaning, Names
from gpt4roi.eyes.recogniser import Reading
from gpt4roi.eyes.sight import Eyes, Sight, eyes_of, has_eyes

__all__ = ["Eyes", "Meaning", "Names", "Reading", "Sight", "eyes_of", "has_eyes"]
