"""Caption metrics by pycocoevalcap: CIDEr, BLEU, ROUGE-L in Python; METEOR and the official tokenizer where there is Java."""

from __future__ import annotations

import contextlib
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gpt4roi.evaluation.items import EvaluationError

NO_JAVA = (
    "There is no `java` on this machine: METEOR is left out, and CIDEr, BLEU and ROUGE-L use our own tokenizer instead of the Stanford "
    "one; install a Java runtime (apt install default-jre-headless) for the official figures."
)
# What pycocoevalcap's PTBTokenizer drops after tokenising.
_DROPPED = re.compile(r"[.,!?;:\"`()\[\]{}…]|--+|(?<!\w)'|'(?!\w)")
Captions = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class CaptionScores:
    """Per-item scores in the order of the ids, and what BLEU needs to be summed over any selection.

    per_item: metric → float[N]. corpus: metric → official corpus figure. bleu: float[N, 10], see `bleu_of_totals`.
    """

    per_item: dict[str, np.ndarray]
    corpus: dict[str, float]
    bleu: np.ndarray
    used_java: bool
    notes: list[str] = field(default_factory=list)


def has_java() -> bool:
    return shutil.which("java") is not None


def python_tokenize(text: str) -> str:
    """Lower case, punctuation dropped, clitics split ("it's" → "it 's"): close to the Stanford tokenizer on captions, not equal to it."""
    text = _DROPPED.sub(" ", text.lower())
    text = re.sub(r"(\w)n't\b", r"\1 n't", text)
    text = re.sub(r"(\w)('(?:s|re|ve|ll|d|m))\b", r"\1 \2", text)
    return " ".join(text.split())


def tokenize(captions: Captions, java: bool) -> dict[str, list[str]]:
    if not java:
        return {key: [python_tokenize(text) for text in texts] for key, texts in captions.items()}
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    with contextlib.redirect_stdout(sys.stderr):
        # The program works on lines; a lone full stop, which is dropped again, keeps the line of an empty caption.
        return PTBTokenizer().tokenize({key: [{"caption": text.strip() or "."} for text in texts] for key, texts in captions.items()})


def score_captions(references: Captions, predictions: Mapping[str, str], java: bool | None = None) -> CaptionScores:
    """Score one prediction per id against its references.

    Args:
      references: id → one or more captions. predictions: id → caption, for every id of `references`.
      java: use Java; None = where there is one.
    """
    try:
        from pycocoevalcap.bleu.bleu_scorer import BleuScorer
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.rouge.rouge import Rouge
    except ImportError as error:
        raise EvaluationError("caption metrics need pycocoevalcap; run: pip install pycocoevalcap") from error
    java = has_java() if java is None else java
    ids = list(references)
    gts = tokenize(references, java)
    res = tokenize({key: [predictions[key]] for key in ids}, java)
    with contextlib.redirect_stdout(sys.stderr):
        cider, cider_each = Cider().compute_score(gts, res)
        rouge, rouge_each = Rouge().compute_score(gts, res)
    per_item = {"cider": np.asarray(cider_each), "rouge_l": np.asarray(rouge_each)}
    corpus = {"cider": float(cider), "rouge_l": float(rouge)}
    scorer = BleuScorer(n=4)
    for key in ids:
        scorer += (res[key][0], gts[key])
    bleu = np.array([_bleu_row(test) for test in scorer.ctest])
    if java:
        meteor, meteor_each = _meteor(gts, res)
        per_item["meteor"], corpus["meteor"] = np.asarray(meteor_each), float(meteor)
    return CaptionScores(per_item, corpus, bleu, java, [] if java else [NO_JAVA])


def _meteor(gts: Any, res: Any) -> tuple[float, list[float]]:
    from pycocoevalcap.meteor.meteor import Meteor

    with contextlib.redirect_stdout(sys.stderr):
        scorer = Meteor()
        try:
            return scorer.compute_score(gts, res)
        except (OSError, ValueError) as error:
            raise EvaluationError(f"METEOR's Java program failed ({error}); run it again with less memory in use") from error


def _bleu_row(test: Mapping[str, Any]) -> list[float]:
    """Length, closest reference length, 4 counts of n-grams, 4 counts of matching ones, of one caption."""
    length = test["testlen"]
    closest = min((abs(reference - length), reference) for reference in test["reflen"])[1]
    return [length, closest, *test["guess"], *test["correct"]]


def bleu_of_totals(totals: np.ndarray, order: int = 4) -> np.ndarray:
    """float[B, 10] sums of `CaptionScores.bleu` rows to float[B] corpus BLEU of n-grams up to `order`, in percent."""
    # pycocoevalcap's guards, so that a caption without any match gives its tiny number and not an error.
    precision = (totals[:, 6 : 6 + order] + 1e-15) / (totals[:, 2 : 2 + order] + 1e-9)
    ratio = (totals[:, 0] + 1e-15) / (totals[:, 1] + 1e-9)
    brevity = np.where(ratio < 1, np.exp(1 - 1 / np.maximum(ratio, 1e-12)), 1.0)
    return 100 * np.exp(np.log(precision).mean(axis=1)) * brevity
