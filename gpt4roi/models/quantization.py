"""8- and 4-bit weights of the language model, through bitsandbytes, on CPU and CUDA alike.

Vision tower, projector, region encoder and the output head stay as they are: they are a small part of the memory, and boxes want every bit.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import torch

from gpt4roi.errors import UserError

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig

QUANTIZATIONS = ("int8", "int4")
# Names (or their ends) of the modules that keep their weights; heads are called one of the two last.
EXACT_MODULES = ("vision_tower", "multi_modal_projector", "region_encoder", "lm_head", "embed_out")


class QuantizationError(UserError):
    """Weights that cannot be quantised as asked; the message is a sentence for the user."""


def quantization_config(name: str, dtype: torch.dtype) -> BitsAndBytesConfig:
    """What `from_pretrained(quantization_config=…)` takes.

    Args:
      name: `int8` (LLM.int8, arXiv:2208.07339: rows of 8 bits, activations beyond 6 stay exact) or `int4` (NF4 in blocks of 64,
        arXiv:2305.14314).
      dtype: of the products and of everything that is not quantised.
    Raises:
      QuantizationError: an unknown name, or bitsandbytes is not installed.
    """
    if name not in QUANTIZATIONS:
        raise QuantizationError(f"quantisation is one of {', '.join(QUANTIZATIONS)}; got '{name}'")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise QuantizationError(f"{name} weights need the package 'bitsandbytes'; install it with: pip install 'gpt4roi[quantize]'")
    from transformers import BitsAndBytesConfig

    if name == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=list(EXACT_MODULES))
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype, llm_int8_skip_modules=list(EXACT_MODULES)
    )
