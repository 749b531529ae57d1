"""Which family of models a LoRA was made for, by tensor names and shapes, never by what its metadata claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lib_lora.architectures.registry import family_of_lora


def family_of(shapes: Mapping[str, Sequence[int]]) -> str:
    """Return a family's name or "unknown" from tensor names and shapes."""
    return family_of_lora(shapes)
