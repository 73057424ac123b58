"""What can be given as a model: checked without torch, so that a wrong name is told at once."""

from __future__ import annotations

from pathlib import Path

from gpt4roi.errors import UserError

EMBEDDED = "embedded"
PROCESSOR_CONFIG = "processor_config.json"
MAX_TEXT_BYTES = 50_000_000


class ModelNotFoundError(UserError):
    """A name that is no model, or a folder that holds none; the message is a sentence for the user."""


def check_model_name(name: str | Path | None) -> None:
    """Refuse what is neither the default nor a model folder nor looks like a hub id.

    Raises:
      ModelNotFoundError: what it is instead, and which folder was meant where that can be seen.
    """
    if name is None or str(name) == EMBEDDED:
        return
    folder = Path(name)
    if not folder.exists():
        if str(name).count("/") != 1 or str(name).startswith((".", "/", "~")):
            raise ModelNotFoundError(f"'{name}' is neither 'embedded' nor a folder nor a hub id (owner/name)")
        return
    if not (folder / PROCESSOR_CONFIG).is_file():
        hint = ""
        if (folder / "model" / PROCESSOR_CONFIG).is_file():
            hint = f"; did you mean '{folder / 'model'}'?"
        elif (folder / "pytorch_model.bin.index.json").exists():
            hint = "; released GPT4RoI weights are read with `gpt4roi convert`"
        raise ModelNotFoundError(f"'{folder}' is not a GPT4RoI model folder: it has no {PROCESSOR_CONFIG}{hint}")
    if not any(folder.glob("*.safetensors")):
        kind = "pickled weights, which may run code when they are read" if any(folder.glob("*.bin")) else "no weights"
        raise ModelNotFoundError(f"'{folder}' holds {kind}; only safetensors are taken, save the model again")
    large = next((file for pattern in ("*.json", "*.jinja") for file in folder.glob(pattern) if file.stat().st_size > MAX_TEXT_BYTES), None)
    if large is not None:
        raise ModelNotFoundError(
            f"'{large}' has {large.stat().st_size / 1e6:.0f} MB; a model folder's texts have at most {MAX_TEXT_BYTES / 1e6:.0f}"
        )
