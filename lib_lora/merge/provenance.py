"""The order in a file's metadata: what made it of which files, so that it can be made again.

`merge.recipe` tells what was done to the numbers, step by step; this is the one order behind it: a command with its
options, every file it was made of by name and hash with the block weights as numbers, the error, and how each of those
files had been made itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from lib_lora.blocks.presets import PresetFile
from lib_lora.formats.files import is_pickle
from lib_lora.formats.hashes import file_hash, tensor_hash
from lib_lora.formats.metadata import ORDER
from lib_lora.merge.extract_spec import ExtractSpec
from lib_lora.merge.rank_rule import RankRule
from lib_lora.merge.recipe import short
from lib_lora.merge.spec import Ingredient, MergeSpec, weights_of

MERGE, CONVERT, PRUNE, SPLIT, EXTRACT, INTO = "merge", "convert", "prune", "split", "extract", "into-checkpoint"
COMMANDS = (MERGE, CONVERT, PRUNE, SPLIT, EXTRACT, INTO)
LORA, CHECKPOINT = "lora", "checkpoint"
_DEEPEST = 8
"""Generations that a file remembers."""
_LONGEST = 200_000
"""Characters of what it remembers; older generations are left out where it would be more."""
_MOST = 64
"""Parents of one file that are read."""


@dataclass(frozen=True)
class Parent:
    """A file that another was made of.

    Attributes:
        name: without folder and ending.
        hash: SHA-256 of a LoRA's tensors (its first 12 digits are AutoV3), or of a checkpoint's whole file.
        kind: `LORA` or `CHECKPOINT`.
        row: of a merge the fields of `Ingredient`, its blocks as numbers.
        made: how it was made itself, as it said when it was used.
    """

    name: str
    hash: str
    kind: str = LORA
    row: Mapping[str, Any] = field(default_factory=dict)
    made: Order | None = None


@dataclass(frozen=True)
class Order:
    """What made a file.

    Attributes:
        command: one of `COMMANDS`.
        parents: the files that it was made of, in their order.
        options: of the command.
        base: name of the model whose weights were asked for; "" where none was.
        error: relative error of the whole change; None where there is none.
    """

    command: str
    parents: tuple[Parent, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    base: str = ""
    error: float | None = None

    @property
    def verb(self) -> str:
        """What people call it: a merge of one file is a baking, or a compression where nothing else is done."""
        if self.command != MERGE or len(self.parents) > 1:
            return self.command
        if "rule" not in self.options:
            return "bake"
        return MERGE if self.parents[0].row else "compress"


def noted(metadata: Mapping[str, str], order: Order) -> dict[str, str]:
    """Return metadata that tell the order; where that would be too long, older generations are forgotten first."""
    for depth in range(_DEEPEST, -1, -1):
        text = json.dumps(_packed(order, depth), ensure_ascii=False, separators=(",", ":"))
        if len(text) <= _LONGEST:
            break
    return {**metadata, ORDER: text}


def _packed(order: Order, depth: int) -> dict[str, Any]:
    """Return an order as JSON, with ``depth`` generations before it."""
    parents = []
    for one in order.parents:
        row: dict[str, Any] = {"name": one.name, "hash": one.hash}
        row |= {"kind": one.kind} if one.kind != LORA else {}
        row |= {"row": dict(one.row)} if one.row else {}
        row |= {"made": _packed(one.made, depth - 1)} if one.made is not None and depth > 0 else {}
        parents.append(row)
    known = {"options": dict(order.options), "base": order.base, "error": order.error}
    return {"command": order.command, "parents": parents, **{k: v for k, v in known.items() if v not in ("", None, {})}}


def with_room(order: Order) -> dict[str, str]:
    """Return the entry of an order whose error is not known yet, as long as it can become."""
    return noted({}, replace(order, error=-1.23456e-300))


def read_order(metadata: Mapping[str, str]) -> Order | None:
    """Return the order that made a file; None where it tells none that can be read."""
    text = metadata.get(ORDER, "")
    try:
        return _read(json.loads(text), _DEEPEST) if text and len(text) <= 10 * _LONGEST else None
    except (ValueError, RecursionError):
        return None


def _read(found: Any, depth: int) -> Order | None:
    if not isinstance(found, dict) or found.get("command") not in COMMANDS or depth < 0:
        return None
    parents, options = found.get("parents"), found.get("options", {})
    if not isinstance(parents, list) or not 0 < len(parents) <= _MOST or not isinstance(options, dict):
        return None
    read = [_parent(one, depth) for one in parents]
    if any(one is None for one in read):
        return None
    error, base = found.get("error"), found.get("base", "")
    number = float(error) if isinstance(error, int | float) and abs(error) < 1e12 else None
    return Order(
        found["command"],
        tuple(one for one in read if one is not None),
        options,
        base if isinstance(base, str) else "",
        number,
    )


def _parent(found: Any, depth: int) -> Parent | None:
    if not isinstance(found, dict):
        return None
    name, digest, row = found.get("name"), found.get("hash", ""), found.get("row", {})
    if not isinstance(name, str) or not isinstance(digest, str) or not isinstance(row, dict):
        return None
    kind = CHECKPOINT if found.get("kind") == CHECKPOINT else LORA
    name = "".join("_" if char in "/\\" or not char.isprintable() else char for char in name[:200])
    return Parent(name, digest[:64], kind, row, _read(found.get("made"), depth - 1))


def hash_of(path: Path) -> str:
    """Return by what a LoRA file is known again: SHA-256 of its tensors, of a pickle of the whole file."""
    status = path.stat()
    return _hash(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=512)
def _hash(path: Path, _size: int, _time: int) -> str:
    return file_hash(path) if is_pickle(path) else tensor_hash(path)


def parent_of(path: Path, metadata: Mapping[str, str], row: Mapping[str, Any] | None = None) -> Parent:
    """Return a LoRA file as one that another is made of."""
    return Parent(path.stem, hash_of(path), row=row or {}, made=read_order(metadata))


def row_of(row: Ingredient, presets: PresetFile, family: str) -> dict[str, Any]:
    """Return a row of a merge with its block weights as numbers: a preset may mean others tomorrow."""
    weights = weights_of(row, presets, family)
    plain = weights is None or set(weights.as_dict().values()) == {1.0}
    blocks = "ALL" if weights is None or plain else weights.format()
    known = {"strength": row.strength, "blocks": blocks, "te": row.te, "unet": row.unet, "other": row.other}
    usual = {"strength": 1.0, "blocks": "ALL", "te": 1.0, "unet": 1.0, "other": None}
    return {name: value for name, value in known.items() if name not in usual or value != usual[name]}


def _rule(rule: RankRule) -> dict[str, Any]:
    known = {"kind": rule.kind, "value": rule.value, "cap": rule.cap, "parts": list(rule.parts)}
    return {name: value for name, value in known.items() if value not in (None, [])}


def of_merge(order: MergeSpec, parents: Iterable[Parent], *, base: str, name: str) -> Order:
    """Return the order of a merge, a baking or a compression; the new file's name where its size was asked for."""
    options: dict[str, Any] = {}
    if order.rule is not None:
        options["rule"] = _rule(order.rule)
    if order.precision is not None:
        options["precision"] = order.precision
    if order.rule is not None and order.rule.kind == "size":
        options["name"] = name
    step = order.method.step()
    if step["op"] != "sum":
        options["method"] = {"method": step.pop("op"), **step}
    return Order(MERGE, tuple(parents), options, base)


def of_extract(order: ExtractSpec, hashes: Mapping[Path, str], *, name: str, error: float | None = None) -> Order:
    """Return the order of an extraction from two checkpoints; the new file's name where its size was asked for."""
    limits = {"conv_rank": order.conv_rank, "prediction": order.prediction}
    options: dict[str, Any] = {name: value for name, value in limits.items() if value is not None}
    options |= {"text": order.text, "norms": order.norms, "precision": order.precision, "rule": _rule(order.rule)}
    options |= {"name": name} if order.rule.kind == "size" else {}
    paths = (order.tuned, order.original)
    parents = tuple(Parent(path.stem, hashes.get(path, ""), CHECKPOINT) for path in paths)
    return Order(EXTRACT, parents, options, error=None if error is None else short(error))


def of_one(command: str, parent: Parent, options: Mapping[str, Any], *, error: float | None = None) -> Order:
    """Return the order that makes a file of one other: converted, pruned, or a part of it."""
    return Order(command, (parent,), options, error=None if error is None else short(error))


def of_checkpoint(checkpoint: Parent, loras: Sequence[Parent]) -> Order:
    """Return the order that writes LoRAs into a checkpoint."""
    return Order(INTO, (checkpoint, *loras))
