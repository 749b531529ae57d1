"""Another way to run a module for a while: its forward is replaced on the object, and put back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

Forward = Callable[..., Any]


@contextmanager
def run_through(modules: Iterable[nn.Module], wrap: Callable[[nn.Module, Forward], Forward]) -> Iterator[None]:
    """Have each module run as ``wrap(module, its forward)`` says while the context lasts.

    A host that has put a forward of its own on the object gets exactly that back; hooks stay and are called as before.
    """
    missing = object()
    kept = [(module, module.__dict__.get("forward", missing)) for module in modules]
    try:
        for module, _ in kept:
            module.__dict__["forward"] = wrap(module, module.forward)
        yield
    finally:
        for module, before in kept:
            if before is missing:
                module.__dict__.pop("forward", None)
            else:
                module.__dict__["forward"] = before
