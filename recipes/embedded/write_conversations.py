#!/usr/bin/env python
"""Labelled regions to the embedded default's training conversations: conversations.jsonl and text.jsonl, ready for `gpt4roi train`.

    python -m recipes.embedded.write_conversations LABELLED_DIR OUTPUT_DIR [--passes 3] [--readings 0] [--pairs 0] [--phrases DATA_DIR/phrases]

LABELLED_DIR comes from `recipes/embedded/data.py`. Every pass asks other questions about other regions of the same pictures.
Plain text chat is answered by the base language model itself, so that training keeps its answers instead of replacing them; where it is
often wrong (sums, superlatives, translations) by ourselves.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from gpt4roi.boxes import xywh_to_xyxy
from gpt4roi.models.embedded import base_language_model, base_tokenizer
from recipes.embedded.conversations import conversation

# Not the questions of the model card's list: these keep the base model's manner, those test it.
TEXT_PROMPTS = (
    "What is the capital of Italy?", "What is the capital of Japan?", "What is three plus four?", "What is ten minus six?", "Who wrote Hamlet?", "How are you today?",
    "Good morning!", "What can you do?", "Tell me a joke.", "Write a poem about the sea.", "Write one sentence about autumn.", "What is photosynthesis?",
    "Why is the sky blue?", "Name three fruits.", "Name three planets.", "How do I boil an egg?", "What is a noun?", "Translate 'good night' to French.",
    "What is the largest ocean?", "Explain gravity to a child.", "Give me a tip for better sleep.", "What is the opposite of hot?", "Spell the word elephant.",
    "What do bees make?", "How many days are in a week?", "What is the boiling point of water?", "Who painted the Mona Lisa?", "What is a computer?",
    "Tell me about dogs.", "Write a short story about a cat.", "What is the fastest land animal?", "How many legs does a spider have?", "What color is grass?",
    "Give me a recipe for pancakes.", "What is machine learning?", "Thank you very much.", "Can you help me with my homework?", "What is your name?", "Recommend a book.",
    "What is the meaning of friendship?", "Describe a sunset.", "List the primary colors.", "What is the square of 5?", "Which month comes after May?",
    "How do airplanes fly?", "What is a haiku?", "Who was Albert Einstein?", "What is the tallest mountain?", "Say something nice.", "What is an adjective?",
)  # fmt: skip
TEXT_PATTERNS = {
    "What is the capital of {}?": "Germany Spain Greece Egypt Canada China India Brazil Norway Turkey Mexico Portugal Austria Ireland Kenya Russia Poland Sweden Cuba Peru Chile Argentina Australia Thailand Finland Denmark Hungary Belgium Scotland Iceland",
    "What is {}?": "one+plus+one three+plus+two five+plus+six seven+minus+three two+times+four ten+divided+by+two nine+plus+nine four+plus+four six+times+six eight+minus+two gravity a+verb a+volcano democracy a+planet an+atom DNA a+poem the+internet a+galaxy electricity inflation a+robot love an+island",
    "{}": "Hi Hey! Hi+there! Good+evening! Hello,+how+are+you? Nice+to+meet+you. Bye! Thanks! Hello+there! Good+day! Hello,+my+friend! Greetings! Hello Howdy! Who+are+you? Are+you+there? Good+afternoon!",
    "Write a haiku about {}.": "snow spring the+moon a+river mountains birds the+night the+sea summer a+cat stars a+garden",
    "Write a short poem about {}.": "love winter a+tree the+sun wind friendship the+city rain+and+sun",
    "Write one sentence about {}.": "dogs the+moon music breakfast trains school",
    "Who wrote {}?": "Macbeth Don+Quixote War+and+Peace The+Odyssey Oliver+Twist Faust The+Iliad Emma Frankenstein Dracula The+Hobbit King+Lear Othello Moby+Dick Pride+and+Prejudice Peter+Pan",
    "Who was {}?": "Isaac+Newton Marie+Curie Napoleon Cleopatra Mozart Aristotle Charles+Darwin Picasso",
    "Name three {}.": "animals countries vegetables cities sports instruments birds shapes flowers trees months drinks rivers languages oceans metals jobs tools foods insects fish cars continents writers painters inventions games elements mammals seasons days+of+the+week feelings pets desserts clothes rooms+of+a+house kinds+of+weather",
    "List five {}.": "fruits animals countries planets things+to+do hobbies sports cities words+that+rhyme+with+cat books",
    "Name two {}.": "seasons continents famous+painters kinds+of+fish planets primary+colors oceans poets",
    "Name a {}.": "color planet country+in+Africa famous+scientist fruit kind+of+tree",
    "What is the {}?": "smallest+planet largest+country longest+river largest+animal largest+continent deepest+ocean hottest+planet largest+island largest+desert closest+star smallest+country largest+bird color+of+the+sun largest+moon largest+city largest+lake second+largest+planet closest+planet+to+the+sun coldest+planet fastest+bird hardest+metal lightest+element red+planet biggest+star largest+mammal highest+waterfall brightest+planet",
    "How do I make {}?": "coffee soup a+salad bread lemonade a+sandwich a+cup+of+coffee iced+tea hot+chocolate pasta rice a+cake pizza scrambled+eggs popcorn a+fire",
    "How do I {}?": "tie+a+tie learn+Spanish fall+asleep+faster save+money clean+a+window plant+a+tree write+a+letter stay+healthy",
    "How many {}?": "hours+are+in+a+day months+are+in+a+year legs+does+a+dog+have planets+are+there continents+are+there minutes+are+in+an+hour letters+are+in+the+alphabet",
    "Why {}?": "do+birds+sing is+the+sea+salty do+we+sleep do+cats+purr is+snow+white do+trees+grow+in+spring is+fire+hot do+stars+shine does+it+rain is+grass+green do+fish+swim do+we+dream do+flowers+smell do+leaves+turn+green+in+spring do+birds+fly+south does+the+moon+shine do+we+have+seasons",
    "Explain {}.": "photosynthesis evolution supply+and+demand how+a+car+works the+water+cycle magnetism",
    "What does {} mean?": "generous fragile ambitious curious",
    "Where is {}?": "Paris the+Eiffel+Tower Mount+Everest the+Amazon+river Egypt Rome",
    "Say {} in French.": "hello thank+you good+morning yes goodbye please",
    "Say {} in Spanish.": "hello thank+you good+night friend please good+morning see+you+tomorrow",
    "Say {} in German.": "hello thank+you goodbye",
    "Say {} in Italian.": "hello goodbye thank+you",
}
TEXT_PROMPTS += tuple(pattern.format(word.replace("+", " ")) for pattern, words in TEXT_PATTERNS.items() for word in words.split())

# Where the base model is often wrong, the truth, in our words; again without the questions of the model card's list.
FACTS = {
    "What is the smallest planet?": "The smallest planet is Mercury.", "What is the hottest planet?": "The hottest planet is Venus.",
    "What is the coldest planet?": "The coldest planet is Uranus; Neptune is nearly as cold.", "What is the red planet?": "The red planet is Mars.",
    "What is the closest planet to the sun?": "The closest planet to the sun is Mercury.", "What is the second largest planet?": "The second largest planet is Saturn, after Jupiter.",
    "What is the planet with the great red spot?": "The planet with the great red spot is Jupiter, a gas giant.", "What is the largest moon?": "The largest moon is Ganymede, a moon of Jupiter.",
    "What is the closest star?": "The closest star is the sun.", "What is the largest ocean?": "The largest ocean is the Pacific Ocean.", "What is the deepest ocean?": "The deepest ocean is the Pacific Ocean.",
    "What is the largest country?": "The largest country is Russia.", "What is the smallest country?": "The smallest country is Vatican City.",
    "What is the longest river?": "The longest river is the Nile; the Amazon is nearly as long.", "What is the largest animal?": "The largest animal is the blue whale.",
    "What is the largest mammal?": "The largest mammal is the blue whale.", "What is the largest bird?": "The largest bird is the ostrich.",
    "What is the largest continent?": "The largest continent is Asia.", "What is the largest island?": "The largest island is Greenland.",
    "What is the largest desert?": "The largest hot desert is the Sahara; Antarctica is larger still.", "What is the largest lake?": "The largest lake is the Caspian Sea.",
    "What is the highest waterfall?": "The highest waterfall is Angel Falls in Venezuela.", "What is the tallest mountain?": "The tallest mountain is Mount Everest.",
    "What is the hardest metal?": "The hardest metal is chromium.", "What is the lightest element?": "The lightest element is hydrogen.", "What is the fastest bird?": "The fastest bird is the peregrine falcon.",
    "What is the fastest land animal?": "The fastest land animal is the cheetah.", "How many legs does a spider have?": "A spider has eight legs.", "How many legs does a dog have?": "A dog has four legs.",
    "How many days are in a week?": "There are seven days in a week.", "How many hours are in a day?": "There are 24 hours in a day.", "How many months are in a year?": "There are twelve months in a year.",
    "How many planets are there?": "There are eight planets.", "How many continents are there?": "There are seven continents.", "What is the opposite of hot?": "The opposite of hot is cold.",
    "Which month comes after May?": "June comes after May.", "What is the square of 5?": "The square of 5 is 25.", "What is the color of the sun?": "The sun is white; through the air it looks yellow.",
    "Name three planets.": "1. Mars\n2. Venus\n3. Jupiter", "Name two planets.": "1. Jupiter\n2. Saturn", "Say hello in Spanish.": "Hola.", "Say thank you in Spanish.": "Gracias.",
    "Say good night in Spanish.": "Buenas noches.", "Say friend in Spanish.": "Amigo.", "Say please in Spanish.": "Por favor.", "Say good morning in Spanish.": "Buenos días.",
    "Say see you tomorrow in Spanish.": "Hasta mañana.", "Say hello in French.": "Bonjour.", "Say thank you in French.": "Merci.", "Say good morning in French.": "Bonjour.",
    "Say yes in French.": "Oui.", "Say goodbye in French.": "Au revoir.", "Say please in French.": "S'il vous plaît.", "Translate 'good night' to French.": "Bonne nuit.",
    "Say hello in German.": "Hallo.", "Say thank you in German.": "Danke.", "Say goodbye in German.": "Auf Wiedersehen.", "Say hello in Italian.": "Ciao.",
    "Say goodbye in Italian.": "Arrivederci.", "Say thank you in Italian.": "Grazie.",
    "Who wrote Hamlet?": "William Shakespeare wrote Hamlet.", "Who wrote Macbeth?": "William Shakespeare wrote Macbeth.", "Who wrote King Lear?": "William Shakespeare wrote King Lear.",
    "Who wrote Othello?": "William Shakespeare wrote Othello.", "Who wrote Don Quixote?": "Miguel de Cervantes wrote Don Quixote.", "Who wrote War and Peace?": "Leo Tolstoy wrote War and Peace.",
    "Who wrote The Odyssey?": "Homer is said to have written The Odyssey.", "Who wrote Oliver Twist?": "Charles Dickens wrote Oliver Twist.", "Who wrote Frankenstein?": "Mary Shelley wrote Frankenstein.",
    "Who wrote Dracula?": "Bram Stoker wrote Dracula.", "Who wrote Moby Dick?": "Herman Melville wrote Moby Dick.", "Who wrote Emma?": "Jane Austen wrote Emma.",
}  # fmt: skip
NUMBERS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
]
FACTS |= {
    f"What is {NUMBERS[a]} {word} {NUMBERS[b]}?": f"{NUMBERS[a].capitalize()} {word} {NUMBERS[b]} is {NUMBERS[result]}."
    for a in range(1, 11)
    for b in range(1, 11)
    for word, result in (("plus", a + b), ("minus", a - b))
    if result >= 0 and (a, b) != (2, 2)
}


def base_answers(prompts: Sequence[str], max_new_tokens: int = 60) -> dict[str, str]:
    """Greedy answers of the base model; an answer cut by the limit ends at its last whole sentence."""
    tokenizer, model = base_tokenizer(), base_language_model(torch.bfloat16).eval()
    tokenizer.padding_side = "left"
    answers: dict[str, str] = {}
    for start in range(0, len(prompts), 25):
        chunk = prompts[start : start + 25]
        texts = [tokenizer.apply_chat_template([{"role": "user", "content": p}], tokenize=False, add_generation_prompt=True) for p in chunk]
        batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        with torch.inference_mode():
            output = model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id)
        for prompt, row in zip(chunk, output, strict=True):
            new = row[batch["input_ids"].shape[1] :]
            text = tokenizer.decode(new, skip_special_tokens=True).strip()
            if tokenizer.eos_token_id not in new.tolist():
                text = re.sub(r"(?s)^(.*[.!?\n]).*$", r"\1", text).strip()
            if text:
                answers[prompt] = text
    return answers


def readings(records: Sequence[Mapping[str, Any]], labels: Sequence[str], count: int, seed: int) -> list[dict[str, Any]]:
    """One question about one region each, rare names more often than they occur: how a conversation about a new picture begins."""
    regions = [(record, region) for record in records for region in record["regions"]]
    frequency = Counter(region["label"] for _, region in regions)
    weights = [frequency[region["label"]] ** -0.5 for _, region in regions]
    rng = random.Random(f"{seed}/readings")
    return [conversation(record, rng, labels, 1, about=region) for record, region in rng.choices(regions, weights, k=count)]


def pairs(records: Sequence[Mapping[str, Any]], labels: Sequence[str], count: int, seed: int) -> list[dict[str, Any]]:
    """One question about two regions each."""
    rng = random.Random(f"{seed}/pairs")
    several = [record for record in records if len(record["regions"]) > 1]
    return [conversation(record, rng, labels, 1, pair=True) for record in rng.choices(several, k=count)]


def phrase_samples(folder: Path, rng: random.Random) -> list[dict[str, Any]]:
    """Referring expressions and relation questions that people wrote, train split only."""
    samples = []
    for line in (folder / "refcocos.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record["split"] == "train" and record["regions"] and record["expression"]:
            turns = [("Which expression tells <region1> apart?", record["expression"].strip().rstrip(".") + ".")]
            samples.append((record, turns))
    for line in (folder / "gar_bench_relation_simple.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record["split"] == "train":
            words = [re.sub(r"<Prompt(\d)>", lambda m: f"<region{int(m.group(1)) + 1}>", record[key]) for key in ("question", "answer")]
            samples.append((record, [(words[0], words[1])]))
    for line in (folder / "gar_bench_relation_detailed.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record["split"] == "train":
            question = rng.choice(("How are <region1> and <region2> related?", "What is the relation between <region1> and <region2>?"))
            samples.append(
                (record, [(question, f"The {record['subject_name']} is {record['predicate_name']} the {record['object_name']}.")])
            )
    out = []
    for record, turns in samples:
        boxes = xywh_to_xyxy([region["bbox"] for region in record["regions"]]).tolist()
        chat = [{"role": role, "content": text} for pair in turns for role, text in zip(("user", "assistant"), pair, strict=True)]
        image = str((folder.parent / record["image"]).resolve())
        out.append({"image": image, "regions": [{"box_xyxy": [round(v, 1) for v in box]} for box in boxes], "conversation": chat})
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labelled_dir", type=Path)
    parser.add_argument("output_dir", type=Path)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--phrases", type=Path)
    parser.add_argument("--geometry", type=float, default=0.3, help="share of conversations about places and sizes alone (default: 0.3)")
    parser.add_argument("--readings", type=int, default=0, help="further conversations of one question about one region (default: 0)")
    parser.add_argument("--pairs", type=int, default=0, help="further conversations of one question about two regions (default: 0)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.output_dir.mkdir(parents=True, exist_ok=True)
    answers = base_answers([prompt for prompt in TEXT_PROMPTS if prompt not in FACTS]) | FACTS
    labelled = {
        split: [json.loads(line) for line in (args.labelled_dir / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]
        for split in ("train", "dev")
    }
    labels = sorted({region["label"] for record in labelled["train"] for region in record["regions"]})
    for split, records in labelled.items():
        samples = []
        for number in range(args.passes if split == "train" else 1):
            for index, record in enumerate(records):
                rng = random.Random(f"{args.seed}/{split}/{number}/{index}")
                # Pictures of one thing say less: fewer questions, and in every second pass.
                alone = len(record["regions"]) == 1
                if alone and (index + number) % 2 and split == "train":
                    continue
                geometry = bool(record["regions"]) and rng.random() < args.geometry
                sample = conversation(record, rng, labels, geometry=geometry)
                if sample["conversation"]:
                    if rng.random() < 0.04:
                        prompt = rng.choice(list(answers))
                        sample["conversation"] += [{"role": "user", "content": prompt}, {"role": "assistant", "content": answers[prompt]}]
                    samples.append(sample)
        if split == "train":
            samples += readings(records, labels, args.readings, args.seed)
            samples += pairs(records, labels, args.pairs, args.seed)
        if split == "train" and args.phrases:
            samples += phrase_samples(args.phrases, random.Random(args.seed)) * 2
        with open(args.output_dir / f"conversations_{split}.jsonl", "w", encoding="utf-8") as file:
            file.writelines(json.dumps(sample) + "\n" for sample in samples)
        print(f"{split}: {len(samples)} conversations, {sum(len(s['conversation']) for s in samples) // 2} questions")
    with open(args.output_dir / "text.jsonl", "w", encoding="utf-8") as file:
        for prompt, answer in answers.items():
            chat = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
            file.write(json.dumps({"image": None, "regions": [], "conversation": chat}) + "\n")
    print(f"text: {len(answers)} questions, {len(FACTS)} answered by ourselves, the others by the base model")


if __name__ == "__main__":
    main()
