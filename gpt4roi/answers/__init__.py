"""Answers from facts: what a question asks for, looked up in the picture, and said with its regions and scores."""

from gpt4roi.answers.facts import Fact, Look
from gpt4roi.answers.finding import FindError, find_phrases
from gpt4roi.answers.respond import respond

__all__ = ["Fact", "FindError", "Look", "find_phrases", "respond"]
