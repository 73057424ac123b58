"""The released `config.json` and the CLIP tower's, as our config. `model_type: llava` is read as plain JSON, never by AutoConfig."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import CLIPVisionConfig

from gpt4roi.models.configuration_gpt4roi import GPT4RoIConfig, GPT4RoIRegionConfig, GPT4RoIVisionConfig
from gpt4roi.models.released_keys import REGION_PREFIX
from gpt4roi.models.tensor_files import CheckpointError, read_json

# added_tokens.json of the released model (reference section 1).
ADDED_TOKENS = {"[PAD]": 32000, "<im_patch>": 32001, "<bbox>": 32002, "<point>": 32003, "<im_start>": 32004, "<im_end>": 32005}
BASE_VOCABULARY = 32000
# The region levels are every third hidden state from the selected one downwards, four of them (reference section 2).
LEVEL_STEP, NUM_LEVELS = 3, 4

TEXT_FIELDS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
    "rms_norm_eps",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
)

TOWER_FIELDS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_channels",
    "image_size",
    "patch_size",
    "hidden_act",
    "layer_norm_eps",
    "attention_dropout",
    "projection_dim",
)


def read_released_config(folder: Path) -> dict[str, Any]:
    """The released config.json, checked.

    Raises:
      CheckpointError: not GPT4RoI's, or a field that we rely on is missing.
    """
    config = read_json(folder / "config.json")
    if config.get("model_type") == "gpt4roi":
        raise CheckpointError(f"'{folder}' is already in our layout; give it to --model as it is")
    if config.get("model_type") != "llava" or "mm_hidden_size" not in config:
        raise CheckpointError(
            f"'{folder}' is not a released GPT4RoI checkpoint (its model_type is '{config.get('model_type')}' where 'llava' with mm_hidden_size is expected)"
        )
    for field in (*TEXT_FIELDS, "mm_vision_select_layer"):
        if field not in config:
            raise CheckpointError(f"'{folder / 'config.json'}' has no {field}; fetch it again")
    if config.get("tie_word_embeddings"):
        raise CheckpointError(f"'{folder / 'config.json'}' ties the word embeddings, which GPT4RoI does not; it is another model")
    added = read_json(folder / "added_tokens.json") if (folder / "added_tokens.json").exists() else ADDED_TOKENS
    if added != ADDED_TOKENS or config["vocab_size"] != BASE_VOCABULARY + len(ADDED_TOKENS):
        raise CheckpointError(
            f"'{folder}' has {config['vocab_size']} word rows and the added tokens {added}; the released model has 32006 rows and {ADDED_TOKENS}"
        )
    return config


def read_tower_config(folder: Path) -> dict[str, Any]:
    """A CLIP vision config as a dict with its `model_type`, from a vision folder or from a whole CLIP.

    Raises:
      CheckpointError: missing or not CLIP.
    """
    config = read_json(folder / "config.json")
    if config.get("model_type") == "clip":
        # Old files keep defaults out of `vision_config`; `vision_config_dict` is the older name of the same.
        config = {**(config.get("vision_config_dict") or {}), **(config.get("vision_config") or {}), "model_type": "clip_vision_model"}
    if config.get("model_type") != "clip_vision_model":
        raise CheckpointError(f"'{folder}' is not a CLIP vision tower (its model_type is '{config.get('model_type')}')")
    known = CLIPVisionConfig(**{name: value for name, value in config.items() if name not in ("model_type", "torch_dtype", "dtype")})
    return {"model_type": "clip_vision_model", **{name: getattr(known, name) for name in TOWER_FIELDS}}


def build_config(released: dict[str, Any], tower: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> GPT4RoIConfig:
    """Our config.

    Args:
      released, tower: from the two readers above.
      shapes: shapes of the released tensors; the region module's widths stand nowhere else.
    Raises:
      CheckpointError: the tower does not fit.
    """
    width = released["mm_hidden_size"]
    if tower["hidden_size"] != width:
        raise CheckpointError(
            f"the vision tower is {tower['hidden_size']} wide but the checkpoint was trained on one of {width}; the released model needs CLIP ViT-L/14 at 224"
        )
    num_states = tower["num_hidden_layers"] + 1
    selected = released["mm_vision_select_layer"] % num_states
    layers = list(range(selected, -1, -LEVEL_STEP))[:NUM_LEVELS][::-1]
    if len(layers) < NUM_LEVELS:
        raise CheckpointError(f"the vision tower has {num_states - 1} layers, too few for {NUM_LEVELS} region levels")
    try:
        box_hidden = shapes[f"{REGION_PREFIX}roi_align.pos_embedd.0.weight"][0]
        hidden = shapes[f"{REGION_PREFIX}roi_align.flatten_linear.weight"][0]
    except KeyError as error:
        raise CheckpointError(f"the checkpoint lacks {error}; it is not a GPT4RoI model") from error
    text = {field: released[field] for field in TEXT_FIELDS}
    return GPT4RoIConfig(
        vision_config=GPT4RoIVisionConfig(
            kind="transformer",
            backbone=tower,
            image_size_hw=(tower["image_size"], tower["image_size"]),
            feature_layer=released["mm_vision_select_layer"],
            region_layers=tuple(layers),
            num_prefix_tokens=1,
        ),
        region_config=GPT4RoIRegionConfig(channels=width, box_hidden_size=box_hidden, hidden_size=hidden),
        text_config={"model_type": "llama", **text, "tie_word_embeddings": False},
        image_token_id=ADDED_TOKENS["<im_patch>"],
        region_token_id=ADDED_TOKENS["<bbox>"],
        prompt_style="vicuna_v0",
        tie_word_embeddings=False,
    )


def check_base_config(base: Path, released: dict[str, Any]) -> None:
    """Refuse a base that is not the LLaMA-1 that the delta was made from.

    LLaMA-2 has the same shapes; its norm epsilon (1e-5) and context length (4096) give it away.

    Raises:
      CheckpointError: naming the difference.
    """
    config = read_json(base / "config.json")
    if config.get("model_type") != "llama":
        raise CheckpointError(f"the base '{base}' is not LLaMA (its model_type is '{config.get('model_type')}')")
    expected = {name: released[name] for name in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")}
    expected |= {"vocab_size": BASE_VOCABULARY, "rms_norm_eps": released["rms_norm_eps"]}
    if config.get("num_key_value_heads") is not None:
        expected["num_key_value_heads"] = released["num_attention_heads"]
    # Early LLaMA-1 folders called it max_sequence_length or left it out.
    if "max_position_embeddings" in config:
        expected["max_position_embeddings"] = released["max_position_embeddings"]
    for name, value in expected.items():
        if config.get(name) != value:
            raise CheckpointError(
                f"the base '{base}' is not the LLaMA-1 of these delta weights: its {name} is {config.get(name)} where {value} is needed (LLaMA-2 does not work)"
            )
