"""The model as a predictor, on a tiny random model: shared prompts change no score, batches change no answer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gpt4roi.benchmark import evaluation as benchmark
from gpt4roi.evaluation.items import EvaluationError, Item, fit_box
from gpt4roi.evaluation.model_predictor import ModelPredictor
from gpt4roi.evaluation.option_scoring import split_options
from tests.unit.chat.tiny import tiny_model
from tests.unit.evaluation.small_data import image


@pytest.fixture(scope="module")
def loaded():
    return tiny_model(layers=1)


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    made = []
    for n in range(4):
        image(tmp_path, f"{n // 2}.jpg", seed=n // 2)
        boxes = ((2.0, 2.0, 30.0 + n, 40.0), (20.0, 10.0, 79.0, 59.0))
        question = f"What is <region{1 + n % 2}>" + (", and how does it stand to <region1>?" if n > 1 else "?")
        made.append(Item(id=str(n), question=question, image=tmp_path / f"{n // 2}.jpg", boxes_xyxy=boxes))
    return made


OPTIONS = ("a dog", "a dog house", "it", "a doll that stands on the table beside <region2>")


def test_shared_prompt_gives_the_scores_of_a_plain_loop(loaded, items: list[Item]) -> None:
    for item in items:
        options = Item(**{**item.__dict__, "options": OPTIONS, "wants": "options"})
        shared = ModelPredictor(loaded=loaded).score_options(options, OPTIONS)
        plain = benchmark.from_scratch(*loaded, options)
        assert [score.num_tokens for score in shared] == [score.num_tokens for score in plain]
        for one, other in zip(shared, plain, strict=True):
            assert one.log_prob == pytest.approx(other.log_prob, rel=1e-4, abs=1e-3)


def test_scores_do_not_depend_on_the_other_options(loaded, items: list[Item]) -> None:
    predictor = ModelPredictor(loaded=loaded)
    together = predictor.score_options(items[0], OPTIONS)
    many = predictor.score_options(items[0], OPTIONS * 10)
    for option, score, again in zip(OPTIONS, together, many[-4:], strict=True):
        (alone,) = predictor.score_options(items[0], [option])
        assert alone.log_prob == pytest.approx(score.log_prob, rel=1e-4, abs=1e-3)
        assert again.log_prob == pytest.approx(score.log_prob, rel=1e-4, abs=1e-3)


def test_a_prompt_that_begins_like_the_one_before_is_not_run_again(loaded, items: list[Item]) -> None:
    model, _ = loaded
    predictor = ModelPredictor(loaded=loaded)
    rows: list[int] = []
    hook = model.language_model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(kwargs["inputs_embeds"].shape[1]), with_kwargs=True
    )
    # The same image; the same question; another question; another image; another box.
    longer = Item(**{**items[0].__dict__, "question": f"{items[0].question}\nAnswer: a dog.\nWhy?"})
    moved = Item(**{**items[0].__dict__, "boxes_xyxy": ((40.0, 1.0, 79.0, 20.0), items[0].boxes_xyxy[1])})
    for item in (items[0], items[0], longer, items[2], items[0], moved):
        kept = predictor.score_options(item, OPTIONS)
        before = len(rows)
        fresh = ModelPredictor(loaded=loaded).score_options(item, OPTIONS)
        # The prompt, then all options together.
        assert len(rows) == before + 2
        for one, other in zip(kept, fresh, strict=True):
            assert one.num_tokens == other.num_tokens and one.log_prob == pytest.approx(other.log_prob, rel=1e-4, abs=1e-3)
    hook.remove()
    spared = [other - own for own, other in zip(rows[0::4], rows[2::4], strict=True)]
    first, same, longer_spared, other_image, back, other_box = spared
    # All but the prompt's last place, the question's beginning, what stands before the box, and what stands before the image.
    assert first == 0 and same == back > longer_spared > other_box > other_image > 0


def test_the_end_of_the_answer_is_scored(loaded, items: list[Item]) -> None:
    # One byte a token: "a dog" and its end mark.
    (score,) = ModelPredictor(loaded=loaded).score_options(items[0], ["a dog"])
    assert score.num_tokens == 6 and score.log_prob < 0


def test_a_batch_answers_as_one_by_one(loaded, items: list[Item]) -> None:
    predictor = ModelPredictor(loaded=loaded, max_new_tokens=6)
    together = predictor.generate(items)
    assert together == [predictor.generate([item])[0] for item in items]
    assert len(set(together)) > 1


def test_generation_is_the_models_own(loaded, items: list[Item]) -> None:
    model, processor = loaded
    item = items[0]
    batch = processor(images=str(item.image), conversations=item.question, boxes=item.boxes_xyxy, add_generation_prompt=True)
    with torch.inference_mode():
        ids = model.generate(**batch, max_new_tokens=6, do_sample=False)
    expected = processor.decode(ids[0, batch["input_ids"].shape[1] :])
    assert ModelPredictor(loaded=loaded, max_new_tokens=6).generate([item]) == [expected]


def test_the_blind_model_sees_the_image_but_not_the_regions(loaded, items: list[Item]) -> None:
    seeing = ModelPredictor(loaded=loaded)
    blind = seeing.blinded()
    moved = Item(**{**items[0].__dict__, "boxes_xyxy": ((40.0, 1.0, 79.0, 20.0), items[0].boxes_xyxy[1])})
    other_image = Item(**{**items[0].__dict__, "image": items[2].image})

    def score(predictor: ModelPredictor, item: Item) -> float:
        return predictor.score_options(item, ["a dog"])[0].log_prob

    assert score(seeing, items[0]) != pytest.approx(score(seeing, moved), rel=1e-6)
    # The second prompt may go on from what is kept of the first, which rounds otherwise.
    assert score(blind, items[0]) == pytest.approx(score(blind, moved), rel=1e-7)
    assert score(blind, items[0]) != pytest.approx(score(blind, other_image), rel=1e-6)
    assert blind.name.endswith("(blind)")


def test_boxes_are_asked_of_files_and_not_of_a_text_model(loaded) -> None:
    with pytest.raises(EvaluationError, match="this model writes text, not boxes; score a predictions file"):
        ModelPredictor(loaded=loaded).generate([Item(id="1", question="Where?", wants="boxes")])


def test_a_missing_image_is_named(loaded, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"item 1: there is no picture .*gone\.jpg; give --images"):
        ModelPredictor(loaded=loaded).generate([Item(id="1", question="What?", image=tmp_path / "gone.jpg")])


@pytest.mark.parametrize(
    ("box", "fitted"),
    [
        ((1, 2, 3, 4), (1, 2, 3, 4)),
        ((-4, -4, 90, 90), (0, 0, 80, 60)),
        ((10, 10, 10.2, 30), (9.6, 10, 10.6, 30)),
        ((79.8, 59.9, 80, 60), (79, 59, 80, 60)),
    ],
)
def test_published_boxes_are_fitted_to_their_image(box: tuple[float, ...], fitted: tuple[float, ...]) -> None:
    assert fit_box(Item(id="1", question=""), box, (80, 60)) == pytest.approx(fitted)


def test_a_box_of_another_image_is_refused() -> None:
    with pytest.raises(EvaluationError, match="lies outside"):
        fit_box(Item(id="1", question=""), (100, 10, 120, 20), (80, 60))


def test_options_need_one_prompt_and_some_text() -> None:
    tokens = split_options([[1, 2, 3, 9], [1, 2, 4, 5, 9]], [[False, False, True, True], [False, False, True, True, True]])
    assert tokens.prefix == [1, 2] and tokens.options == [[3, 9], [4, 5, 9]]
    with pytest.raises(EvaluationError, match="do not share one prompt"):
        split_options([[1, 2, 3], [1, 7, 3]], [[False, False, True]] * 2)
    with pytest.raises(EvaluationError, match="has no tokens"):
        split_options([[1, 2]], [[False, False]])


def test_benchmark_counts_and_compares(loaded) -> None:
    result = benchmark.run(*loaded, num_items=1)
    assert result["num_items"] == 1 and result["options_per_item"] == 8 and result["same_choices"] == 2
    assert result["max_score_difference"] < 1e-2 and result["ratio"] > 1
