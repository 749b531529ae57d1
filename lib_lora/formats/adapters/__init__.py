"""Adapters: one class for each kind of change that a LoRA file can hold, and the kinds that are refused by name."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor

from lib_lora.errors import FileError
from lib_lora.formats.adapters.base import Adapter, Factors
from lib_lora.formats.adapters.loha import LohaAdapter
from lib_lora.formats.adapters.lokr import LokrAdapter
from lib_lora.formats.adapters.lora import LoraAdapter

__all__ = ["ADAPTERS", "Adapter", "Factors", "LohaAdapter", "LokrAdapter", "LoraAdapter", "kind_of", "read_adapter"]

ADAPTERS: tuple[type[Adapter], ...] = (LoraAdapter, LohaAdapter, LokrAdapter)

APPLIED = ("LoRA", "LoHa", "LoKr")
"""The kinds that are applied and merged, by the names that people use, in the order of `ADAPTERS`."""

UNKNOWN_KIND = "unknown"

_REFUSED: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("DoRA", ("dora_scale", "lora_magnitude_vector")),
    ("OFT or BOFT", ("oft_", "boft_", "rescale")),
    ("GLoRA", ("a1.", "a2.", "b1.", "b2.", "bm.")),
    ("full difference", ("diff", "set_weight")),
    ("norm", ("w_norm", "b_norm")),
    ("IA3", ("on_input", "weight", "ia3_")),
    ("T-LoRA", ("q_layer", "p_layer", "lambda_layer")),
    ("bias", ("bias",)),
)
"""Kinds that are known but not applied, with the starts of the part names that give them away."""


def kind_of(parts: Collection[str]) -> str:
    """Return the kind of a module by its part names: one of `APPLIED`, one that is only described, or "unknown"."""
    refused = _refused_kind(parts)
    if refused is not None:
        return refused[0]
    return next((name for name, kind in zip(APPLIED, ADAPTERS, strict=True) if kind.matches(parts)), UNKNOWN_KIND)


def read_adapter(key: str, parts: Mapping[str, Tensor]) -> Adapter:
    """Build the adapter of one module from its parts.

    Raises:
        FileError: the parts are of a kind that is not applied, incomplete, or do not fit one another.
    """
    refused = _refused_kind(parts)
    if refused is not None:
        kind, part = refused
        what = f"The file holds changes of the kind {kind}, which cannot be applied or merged"
        raise FileError(what, where=f"{key}.{part}", cure="Use a LoRA, LoCon, LoHa or LoKr file.")
    for adapter in ADAPTERS:
        if adapter.matches(parts):
            return adapter.read(key, parts)
    if set(parts) == {"alpha"}:
        raise FileError("There is an alpha without the tensors that it belongs to", where=key, cure="Get it again.")
    what = "The file holds changes of an unknown kind"
    raise FileError(what, where=f"{key}.{min(parts)}", cure="Use a LoRA, LoCon, LoHa or LoKr file.")


def _refused_kind(parts: Collection[str]) -> tuple[str, str] | None:
    """Return the first refused kind among part names, and the part that gave it away."""
    for kind, starts in _REFUSED:
        for part in sorted(parts):
            if part.startswith(starts):
                return kind, part
    return None
