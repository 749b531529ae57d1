"""The host's "Lora hashes" in the infotext, for LoRAs of which its own loader hears nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lib_lora.host.webui.lora_list import host_networks

KEY = "Lora hashes"
_REMOVED = str.maketrans("", "", ":,")  # as the host's loader removes them


def add_hashes(p: Any, names: Iterable[str]) -> None:
    """Add ``names`` to the list that the host's loader made for ``p``, after it activated its own."""
    from modules import shared

    networks = host_networks()
    wanted = list(dict.fromkeys(names))
    if networks is None or not wanted or not getattr(shared.opts, "lora_add_hashes_to_infotext", True):
        return
    hashes = getattr(p, "lora_hashes", None)
    if not isinstance(hashes, dict):  # Forge classic writes its own straight into the text
        rows = (row.partition(": ") for row in str(p.extra_generation_params.get(KEY, "")).split(", "))
        hashes = {name: short for name, _, short in rows if short}
    for name in wanted:
        entry = networks.available_network_aliases.get(name) or networks.available_networks.get(name)
        if entry is None:
            continue
        entry.read_hash()
        if entry.shorthash:
            hashes[name.translate(_REMOVED)] = entry.shorthash
    if hashes:
        p.extra_generation_params[KEY] = ", ".join(f"{name}: {short}" for name, short in hashes.items())
