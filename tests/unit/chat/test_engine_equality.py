"""Whatever is kept, the answer is the same: cached against uncached, batched against alone, lean against transformers."""

from __future__ import annotations

import copy
import random
import threading

import numpy as np
import pytest
import torch

from gpt4roi.chat import RegionChat
from gpt4roi.conversation import Turn
from gpt4roi.engine import Engine, EngineBusyError, EngineSettings, PromptTooLongError, Sampling, build_prompt, generation, prepare_image
from gpt4roi.engine.cuda_decoder import CudaDecoder
from gpt4roi.engine.decoder import TransformersDecoder
from gpt4roi.engine.onnx_decoder import OnnxDecoder
from gpt4roi.regions import Region, RegionSet

NO_CACHE = {"image_bytes": 0, "region_bytes": 0, "prefix_bytes": 0}


def random_box(rng: random.Random) -> tuple[float, float, float, float]:
    x0, y0 = rng.uniform(0, 60), rng.uniform(0, 40)
    return x0, y0, x0 + rng.uniform(4, 20), y0 + rng.uniform(4, 20)


def edit(chat: RegionChat, rng: random.Random, images: list[np.ndarray]) -> str | None:
    """One random edit or question; the answer's text where there is one."""
    numbers = sorted(chat.regions)
    act = rng.choice(["ask", "ask", "ask", "add", "move", "remove", "undo", "regenerate", "picture", "reset"])
    if act == "add" or not numbers:
        chat.add_region(random_box(rng))
    elif act == "move":
        chat.move_region(rng.choice(numbers), random_box(rng))
    elif act == "remove" and len(numbers) > 1:
        chat.remove_region(rng.choice(numbers))
    elif act == "undo" and chat.turns:
        chat.undo()
    elif act == "regenerate" and chat.turns:
        # A mention that was removed since is refused: the question would be another one.
        try:
            return chat.regenerate(8).text
        except ValueError:
            return None
    elif act == "picture" and rng.random() < 0.3:
        chat.set_image(rng.choice(images))
    elif act == "reset" and rng.random() < 0.3:
        chat.reset()
    elif act == "ask":
        named = " and ".join(f"<region{rng.choice(numbers)}>" for _ in range(rng.randint(0, 3)))
        return chat.ask(f"{rng.choice(['What is', 'Compare', 'Where?'])} {named}!", rng.randint(1, 12)).text
    return None


@pytest.mark.parametrize("precision", ["float32", "transformers"])
@pytest.mark.parametrize("seed", range(4))
def test_cached_and_uncached_answers_are_identical_over_random_edits(tiny, precision, seed):
    images = [np.random.default_rng(i).integers(0, 255, (60, 80, 3), dtype=np.uint8) for i in range(2)]
    cached = RegionChat(*tiny, Engine(*tiny, EngineSettings(precision=precision, prefill_chunk=64)))
    plain = RegionChat(*tiny, Engine(*tiny, EngineSettings(precision=precision, prefill_chunk=4096, **NO_CACHE)))
    rngs = random.Random(seed), random.Random(seed)
    for chat in (cached, plain):
        chat.set_image(images[0])
    answers = reused = 0
    for _ in range(40):
        first, second = (edit(chat, rng, images) for chat, rng in zip((cached, plain), rngs, strict=True))
        assert first == second
        assert cached.turns == plain.turns
        if first is not None:
            answers += 1
            reused += cached.last_answer.timings.reused_tokens > 0
            assert plain.last_answer.timings.reused_tokens == 0
            assert plain.last_answer.timings.image_cached == 0
    assert answers >= 5
    assert reused >= 3


def test_lean_float32_is_the_model_itself(tiny):
    model, processor = tiny
    pixels = np.random.default_rng(1).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    question = "What is <region1> beside <region2>?"
    boxes = [(1, 1, 30, 30), (20, 20, 70, 55)]
    batch = processor(pixels, question, boxes, add_generation_prompt=True)
    expected = model.generate(**batch, max_new_tokens=24, do_sample=False, eos_token_id=processor.tokenizer.eos_token_id)
    prompt = build_prompt(
        processor,
        [Turn("user", question)],
        prepare_image(pixels, processor),
        RegionSet.from_records([{"box_xyxy": list(box)} for box in boxes], (80, 60)),
    )
    assert prompt.input_ids == batch["input_ids"][0].tolist()
    for precision in ("float32", "transformers"):
        engine = Engine(model, processor, EngineSettings(precision=precision))
        tokens = list(engine.submit(prompt, Sampling(24)))
        assert tokens == [token for token in expected[0, len(prompt.input_ids) :].tolist() if token not in engine.end_ids]


@pytest.mark.parametrize("length", [12, 30])
def test_int8_logits_are_close(tiny, length):
    decoders = [OnnxDecoder(tiny[0].language_model, precision) for precision in ("float32", "int8")]
    embeddings = torch.randn(length, 32, generator=torch.Generator().manual_seed(0)) * 0.5
    with torch.inference_mode():
        states = [decoder.new_state(length + 4) for decoder in decoders]
        prefilled = [decoder.prefill(embeddings, state) for decoder, state in zip(decoders, states, strict=True)]
        stepped = [decoder.step([7], [state])[0] for decoder, state in zip(decoders, states, strict=True)]
    for reference, approximate in (prefilled, stepped):
        assert torch.corrcoef(torch.stack([reference, approximate]))[0, 1] > 0.995


GPU = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")])


@pytest.mark.parametrize("device", ["cpu", GPU])
def test_the_cuda_decoder_computes_what_transformers_does(tiny, device):
    """On the CPU without its graph; the graph itself needs CUDA."""
    language_model = copy.deepcopy(tiny[0].language_model).to(device)
    embeddings = torch.randn(20, 32, generator=torch.Generator().manual_seed(0)).to(device)
    rows = []
    for decoder in (TransformersDecoder(language_model), CudaDecoder(language_model)):
        with torch.inference_mode():
            states = [decoder.new_state(24), decoder.new_state(24)]
            # In two parts and in one.
            decoder.prefill(embeddings[:7], states[0])
            rows.append([decoder.prefill(embeddings[7:], states[0]), decoder.prefill(embeddings[:12], states[1])])
            rows[-1] += [row for tokens in ([5, 9], [1, 2], [8, 3]) for row in decoder.step(tokens, states)]
            rows[-1] += [decoder.step([4], [states[1].fork(13, 20)])[0]]
    for expected, got in zip(*rows, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", [OnnxDecoder, CudaDecoder])
def test_states_may_come_and_go_between_steps(tiny, kind):
    """Whoever steps together, in whatever order, alone in between or with more room than others: as if each stepped alone."""
    decoder = kind(tiny[0].language_model, **({"precision": "float32"} if kind is OnnxDecoder else {}))
    rng, generator = random.Random(0), torch.Generator().manual_seed(0)
    with torch.inference_mode():
        pairs = []
        for index in range(5):
            embeddings = torch.randn(3 + 4 * index, 32, generator=generator)
            together, alone = decoder.new_state(8), decoder.new_state(40)
            decoder.prefill(embeddings, together)
            decoder.prefill(embeddings, alone)
            pairs.append((together, alone))
        for _ in range(40):
            chosen = rng.sample(pairs, rng.randint(1, 5))
            tokens = [rng.randrange(100) for _ in chosen]
            logits = decoder.step(tokens, [together for together, _ in chosen])
            for token, (_, alone), row in zip(tokens, chosen, logits, strict=True):
                torch.testing.assert_close(row, decoder.step([token], [alone])[0], atol=1e-4, rtol=1e-4)
            if rng.random() < 0.3:
                position = rng.randrange(5)
                together, alone = pairs[position]
                pairs[position] = (together.fork(together.length - 1, 4), alone.fork(alone.length - 1, 40))
    assert all(together.length == alone.length > 4 for together, alone in pairs)


@pytest.mark.parametrize("precision", ["float32", "transformers"])
def test_batched_answers_are_those_given_alone(tiny, precision):
    model, processor = tiny
    pixels = np.random.default_rng(2).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    image = prepare_image(pixels, processor)
    rng = random.Random(5)
    prompts = [
        build_prompt(processor, [Turn("user", f"{'Say more. ' * i}What is <region1>?")], image, {1: Region(1, random_box(rng))})
        for i in range(6)
    ]
    alone = Engine(model, processor, EngineSettings(precision=precision, max_active=1, **NO_CACHE))
    expected = [list(alone.submit(prompt, Sampling(20))) for prompt in prompts]
    together = Engine(model, processor, EngineSettings(precision=precision, max_active=4, prefill_chunk=32))
    generations = [together.submit(prompt, Sampling(20)) for prompt in prompts]
    assert [list(generation) for generation in generations] == expected


def test_moving_a_region_invalidates_only_what_follows_its_mention(chat, tiny):
    _, processor = tiny
    chat.add_region((0, 0, 20, 20))
    chat.add_region((30, 30, 60, 50))
    second = chat.ask("First <region1>, then <region2>", 4)
    assert (second.timings.regions_encoded, second.timings.regions_cached) == (2, 0)
    chat.move_region(2, (31, 30, 60, 50))
    again = chat.regenerate(4)
    chat.undo()
    prompt = chat.prompt_of("First <region1>, then <region2>")
    mention = max(i for i, token in enumerate(prompt.input_ids) if token == processor.region_token_id)
    assert again.timings.reused_tokens == mention
    assert (again.timings.regions_encoded, again.timings.regions_cached, again.timings.image_cached) == (1, 1, 1)


def test_cancelling_frees_the_place_at_once(tiny):
    model, processor = tiny
    engine = Engine(model, processor, EngineSettings(max_active=1, max_waiting=2))
    prompt = build_prompt(processor, [Turn("user", "Hello")])
    running = engine.submit(prompt, Sampling(1500))
    next(iter(running))
    waiting = [engine.submit(prompt, Sampling(3)) for _ in range(2)]
    with pytest.raises(EngineBusyError, match="waiting already"):
        engine.submit(prompt)
    waiting[0].cancel()
    assert list(waiting[0]) == []
    assert waiting[0].finish_reason == "cancelled"
    third = engine.submit(prompt, Sampling(3))
    running.cancel()
    assert len(list(waiting[1])) == 3
    assert len(list(third)) == 3
    assert running.timings["new_tokens"] < 1500


def test_everybody_is_served_while_a_long_answer_is_written(tiny):
    model, processor = tiny
    engine = Engine(model, processor, EngineSettings(max_active=4))
    prompt = build_prompt(processor, [Turn("user", "Hello")])
    long = engine.submit(prompt, Sampling(1500))
    short = engine.submit(prompt, Sampling(5))
    assert len(list(short)) == 5
    assert long.finish_reason is None
    long.cancel()


def test_who_asks_for_levels_or_scores_does_not_wait_for_a_long_answer(tiny):
    model, processor = tiny
    engine = Engine(model, processor, EngineSettings(precision="float32"))
    prompt = build_prompt(processor, [Turn("user", "Hello")])
    image = prepare_image(np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8), processor)
    long = engine.submit(prompt, Sampling(1900))
    next(iter(long))
    levels = engine.levels(image)
    assert engine.levels(image) is levels and len(engine.log_probs(prompt, [[5, 6], [7]])) == 2
    assert long.finish_reason is None
    # The prompt's image features come with the levels.
    about = engine.submit(build_prompt(processor, [Turn("user", "Hello")], image), Sampling(2))
    assert len(list(about)) == 2 and about.timings["image_cached"] == 1
    long.cancel()


def test_close_waits_for_what_is_there_and_takes_nothing_new(tiny):
    model, processor = tiny
    engine = Engine(model, processor)
    prompt = build_prompt(processor, [Turn("user", "Hello")])
    generation = engine.submit(prompt, Sampling(30))
    assert engine.close(timeout_s=20)
    assert len(list(generation)) == 30
    with pytest.raises(EngineBusyError, match="shutting down"):
        engine.submit(prompt)


def test_a_conversation_ends_where_the_positions_of_the_model_end(tiny):
    model, processor = tiny
    engine = Engine(model, processor)
    positions = model.config.text_config.max_position_embeddings
    length = len(build_prompt(processor, [Turn("user", "")]).input_ids)
    almost = build_prompt(processor, [Turn("user", "a" * (positions - length - 3))])
    assert len(almost.input_ids) == positions - 3
    generation = engine.submit(almost, Sampling(30))
    assert len(list(generation)) == 3
    assert generation.finish_reason == "length"
    with pytest.raises(PromptTooLongError, match=f"reads at most {positions}"):
        engine.submit(build_prompt(processor, [Turn("user", "a" * (positions - length))]))


def test_budgets_bound_the_caches(tiny):
    model, processor = tiny
    engine = Engine(model, processor, EngineSettings(image_bytes=40_000, region_bytes=300, prefix_bytes=200_000))
    chat = RegionChat(model, processor, engine)
    for index in range(6):
        chat.set_image(np.random.default_rng(index).integers(0, 255, (60, 80, 3), dtype=np.uint8))
        for _ in range(4):
            chat.add_region(random_box(random.Random(index)))
        chat.ask("See <region1> <region2> <region3> <region4>", 6)
        assert engine.features.images.used_bytes <= 40_000
        assert engine.features.regions.used_bytes <= 300
        assert engine.prefixes.used_bytes <= 200_000
    assert len(engine.features.images) >= 1


def test_sampling_is_reproducible_by_seed(tiny):
    model, processor = tiny
    engine = Engine(model, processor)
    prompt = build_prompt(processor, [Turn("user", "Hello")])
    draws = [list(engine.submit(prompt, Sampling(20, temperature=3.0, top_p=0.95, seed=seed))) for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_many_threads_share_one_engine(tiny):
    model, processor = tiny
    engine = Engine(model, processor, EngineSettings(precision="float32", max_active=3))
    pixels = [np.random.default_rng(i).integers(0, 255, (60, 80, 3), dtype=np.uint8) for i in range(6)]

    def talk(index: int, texts: dict[int, str]) -> None:
        chat = RegionChat(model, processor, engine)
        chat.set_image(pixels[index])
        chat.add_region((1, 1, 40 + index, 50))
        texts[index] = chat.ask("What is <region1>?", 10).text + chat.ask("And?", 10).text

    together: dict[int, str] = {}
    threads = [threading.Thread(target=talk, args=(index, together)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone: dict[int, str] = {}
    for index in range(6):
        talk(index, alone)
    assert together == alone
    assert len(set(together.values())) == 6


def test_an_error_in_one_answer_leaves_the_others_alone(tiny, monkeypatch):
    model, processor = tiny
    prompt = build_prompt(processor, [Turn("user", "Hello")])
    alone = list(Engine(model, processor, EngineSettings(precision="float32")).submit(prompt, Sampling(30)))
    engine = Engine(model, processor, EngineSettings(precision="float32"))
    choose = generation.choose

    def failing(logits, sampling, generator):
        if sampling.seed == 13 and generator is not None:
            raise RuntimeError("probability tensor contains inf")
        return choose(logits, sampling, generator)

    monkeypatch.setattr("gpt4roi.engine.engine.choose", failing)
    victims = [engine.submit(prompt, Sampling(30)) for _ in range(3)]
    attacker = engine.submit(prompt, Sampling(30, temperature=1.0, seed=13))
    with pytest.raises(RuntimeError, match="inf"):
        list(attacker)
    assert [list(victim) for victim in victims] == [alone] * 3


@pytest.mark.parametrize("temperature", [8e-38, 1e-45, 1e-5, 2.0])
def test_no_temperature_overflows(temperature):
    logits = torch.tensor([100.0, 30.0, -50.0])
    assert generation.choose(logits, Sampling(1, temperature=temperature, seed=0), torch.Generator().manual_seed(0)) == 0
