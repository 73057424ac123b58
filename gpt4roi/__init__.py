"""GPT4RoI: draw boxes on an image and talk about them.

Importing this package loads neither torch nor weights; the names below are resolved when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "RegionChat": "gpt4roi.chat",
    "GPT4RoIConfig": "gpt4roi.models",
    "GPT4RoIProcessor": "gpt4roi.models",
    "GPT4RoIForConditionalGeneration": "gpt4roi.models",
}
__all__ = ["GPT4RoIConfig", "GPT4RoIForConditionalGeneration", "GPT4RoIProcessor", "RegionChat", "__version__"]

if TYPE_CHECKING:
    from gpt4roi.chat import RegionChat
    from gpt4roi.models import GPT4RoIConfig, GPT4RoIForConditionalGeneration, GPT4RoIProcessor


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gpt4roi' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)
