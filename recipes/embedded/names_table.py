"""The table of names that the embedded default knows: `gpt4roi/assets/embedded/names.json`.

    python -m recipes.embedded.names_table FEATURES_DIR WORDNET_DIR OUTPUT.json

Common names are those of the labelled boxes and every ImageNet class that is not a kind of one of them; the other ImageNet classes are
kinds of a common name (a tabby is a cat). Words and what they mean come from WordNet; senses are chosen by hand only where the first is wrong.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from timm.data import ImageNetInfo

from gpt4roi.models.ssd_heads import COCO_NAMES
from recipes.embedded.names_data import TRAIN_SETS
from recipes.embedded.wordnet import TOP, WordNet

# Name to (word, what the sense is a kind of) where the first sense of its last word is another thing.
SENSES = {
    "almond milk": ("milk", "foodstuff"), "asparagus": ("asparagus", "vegetable"), "banana": ("banana", "edible fruit"),
    "barrel": ("barrel", "vessel"), "bass": ("bass", "freshwater fish"), "battery": ("battery", "electrical device"),
    "beaver": ("beaver", "rodent"), "beetroot": ("beetroot", "root vegetable"), "bell pepper": ("bell pepper", "sweet pepper"),
    "bottle cap": ("cap", "top"), "broccoli": ("broccoli", "cruciferous vegetable"), "burger": ("burger", "sandwich"),
    "cake": ("cake", "baked goods"), "cannon": ("cannon", "gun"), "carrot": ("carrot", "root vegetable"), "carton": ("carton", "box"),
    "cauliflower": ("cauliflower", "cruciferous vegetable"), "cereal": ("cereal", "breakfast food"), "chana dal": ("bean", "legume"),
    "cherry tree branch": ("branch", "stalk"), "hemlock branch": ("branch", "stalk"), "chess bishop": ("bishop", "chessman"),
    "chess king": ("king", "chessman"), "chess knight": ("knight", "chessman"), "chess pawn": ("pawn", "chessman"),
    "chili pepper": ("chili pepper", "hot pepper"), "chess queen": ("queen", "chessman"), "chess rook": ("rook", "chessman"), "chicken nugget": ("meat", "food"),
    "clams": ("clam", "shellfish"), "cougar": ("cougar", "wildcat"), "cucumber": ("cucumber", "vegetable"),
    "dalmatian": ("dalmatian", "dog"), "date fruit": ("date", "edible fruit"), "dolphin": ("dolphin", "toothed whale"),
    "dried fig": ("fig", "edible fruit"), "durian": ("durian", "edible fruit"), "egg": ("egg", "foodstuff"), "emu": ("emu", "ratite"),
    "fish": ("fish", "food"), "food carton": ("carton", "box"), "fried potatoes": ("potato", "root vegetable"),
    "fruit ice": ("ice", "frozen dessert"), "garlic": ("garlic", "flavorer"), "ginger": ("ginger", "flavorer"),
    "hazelnut": ("hazelnut", "edible nut"), "jalapeno": ("jalapeno", "chili"), "juice carton": ("carton", "box"),
    "kite": ("kite", "plaything"), "kiwi": ("kiwi", "edible fruit"), "leek": ("leek", "vegetable"), "leopard": ("leopard", "big cat"),
    "lettuce": ("lettuce", "salad green"), "lime": ("lime", "citrus"), "lobster": ("lobster", "decapod crustacean"),
    "mango": ("mango", "edible fruit"), "martabak": ("dish", "nutriment"), "microwave": ("microwave", "kitchen appliance"),
    "milk carton": ("carton", "box"), "monitor": ("monitor", "electronic equipment"), "mouse": ("mouse", "electronic device"),
    "mushroom": ("mushroom", "vegetable"), "music player": ("tape recorder", "recorder"), "nectarine": ("nectarine", "edible fruit"),
    "nightstand": ("table", "furniture"), "oat milk carton": ("carton", "box"), "oat yogurt carton": ("carton", "box"),
    "octopus": ("octopus", "octopod"), "oil": ("oil", "edible fat"), "okra": ("okra", "vegetable"), "onion": ("onion", "vegetable"),
    "otter": ("otter", "musteline mammal"), "pants": ("trouser", "garment"), "papaya": ("papaya", "edible fruit"),
    "peach": ("peach", "edible fruit"), "peanuts": ("peanut", "edible nut"), "pineapple": ("pineapple", "edible fruit"),
    "plum": ("plum", "edible fruit"), "pomegranate": ("pomegranate", "edible fruit"), "potted plant": ("plant", "organism"),
    "printer": ("printer", "peripheral"), "quinoa": ("grain", "foodstuff"), "rambutan": ("rambutan", "edible fruit"),
    "rendang": ("dish", "nutriment"), "salmon": ("salmon", "fish"), "satay": ("dish", "nutriment"),
    "schooner": ("schooner", "sailing vessel"), "scorpion": ("scorpion", "arachnid"), "sea horse": ("sea horse", "pipefish"),
    "shoes": ("shoe", "footwear"), "shorts": ("shorts", "trouser"), "shrimp": ("shrimp", "decapod crustacean"),
    "soda": ("soda", "soft drink"), "sour cream carton": ("carton", "box"), "sour milk carton": ("carton", "box"),
    "soy milk carton": ("carton", "box"), "soy yogurt carton": ("carton", "box"), "spices": ("spice", "flavorer"),
    "sports ball": ("ball", "game equipment"), "squid": ("squid", "decapod"), "stop sign": ("signboard", "structure"),
    "straw": ("straw", "tube"), "strawberry": ("strawberry", "berry"), "sweet potato": ("sweet potato", "root vegetable"),
    "table": ("table", "furniture"), "tamarind": ("tamarind", "edible fruit"), "tap": ("tap", "faucet"), "tea": ("tea", "beverage"),
    "tempeh": ("curd", "foodstuff"), "tick": ("tick", "acarine"), "tiger": ("tiger", "big cat"), "toaster": ("toaster", "kitchen appliance"),
    "toilet": ("toilet", "plumbing fixture"), "trilobite": ("trilobite", "arthropod"), "turnip": ("turnip", "root vegetable"),
    "turtle": ("turtle", "chelonian"), "tv": ("tv", "receiver"), "wildcat": ("wildcat", "cat"), "wine glass": ("glass", "container"),
    "wood apple": ("apple", "edible fruit"), "wrench": ("wrench", "hand tool"), "water": ("beverage", "food"),
    "cow": ("cow", "cattle"), "remote": ("remote control", "device"), "potato": ("potato", "root vegetable"), "corn": ("corn", "grain"),
    "yin yang": ("emblem", "symbol"), "zucchini": ("zucchini", "vegetable"), "boat": ("boat", "vessel"), "peas": ("pea", "legume"),
}  # fmt: skip
# Words that no dictionary of 2006 has for what is meant, and everyday words for people.
WORDS = {
    "cell phone": ("smartphone", "phone", "mobile", "handy", "iphone"), "tv": ("screen", "display"), "couch": ("sofa", "settee"),
    "donut": ("doughnut",), "person": ("people", "somebody", "someone", "anybody", "anyone", "human"),
    "airplane": ("plane", "jet", "aircraft"), "motorcycle": ("motorbike",), "bicycle": ("bike",), "tap": ("faucet",),
    "potted plant": ("plant", "houseplant"), "remote": ("remote control", "controller"), "trash can": ("bin", "dustbin", "wastebasket"),
    "hair drier": ("hairdryer", "hair dryer"), "refrigerator": ("fridge",), "cup": ("mug", "coffee cup"), "dining table": ("table",),
    "sports ball": ("ball",), "wine glass": ("glass",), "fire hydrant": ("hydrant",), "picture frame": ("picture", "painting"),
    "t-shirt": ("tee shirt", "tee"), "computer monitor": ("monitor",), "monitor": ("screen",), "dog": ("puppy", "doggy"), "cat": ("kitten", "kitty"),
    "teddy bear": ("teddy", "stuffed animal"), "traffic light": ("stoplight",), "tie": ("necktie",), "horse": ("pony",),
}  # fmt: skip
# Kinds too wide to swallow ImageNet's classes.
TOO_WIDE = {"container", "litter", "plastic", "paper", "food container", "food waste", "garbage", "water", "street", "vegetation"}


def synset_of(wordnet: WordNet, name: str) -> int | None:
    """The synset of a name; None where WordNet has none."""
    if name in SENSES:
        word, parent = SENSES[name]
        wanted = [s for s in wordnet.senses.get(word, []) if any(parent in wordnet.lemmas[p] for p in wordnet.closure(s)[1:])]
        if not wanted:
            raise SystemExit(f"WordNet has no sense of {word!r} that is a kind of {parent!r} ({name})")
        return wanted[0]
    last = name.split()[-1]
    for word in (name, name.removesuffix("s"), name.removesuffix("es"), last, last.removesuffix("s"), last.removesuffix("es")):
        if word in wordnet.senses:
            return wordnet.senses[word][0]
    return None


def _said(lemma: str) -> str:
    """A word as people write it: a proper name in front of another word keeps its capital (Egyptian cat)."""
    return lemma if lemma[0].isupper() and " " in lemma else lemma.lower()


def build(label_names: list[str], wordnet: WordNet) -> dict[str, Any]:
    info = ImageNetInfo("imagenet-1k")
    classes = [int(name[1:]) for name in info.label_names()]
    labels = sorted(set(label_names) | set(COCO_NAMES))
    synsets: list[int | None] = [synset_of(wordnet, name) for name in labels]
    trained = {name: index for index, name in enumerate(sorted(set(label_names)))}
    entries: list[dict[str, Any]] = [
        {"name": name, "crop": trained.get(name), "detector": COCO_NAMES.index(name) if name in COCO_NAMES else None, "imagenet": []}
        for name in labels
    ]
    covers = {offset: index for index, offset in enumerate(synsets) if offset is not None and labels[index] not in TOO_WIDE}
    kinds_of: list[tuple[int, int]] = []
    for number, offset in enumerate(classes):
        home = next((covers[ancestor] for ancestor in wordnet.closure(offset) if ancestor in covers), None)
        if home is None:
            name = _said(wordnet.lemmas[offset][0])
            # Two things of one name are one name: nobody could tell which was meant.
            home = next((place for place, entry in enumerate(entries) if entry["name"] == name), len(entries))
            if home == len(entries):
                entries.append({"name": name, "crop": None, "detector": None, "imagenet": []})
                synsets.append(offset)
        elif synsets[home] != offset:
            kinds_of.append((number, home))
        entries[home]["imagenet"].append(number)
    for number, home in kinds_of:
        entries.append(
            {"name": _said(wordnet.lemmas[classes[number]][0]), "crop": None, "detector": None, "imagenet": [number], "of": home}
        )
        synsets.append(classes[number])
    words: dict[str, set[int]] = {}
    for index, (entry, offset) in enumerate(zip(entries, synsets, strict=True)):
        own = {entry["name"], *WORDS.get(entry["name"], ())}
        # The last word of a name that says where it was seen: a milk bottle is a bottle.
        if " " in entry["name"] and "of" not in entry and entry["crop"] is not None and entry["detector"] is None:
            own.add(entry["name"].split()[-1])
        if offset is not None:
            own |= set(wordnet.words(offset)) | set(wordnet.kinds(offset))
        for word in own - TOP:
            words.setdefault(word.lower(), set()).add(index)
    # A kind is not listed beside the name that it is a kind of.
    listed = {word: sorted(i for i in found if entries[i].get("of") not in found) for word, found in words.items()}
    roots = {offset: index for index, offset in reversed(list(enumerate(synsets))) if offset is not None}
    below = wordnet.frequent_below(roots)
    narrower = {word: sorted(roots[r] for r in found) for word, found in sorted(below.items()) if word not in listed and len(word) > 2}
    return {"names": entries, "words": dict(sorted(listed.items())), "narrower": narrower}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features_dir", type=Path, help="from recipes.embedded.names_data")
    parser.add_argument("wordnet_dir", type=Path, help="with data.noun, index.noun and cntlist.rev")
    parser.add_argument("output", type=Path)
    args = parser.parse_args()
    files = [args.features_dir / f"{name}_train.npz" for name in TRAIN_SETS]
    names = sorted({str(label) for file in files if file.exists() for label in np.load(file)["labels"]})
    table = build(names, WordNet(args.wordnet_dir))
    args.output.write_text(json.dumps(table, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
    common = sum("of" not in entry for entry in table["names"])
    print(
        f"{common} common names and {len(table['names']) - common} kinds of them, {len(table['words'])} words, {len(table['narrower'])} narrower ones"
    )


if __name__ == "__main__":
    main()
