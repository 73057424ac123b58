"""One way to get a model and its processor from a name: the embedded default, a folder, or a hub id."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import SafetensorError

from gpt4roi.errors import UserError
from gpt4roi.model_names import EMBEDDED, ModelNotFoundError, check_model_name
from gpt4roi.models.quantization import QuantizationError, quantization_config

if TYPE_CHECKING:
    from gpt4roi.models.embedded import Progress
    from gpt4roi.models.modeling_gpt4roi import GPT4RoIForConditionalGeneration
    from gpt4roi.models.processing_gpt4roi import GPT4RoIProcessor


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
    from gpt4roi.models.processing_gpt4roi import GPT4RoIProcessor

    check_model_name(name)
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
        loaded: Any = GPT4RoIForConditionalGeneration.from_pretrained(
            name, **options, output_loading_info=True, ignore_mismatched_sizes=True
        )
    model, found = loaded
    check_loaded(name, model, found)
    if "device_map" not in options:
        cast(Any, model).to(device)
    return model.eval(), processor


@contextmanager
def _sentences(name: str | Path) -> Iterator[None]:
    """Whatever transformers raises on a stranger's folder, a missing package or an unknown option, as one sentence."""
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        raise ModelNotFoundError(f"'{name}' could not be loaded ({_first_line(error)}); give a folder, a hub id or 'embedded'") from error
    except ImportError as error:
        raise ModelNotFoundError(f"'{name}' could not be loaded as asked: {_first_line(error)}") from error
    except SafetensorError as error:
        raise ModelNotFoundError(f"the weights of '{name}' are damaged ({_first_line(error)}); fetch or save the model again") from error
    except Exception as error:  # configs, tokenizers and weights of strangers raise anything
        if isinstance(error, ValueError) and "attn_implementation" in str(error):
            raise ModelNotFoundError(f"'{name}' could not be loaded as asked: {_first_line(error)}") from error
        raise ModelNotFoundError(
            f"'{name}' could not be loaded ({type(error).__name__}: {_first_line(error)}); it is damaged or of another kind, fetch or save it again"
        ) from error


def check_loaded(name: str | Path, model: torch.nn.Module, found: dict[str, Any]) -> None:
    """Refuse weights that are not all there, do not fit, or are no numbers: such a model would answer all the same.

    Args:
      found: what transformers tells about the names that it read.
    Raises:
      ModelNotFoundError: naming the first tensor at fault.
    """
    mismatched = [one if isinstance(one, str) else one[0] for one in found.get("mismatched_keys", ())]
    missing = [key for key in found.get("missing_keys", ()) if not key.endswith("num_batches_tracked")]
    for keys, what in ((mismatched, "have the wrong shape"), (missing, "are missing")):
        if keys:
            raise ModelNotFoundError(f"weights of '{name}' {what} ({len(keys)}, for example '{min(keys)}'); fetch or save the model again")
    for key, parameter in model.named_parameters():
        if parameter.is_floating_point() and not bool(torch.isfinite(parameter.detach().sum(dtype=torch.float32))):
            raise ModelNotFoundError(f"the weights '{key}' of '{name}' hold NaN or infinity; fetch or save the model again")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
