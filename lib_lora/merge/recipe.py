"""The recipe in a merged file's metadata: what was done to which file, compact and readable by machines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from lib_lora.formats.lora import LoraFile
from lib_lora.formats.metadata import FIELDS, RECIPE, network_facts


def merged(lora: LoraFile, source: LoraFile, step: Mapping[str, object]) -> LoraFile:
    """Return ``lora`` as made from ``source`` by one step: recipe grown by it, rank and alpha as they are now.

    ``ss_`` and user fields of the source stay; the stored hashes go, because they are the source's.
    """
    kept = {key: value for key, value in source.metadata.items() if not key.startswith("sshs_")}
    return _with_recipe(lora, kept, [*read_recipe(source.metadata), {**step, **_named(source)}])


def merged_from_many(lora: LoraFile, sources: Sequence[tuple[LoraFile, Mapping[str, float]]]) -> LoraFile:
    """Return ``lora`` as the sum of sources with their multiples by block.

    Of the metadata stays what all sources say alike; trigger words are joined, titles listed. The recipe has one step
    with every source in it, and how each was made.
    """
    tables = [source.metadata for source, _ in sources]
    kept = {
        key: value
        for key, value in tables[0].items()
        if not key.startswith("sshs_") and all(table.get(key) == value for table in tables)
    }
    for keys, values in (
        (FIELDS["trigger_words"], _distinct(table.get(FIELDS["trigger_words"][0], "") for table in tables)),
        (("modelspec.merged_from",), list(dict.fromkeys(source.name for source, _ in sources))),
    ):
        if values:
            kept.update(dict.fromkeys(keys, ", ".join(values)))
    entries = []
    for source, blocks in sources:
        entry = {**_named(source), "blocks": dict(blocks)}
        steps = read_recipe(source.metadata)
        entries.append({**entry, "made_by": steps} if steps else entry)
    return _with_recipe(lora, kept, [{"op": "sum", "sources": entries}])


def _distinct(lists: Iterable[str]) -> list[str]:
    """Return the entries of comma-separated lists, each once."""
    return list(dict.fromkeys(word for text in lists for part in text.split(",") if (word := part.strip())))


def _named(source: LoraFile) -> dict[str, object]:
    """Return by what a source is found again: its name and, where it is known, the hash that WebUI shows."""
    digest = source.metadata.get("sshs_model_hash", "").removeprefix("0x")
    return {"source": source.name, **({"autov3": digest[:12]} if len(digest) == 64 else {})}


def _with_recipe(lora: LoraFile, kept: Mapping[str, str], steps: Sequence[object]) -> LoraFile:
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
