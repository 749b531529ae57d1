"""Every family that is known: each file of this folder with ``ARCHITECTURES`` brings its own."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache

import lib_lora.architectures as folder
from lib_lora.architectures.base import UNKNOWN, Architecture, Layout, Shapes


def _shipped() -> Iterator[Architecture]:
    for found in pkgutil.iter_modules(folder.__path__):
        module = importlib.import_module(f"{folder.__name__}.{found.name}") if found.name != "registry" else None
        yield from getattr(module, "ARCHITECTURES", ())


_known: dict[str, Architecture] = {}


def _order(one: Architecture) -> bool:
    return one.unet is None


def _all() -> dict[str, Architecture]:
    if not _known:
        _known.update((one.name, one) for one in sorted(_shipped(), key=_order))
    return _known


def architectures() -> tuple[Architecture, ...]:
    """Return every family, those with a UNet first: these are loaded and trained, the others read and merged."""
    return tuple(_all().values())


def find_architecture(name: str) -> Architecture | None:
    """Return the family of a name, or None."""
    return _all().get(name)


def architecture_of(name: str) -> Architecture:
    """Return the family of a name that this program itself found out: a model's, a checked order's.

    Raises:
        KeyError: there is none.
    """
    return _all()[name]


def first() -> Architecture:
    """Return the family that is meant where no model says another."""
    return architectures()[0]


@cache
def layouts() -> tuple[Layout, ...]:
    """Return the layouts of all families, each once."""
    return tuple(dict.fromkeys(layout for one in architectures() for layout in one.layouts))


@cache
def layouts_of_length(length: int) -> tuple[Layout, ...]:
    """Return the layouts of one vector length: of several families where they chose the same."""
    return tuple(layout for layout in layouts() if layout.length == length)


def family_of_lora(shapes: Shapes) -> str:
    """Return the family that a LoRA was made for, from tensor names and shapes, or "unknown".

    Transformers are asked first: each claims only what has its own names, while a UNet's detector also knows files
    that hold nothing but a text encoder.
    """
    return _family_of(tuple((name, tuple(shape)) for name, shape in shapes.items()))


@lru_cache(maxsize=256)
def _family_of(items: tuple[tuple[str, tuple[int, ...]], ...]) -> str:
    """Return what `family_of_lora` does; many files of a folder have the same names and shapes."""
    shapes = dict(items)
    groups: dict[Callable[..., str | None], list[Architecture]] = {}
    for one in sorted(architectures(), key=_order, reverse=True):
        groups.setdefault(one.detect, []).append(one)
    found = (detect(shapes, group) for detect, group in groups.items())
    return next((name for name in found if name is not None), UNKNOWN)


def family_of_checkpoint(names: Iterable[str]) -> Architecture | None:
    """Return the family of a checkpoint by its tensors' names, or None where it is of none that is known."""
    present = tuple(names)
    signs = ((one, one.checkpoint_signs) for one in architectures() if one.checkpoint_signs)
    return next((one for one, sign in signs if any(name.startswith(sign) for name in present)), None)


@contextmanager
def registered(*more: Architecture) -> Iterator[None]:
    """Know more families for a while; how a test, or a program that brings its own, adds one."""
    before = dict(_all())
    _replace(before | {one.name: one for one in more})
    try:
        yield
    finally:
        _replace(before)


def _replace(known: dict[str, Architecture]) -> None:
    _known.clear()
    _known.update(known)
    layouts.cache_clear()
    layouts_of_length.cache_clear()
    _family_of.cache_clear()
