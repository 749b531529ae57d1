"""A LoRA with fewer ranks than its file: the ``dyn`` of a tag."""

from __future__ import annotations

from dataclasses import replace

from lib_lora.formats.adapters.lora import LoraAdapter
from lib_lora.formats.lora import LoraFile


def cut_rank(lora: LoraFile, rank: int | None) -> LoraFile:
    """Return ``lora`` with only the first ``rank`` ranks of every plain LoRA adapter (the tag's ``dyn``); None: all."""
    if rank is None:
        return lora
    adapters = dict(lora.adapters)
    for key, adapter in adapters.items():
        if isinstance(adapter, LoraAdapter) and adapter.mid is None and rank < adapter.rank:
            cut = max(rank, 0)
            # The scale stays alpha / full rank, as the WebUI does it.
            up, down = adapter.up[:, : max(cut, 1)], adapter.down[: max(cut, 1)]
            smaller = replace(adapter, up=up, down=down, alpha=adapter.scale() * up.shape[1])
            adapters[key] = smaller if cut else smaller.scaled(0.0)
    return replace(lora, adapters=adapters)
