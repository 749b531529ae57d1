"""What a LoRA file says about itself: the keys that readers need, the user's own words, and what is private."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from lib_lora.architectures.registry import find_architecture
from lib_lora.errors import InputError
from lib_lora.formats.adapters import Adapter
from lib_lora.formats.privacy import private_in, without_private

RECIPE = "atelier_recipe"
"""Our own key: how a file was made from others, step by step, as JSON."""
ORDER = "atelier_order"
"""Our own key: the order that made a file, and the files that it was made of, as JSON (`merge.provenance`)."""

FIELDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "title": ("modelspec.title", "ssmd_display_name"),
        "trigger_words": ("modelspec.trigger_phrase", "ssmd_keywords"),
        "author": ("modelspec.author", "ssmd_author"),
        "description": ("modelspec.description", "ssmd_description"),
        "tags": ("modelspec.tags", "ssmd_tags"),
        "usage_hint": ("modelspec.usage_hint",),
        "source_url": ("ssmd_source",),
        "notes": ("atelier_notes",),
        "preferred_weight": ("atelier_preferred_weight",),
        "block_weights": ("atelier_block_weights",),
    }
)
"""The user's fields and the keys under which other programs look for them; the first one is read."""

_OWN = frozenset(key for keys in FIELDS.values() for key in keys)

FIELD_LIMIT = 100_000
"""Characters of one field; longer text slows every program that lists the file."""

_FACTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "base model": ("ss_sd_model_name", "ss_base_model_version"),
        "architecture": ("modelspec.architecture",),
        "method": ("ss_network_module",),
        "rank": ("ss_network_dim",),
        "alpha": ("ss_network_alpha",),
        "resolution": ("modelspec.resolution", "ss_resolution"),
        "clip skip": ("ss_clip_skip",),
        "steps": ("ss_steps",),
        "epoch": ("ss_epoch",),
        "pictures": ("ss_num_train_images",),
        "learning rate": ("ss_learning_rate",),
        "optimizer": ("ss_optimizer",),
        "seed": ("ss_seed",),
        "date": ("modelspec.date",),
    }
)


@dataclass(frozen=True)
class Description:
    """What a person wants to know of a file.

    Attributes:
        fields: their own, `FIELDS`.
        facts: of the training.
        tags: the commonest tags of its captions, with how many captions have them.
        triggers: the trigger words, with how many captions have them; None where the file has no counts at all.
    """

    fields: dict[str, str]
    facts: dict[str, str]
    tags: tuple[tuple[str, int], ...]
    triggers: tuple[tuple[str, int | None], ...] = ()


def describe(metadata: Mapping[str, str], *, tag_count: int = 50) -> Description:
    """Return a file's metadata for people; broken or missing parts are left out, never an error."""
    fields = {name: _first(metadata, keys) for name, keys in FIELDS.items()}
    facts = {name: value for name, keys in _FACTS.items() if (value := _first(metadata, keys)) not in ("", "None")}
    counts = _tag_counts(metadata.get("ss_tag_frequency", ""))
    common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:tag_count]
    words = dict.fromkeys(word for part in fields["trigger_words"].split(",") if (word := part.strip()))
    triggers = tuple((word, counts.get(word, 0) if counts else None) for word in words)
    return Description(fields, facts, tuple(common), triggers)


def _first(metadata: Mapping[str, str], keys: Iterable[str]) -> str:
    """Return the first value that is not empty, without the blank that protects a leading brace."""
    return next((value.lstrip() if value[:2] == " {" else value for key in keys if (value := metadata.get(key))), "")


def _tag_counts(text: str) -> dict[str, int]:
    """Return how many captions have each tag, summed over the dataset's folders."""
    try:
        folders = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    counts: dict[str, int] = {}
    for folder in folders.values() if isinstance(folders, dict) else ():
        for tag, count in folder.items() if isinstance(folder, dict) else ():
            if type(count) is int:
                counts[tag.strip()] = counts.get(tag.strip(), 0) + count
    return counts


def label(metadata: Mapping[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    """Return metadata with changed user fields under every key that programs read; an empty text removes a field.

    Raises:
        InputError: an unknown field, or a text that is too long.
    """
    changed = dict(metadata)
    for field, text in changes.items():
        if field not in FIELDS:
            raise InputError("There is no field {field!r}", field=field, cure="Fields are: {names}.", names=FIELDS)
        if len(text) > FIELD_LIMIT:
            raise InputError(
                "The text has {n} characters",
                n=len(text),
                where=field,
                cure="Keep it below {limit}.",
                limit=FIELD_LIMIT,
            )
        for key in FIELDS[field]:
            if text.strip():
                changed[key] = f" {text}" if text.startswith("{") else text  # A1111 reads a leading brace as JSON
            else:
                changed.pop(key, None)
    return changed


def remove_private(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return metadata without what tells of the training's machine, folders, captions and prompts.

    The user's own fields stay, as does what describes the network.
    """
    return without_private(metadata, own=_OWN)


def private_keys(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Return the keys that `remove_private` takes away or cleans: known ones, and others that hold a path."""
    return private_in(metadata, own=_OWN)


def complete(metadata: Mapping[str, str], adapters: Mapping[str, Adapter], *, family: str, name: str) -> dict[str, str]:
    """Return metadata with all that readers need to sort the file in; what is there already stays.

    Only ``ss_output_name`` always becomes ``name``: A1111 finds a file by it, and a copy must not answer to its
    source's name.
    """
    network = network_facts(adapters)
    found = {**network, **metadata, "ss_output_name": name}
    labels = family_labels(family)
    if labels:
        found = {**labels, "modelspec.title": name, **found}
    return _asking_for_hashes(found)


def family_labels(family: str) -> dict[str, str]:
    """Return what a LoRA's metadata says of the family that it is for; nothing where no program's words are known."""
    known = find_architecture(family)
    if known is None or known.labels is None:
        return {}
    return {
        "ss_base_model_version": known.labels.base_model,
        "ss_v2": str(known.labels.v2),
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{known.labels.architecture}/lora",
        "modelspec.implementation": known.labels.implementation,
        "modelspec.resolution": known.labels.resolution,
    }


def _asking_for_hashes(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return metadata with the keys that make the writer put in true hashes."""
    return {**metadata, "sshs_model_hash": "", "sshs_legacy_hash": ""}


def network_facts(adapters: Mapping[str, Adapter]) -> dict[str, str]:
    """Return ss_network_* of a set of adapters: "Dynamic" where modules differ, 3×3 convolutions counted apart."""
    ranked = [a for a in adapters.values() if a.stated_rank is not None] or list(adapters.values())
    convs = [a for a in ranked if len(a.shape) == 4 and a.shape[2:] != (1, 1)]
    plain = [a for a in ranked if not (len(a.shape) == 4 and a.shape[2:] != (1, 1))] or convs
    arguments = _arguments([a.network_args() for a in adapters.values()])
    if convs and plain is not convs:
        arguments["conv_dim"] = _common(str(a.rank) for a in convs)
        arguments["conv_alpha"] = _common(f"{a.alpha:.6g}" for a in convs)
    return {
        "ss_network_module": "lycoris.kohya" if "algo" in arguments else "networks.lora",
        "ss_network_dim": _common(str(a.rank) for a in plain),
        "ss_network_alpha": _common(f"{a.alpha:.6g}" for a in plain),
        "ss_network_args": json.dumps(arguments),
    }


def _arguments(found: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the network_args of all modules together; several kinds are "mixed", a LoRA among LoCons is none."""
    algos = {one.get("algo", "lora") for one in found}
    algos -= {"lora"} if "locon" in algos else set()
    merged = {name: value for one in found for name, value in one.items() if name != "algo"}
    if merged or algos != {"lora"}:
        merged = {"algo": algos.pop() if len(algos) == 1 else "mixed", **merged}
    return merged


def _common(values: Iterable[str]) -> str:
    found = set(values)
    return found.pop() if len(found) == 1 else "Dynamic"
