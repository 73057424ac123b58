"""One way to get a model and its processor from a name: the embedded default, a folder, or a hub id."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

if TYPE_CHECKING:
    from gpt4roi.models.embedded import Progress
    from gpt4roi.models.modeling_gpt4roi import GPT4RoIForConditionalGeneration
    from gpt4roi.models.processing_gpt4roi import GPT4RoIProcessor

EMBEDDED = "embedded"


class ModelNotFoundError(ValueError):
    """A name that is no model; the message is a sentence for the user."""


def load_model(
    name: str | Path | None = None, device: str | None = None, dtype: torch.dtype | str | None = None, progress: Progress | None = None
) -> tuple[GPT4RoIForConditionalGeneration, GPT4RoIProcessor]:
    """A model in evaluation mode and its processor.

    Args:
      name: None or `embedded` for the default, a folder written by `save_pretrained`, or a hub id.
      device: `cpu`, `cuda`, `cuda:1`, …, or `auto` to spread over what is there; None takes CUDA where there is one.
      dtype: a torch dtype or its name; None is float32 on CPU and bfloat16 on CUDA.
      progress: told what is being done and how far it is (0 to 1, or None).
    Raises:
      ModelNotFoundError, EmbeddedModelError: each with one sentence.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if isinstance(dtype, str):
        dtype = getattr(torch, dtype, None)
        if not isinstance(dtype, torch.dtype):
            raise ValueError("dtype is float32, bfloat16 or float16")
    dtype = dtype or (torch.float32 if device == "cpu" else torch.bfloat16)
    if name is None or str(name) == EMBEDDED:
        from gpt4roi.models import embedded

        return embedded.load(device if device != "auto" else None, dtype, progress)
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
    try:
        processor = GPT4RoIProcessor.from_pretrained(name)
        if device == "auto":
            model = GPT4RoIForConditionalGeneration.from_pretrained(name, dtype=dtype, device_map="auto")
        else:
            model = cast(Any, GPT4RoIForConditionalGeneration.from_pretrained(name, dtype=dtype)).to(device)
    except OSError as error:
        raise ModelNotFoundError(
            f"'{name}' could not be loaded ({str(error).splitlines()[0]}); give a folder, a hub id or 'embedded'"
        ) from error
    return model.eval(), processor
