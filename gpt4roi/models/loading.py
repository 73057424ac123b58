"""One way to get a model and its processor from a name: the embedded default, a folder, or a hub id."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from gpt4roi.errors import UserError
from gpt4roi.models.quantization import QuantizationError, quantization_config

if TYPE_CHECKING:
    from gpt4roi.models.embedded import Progress
    from gpt4roi.models.modeling_gpt4roi import GPT4RoIForConditionalGeneration
    from gpt4roi.models.processing_gpt4roi import GPT4RoIProcessor

EMBEDDED = "embedded"


class ModelNotFoundError(UserError):
    """A name that is no model; the message is a sentence for the user."""


def load_model(
    name: str | Path | None = None,
    device: str | None = None,
    dtype: torch.dtype | str | None = None,
    progress: Progress | None = None,
    quantization: str | None = None,
    attn_implementation: str | None = None,
) -> tuple[GPT4RoIForConditionalGeneration, GPT4RoIProcessor]:
    """A model in evaluation mode and its processor.

    Args:
      name: None or `embedded` for the default, a folder written by `save_pretrained`, or a hub id.
      device: `cpu`, `cuda`, `cuda:1`, …, or `auto` to spread over what is there; None takes CUDA where there is one.
      dtype: a torch dtype or its name; None is float32 on CPU and bfloat16 on CUDA.
      progress: told what is being done and how far it is (0 to 1, or None).
      quantization: `int8` or `int4` weights of the language model (see `quantization`); None leaves them as they are.
      attn_implementation: `sdpa`, `eager`, `flash_attention_2`, … of the language model; None leaves the choice to transformers.
    Raises:
      ModelNotFoundError, EmbeddedModelError, QuantizationError: each with one sentence.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if isinstance(dtype, str):
        dtype = getattr(torch, dtype, None)
        if not isinstance(dtype, torch.dtype):
            raise UserError("dtype is float32, bfloat16 or float16")
    on_cpu = device == "cpu" or (device == "auto" and not torch.cuda.is_available())
    dtype = dtype or (torch.float32 if on_cpu else torch.bfloat16)
    if name is None or str(name) == EMBEDDED:
        if quantization is not None:
            raise QuantizationError("the embedded default has an int8 decoder of its own (--precision int8); quantise other models")
        from gpt4roi.models import embedded

        model, processor = embedded.load(device if device != "auto" else None, dtype, progress)
        if attn_implementation is not None:
            with _sentences(EMBEDDED):
                model.set_attn_implementation(attn_implementation)
        return model, processor
    from gpt4roi.models.modeling_gpt4roi import GPT4RoIForConditionalGeneration
    from gpt4roi.models.processing_gpt4roi import CONFIG_NAME, GPT4RoIProcessor

    folder = Path(name)
    if folder.exists() and not (folder / CONFIG_NAME).exists():
        hint = "; released GPT4RoI weights are read with `gpt4roi convert`" if (folder / "pytorch_model.bin.index.json").exists() else ""
        raise ModelNotFoundError(f"'{folder}' is not a GPT4RoI model folder: it has no {CONFIG_NAME}{hint}")
    if not folder.exists() and str(name).count("/") != 1:
        raise ModelNotFoundError(f"'{name}' is neither 'embedded' nor a folder nor a hub id (owner/name)")
    if progress:
        progress(f"loading {name}", None)
    options: dict[str, Any] = {"dtype": dtype}
    if device == "auto":
        options["device_map"] = "auto"
    if quantization is not None:
        # Quantised where they will stay, tensor by tensor: such weights cannot be moved or cast later.
        options |= {"quantization_config": quantization_config(quantization, dtype), "device_map": options.get("device_map", {"": device})}
    if attn_implementation is not None:
        options["attn_implementation"] = attn_implementation
    with _sentences(name):
        processor = GPT4RoIProcessor.from_pretrained(name)
        model = GPT4RoIForConditionalGeneration.from_pretrained(name, **options)
    if "device_map" not in options:
        cast(Any, model).to(device)
    return model.eval(), processor


@contextmanager
def _sentences(name: str | Path) -> Iterator[None]:
    """What transformers says when a model or a package is not there, as one sentence."""
    try:
        yield
    except OSError as error:
        raise ModelNotFoundError(f"'{name}' could not be loaded ({_first_line(error)}); give a folder, a hub id or 'embedded'") from error
    except ImportError as error:
        raise ModelNotFoundError(f"'{name}' could not be loaded as asked: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
