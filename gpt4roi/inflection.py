"""English word forms by `inflect`, without the checks of argument types that it compiles into itself."""

from __future__ import annotations

from typing import Any
from unittest import mock

import typeguard


def inflect_engine() -> Any:
    """An `inflect.engine`.

    At its import, inflect lets typeguard rewrite each of its methods, and each time the whole file is parsed again: that takes longer than the
    imports of torch, timm and ONNX Runtime together, and the methods do the same without.
    """
    with mock.patch.object(typeguard, "typechecked", lambda method: method):
        import inflect
    return inflect.engine()
