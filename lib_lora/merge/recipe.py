"""The recipe in a merged file's metadata: what was done to which file, compact and readable by machines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lib_lora.formats.checkpoint import CheckpointFile
from lib_lora.formats.files import is_pickle
from lib_lora.formats.hashes import tensor_hash
from lib_lora.formats.lora import LoraFile
from lib_lora.formats.metadata import FIELDS, ORDER, RECIPE, family_labels, network_facts
from lib_lora.merge.extract_spec import ExtractSpec

_HASH = "modelspec.hash_sha256"
"""Where a checkpoint's metadata holds the hash of its tensors."""


def merged(lora: LoraFile, source: LoraFile, step: Mapping[str, object]) -> LoraFile:
    """Return ``lora`` as made from ``source`` by one step: recipe grown by it, rank and alpha as they are now.

    ``ss_`` and user fields of the source stay; the stored hashes go, because they are the source's.
    """
    kept = {key: value for key, value in source.metadata.items() if not key.startswith("sshs_") and key != ORDER}
    return _with_recipe(lora, kept, [*read_recipe(source.metadata), {**step, **_named(source), **step}])


def hashed(source: LoraFile) -> dict[str, str]:
    """Return the hash of a file's tensors as they are, for a step; nothing where it lies nowhere or is a pickle."""
    if source.path is None or is_pickle(source.path):
        return {}
    return {"autov3": tensor_hash(source.path)[:12]}


def merged_from_many(
    lora: LoraFile, sources: Sequence[tuple[LoraFile, Mapping[str, float]]], step: Mapping[str, object]
) -> LoraFile:
    """Return ``lora`` as joined by one step from sources with their multiples by block.

    Of the metadata stays what all sources say alike; trigger words are joined, titles listed. The recipe has the step
    with every source in it, and how each was made.
    """
    tables = [source.metadata for source, _ in sources]
    kept = {
        key: value
        for key, value in tables[0].items()
        if not key.startswith("sshs_") and key != ORDER and all(table.get(key) == value for table in tables)
    }
    for keys, values in (
        (FIELDS["trigger_words"], _distinct(table.get(FIELDS["trigger_words"][0], "") for table in tables)),
        (("modelspec.merged_from",), list(dict.fromkeys(source.name for source, _ in sources))),
    ):
        if values:
            kept.update(dict.fromkeys(keys, ", ".join(values)))
    return _with_recipe(lora, kept, [{**step, "sources": _entries(sources)}])


def _entries(sources: Sequence[tuple[LoraFile, Mapping[str, float]]]) -> list[dict[str, object]]:
    """Return a step's sources with their multiples by block, and how each was made."""
    entries = []
    for source, blocks in sources:
        entry = {**_named(source), "blocks": dict(blocks)}
        steps = read_recipe(source.metadata)
        entries.append({**entry, "made_by": steps} if steps else entry)
    return entries


def of_checkpoints(
    lora: LoraFile, order: ExtractSpec, tuned: CheckpointFile, original: CheckpointFile, hashes: Mapping[Path, str]
) -> LoraFile:
    """Return ``lora`` as extracted from two checkpoints.

    The model that it is for is the original, as for a trained LoRA; what the tuned one predicts is said as trainers do.

    Args:
        lora: the extracted one.
        order: how it was extracted.
        tuned, original: the checkpoints.
        hashes: SHA-256 of their files, of those that are known.
    """
    velocity = order.prediction == "v"
    known = {
        **family_labels(tuned.family.name),  # by the checkpoint: a LoRA's own names do not always tell it
        "ss_sd_model_name": original.path.name,
        "ss_new_sd_model_hash": hashes.get(original.path, ""),
        "ss_v_parameterization": str(velocity) if order.prediction else "",
        "modelspec.prediction_type": order.prediction or "",
    }
    side = tuned.family.side(velocity=velocity)
    known |= {"modelspec.resolution": f"{side}x{side}"} if velocity and tuned.family.labels else {}
    files = {
        role: {"name": one.path.name, **({"sha256": hashes[one.path]} if one.path in hashes else {})}
        for role, one in (("tuned", tuned), ("original", original))
    }
    conv = {} if order.conv_rank is None else {"conv_rank": order.conv_rank}
    step = {"op": "extract", **files, **order.rule.step(), **conv, "text": order.text, "norms": order.norms}
    return _with_recipe(lora, {key: value for key, value in known.items() if value}, [step])


def into_checkpoint(
    checkpoint: CheckpointFile, sources: Sequence[tuple[LoraFile, Mapping[str, float]]], *, digest: str
) -> dict[str, str]:
    """Return a checkpoint's metadata with LoRAs in it: its own but for stored hashes, and its recipe grown by a step.

    ``digest`` is SHA-256 of the checkpoint's file; the sources come with their multiples by block.
    """
    own = checkpoint.header.metadata
    kept = {name: value for name, value in own.items() if not name.startswith("sshs_") and name != _HASH}
    named = {"name": checkpoint.path.name, "sha256": digest}
    step = {"op": "into_checkpoint", "checkpoint": named, "sources": _entries(sources)}
    return {**kept, RECIPE: _json([*read_recipe(own), step])}


def _distinct(lists: Iterable[str]) -> list[str]:
    """Return the entries of comma-separated lists, each once."""
    return list(dict.fromkeys(word for text in lists for part in text.split(",") if (word := part.strip())))


def _named(source: LoraFile) -> dict[str, object]:
    """Return by what a source is found again: its name and, where it is known, the hash that WebUI shows."""
    digest = source.metadata.get("sshs_model_hash", "").removeprefix("0x")
    return {"source": source.name, **({"autov3": digest[:12]} if len(digest) == 64 else {})}


def _with_recipe(lora: LoraFile, kept: Mapping[str, str], steps: Sequence[object]) -> LoraFile:
    metadata = {**kept, **network_facts(lora.outline), RECIPE: _json(steps)}
    return LoraFile(adapters=lora.adapters, metadata=metadata, extras=lora.extras, path=None)


def _json(steps: Sequence[object]) -> str:
    return json.dumps(steps, ensure_ascii=False, separators=(",", ":"))


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
