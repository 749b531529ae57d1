"""A stand-in for torchvision, so that sd-scripts is imported without it; imports nothing but Python's own modules."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
import types
from typing import Any


def without_torchvision() -> None:
    """Let sd-scripts be imported where torchvision is not there: only its reading of pictures needs that."""
    if importlib.util.find_spec("torchvision") is not None:
        return
    importlib.import_module("transformers")  # looks for it when it is imported, and goes without
    for name in ("torchvision", "torchvision.transforms"):
        sys.modules[name] = _Nothing(name)
        sys.modules[name].__spec__ = importlib.machinery.ModuleSpec(name, None)
    sys.modules["torchvision"].transforms = sys.modules["torchvision.transforms"]


class _Nothing(types.ModuleType):
    """A module in which everything can be asked for and called, and does nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Nothing(name)

    def __call__(self, *_: Any, **__: Any) -> Any:
        return self
