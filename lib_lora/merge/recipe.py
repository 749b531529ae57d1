"""The recipe in a merged file's metadata: what was done to which file, compact and readable by machines."""

from __future__ import annotations

import json
from collections.abc import Mapping

from lib_lora.formats.lora import LoraFile
from lib_lora.formats.metadata import RECIPE, network_facts


def merged(lora: LoraFile, source: LoraFile, step: Mapping[str, object]) -> LoraFile:
    """Return ``lora`` as made from ``source`` by one step: recipe grown by it, rank and alpha as they are now.

    ``ss_`` and user fields of the source stay; the stored hashes go, because they are the source's.
    """
    kept = {key: value for key, value in source.metadata.items() if not key.startswith("sshs_")}
    entry = {**step, "source": source.name}
    digest = source.metadata.get("sshs_model_hash", "").removeprefix("0x")
    if len(digest) == 64:
        entry["autov3"] = digest[:12]
    steps = [*read_recipe(source.metadata), entry]
    text = json.dumps(steps, ensure_ascii=False, separators=(",", ":"))
    metadata = {**kept, **network_facts(lora.adapters), RECIPE: text}
    return LoraFile(adapters=lora.adapters, metadata=metadata, extras=lora.extras, path=None)


def read_recipe(metadata: Mapping[str, str]) -> list[dict[str, object]]:
    """Return the steps that made a file, the first one first; none where there is no readable recipe."""
    try:
        steps = json.loads(metadata.get(RECIPE, "[]"))
    except (ValueError, RecursionError):
        return []
    return [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []


def short(number: float) -> float:
    """Return a number with six digits, as recipes show it."""
    return float(f"{number:.6g}")
