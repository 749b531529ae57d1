"""The layers of a transformer in its own names and in diffusers', where one of its own may be several of diffusers'."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Layer:
    """One layer in both spellings, as dotted paths below the transformer.

    Attributes:
        own: as the model's makers, kohya and ComfyUI name it.
        diffusers: the layers that diffusers has in its place: one, or q, k, v (and more) whose outputs stand one below
            the other in the own one.
        shares: outputs of each of these, in relation to one another.
        swapped: whether the two halves of the outputs change places between the spellings.
    """

    own: str
    diffusers: tuple[str, ...]
    shares: tuple[int, ...] = (1,)
    swapped: bool = False

    @property
    def differs(self) -> bool:
        """Whether more than the name differs between the spellings."""
        return len(self.diffusers) > 1 or self.swapped


@dataclass(frozen=True)
class Transformer:
    """All layers of a transformer that a LoRA file may name.

    Attributes:
        layers: in both spellings.
        beside: whole paths that do not lie below the transformer in diffusers' names ("text_conditioner").
        wrapped: what its makers' checkpoints put in front of its own paths.
    """

    layers: tuple[Layer, ...]
    beside: tuple[str, ...] = ()
    wrapped: str = ""

    @cached_property
    def by_own(self) -> Mapping[str, Layer]:
        """Every layer by kohya's module name of its own path."""
        return {f"lora_unet_{flat(layer.own)}": layer for layer in self.layers}

    @cached_property
    def by_diffusers(self) -> Mapping[str, tuple[Layer, int]]:
        """Every layer, and which of several, by kohya's forms of diffusers' path."""
        return {
            f"lora_{root}_{flat(path)}": (layer, at)
            for layer in self.layers
            for at, path in enumerate(layer.diffusers)
            for root in ("transformer", "unet")
        }

    def in_diffusers(self, path: str) -> str:
        """Return a diffusers path with what it lies below."""
        return path if path.startswith(self.beside) and self.beside else f"transformer.{path}"


def flat(path: str) -> str:
    """Return a dotted path as kohya's module names have it."""
    return path.replace(".", "_")
