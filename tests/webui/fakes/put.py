"""Modules that are put into `sys.modules` and taken out again."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any


def module(name: str, **content: Any) -> ModuleType:
    """Return a module with this content."""
    made = ModuleType(name)
    vars(made).update(content)
    return made


@contextlib.contextmanager
def placed(modules: Mapping[str, ModuleType]) -> Iterator[None]:
    """Let imports find these modules inside the block; what stood under a name before stands there afterwards."""
    before = {name: sys.modules.get(name) for name in modules}
    for name, made in modules.items():
        sys.modules[name] = made
        parent, _, last = name.rpartition(".")
        if parent in modules:
            setattr(modules[parent], last, made)
            modules[parent].__path__ = []  # a package: importlib finds its parts in sys.modules alone
    try:
        yield
    finally:
        for name, old in before.items():
            if old is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = old
