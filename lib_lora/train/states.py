"""States of a run: parameters, the optimizer's numbers and the step, in files that notice any damage.

A state is a safetensors file whose metadata holds everything that is no tensor as JSON, and SHA-256 of all of it.
Nothing in it can run. It ends in ``.state``, so that nobody takes it for a LoRA. States of earlier versions (``.pt``)
are read with the unpickler that makes tensors and containers only, after the archive's own checksums.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib_lora.errors import FileError
from lib_lora.formats.files import raw_bytes, read_tensors, write_tensors
from lib_lora.sentences import Sentence, say

ENDING, OLD_ENDING = ".state", ".pt"
_BOUNDLESS = ("growth_rate",)
"""Numbers of an optimizer that are infinite where they set no limit."""

logger = logging.getLogger(__name__)


def state_path(folder: Path, step: int) -> Path:
    """Return where the state after ``step`` lies in a folder of states."""
    return folder / f"step-{step:08d}{ENDING}"


def states_of(folder: Path) -> list[Path]:
    """Return the states in a folder, the newest first."""
    found = [path for ending in (ENDING, OLD_ENDING) for path in folder.glob(f"step-*{ending}")]
    steps = [(step, path) for path in found if (step := step_of(path)) is not None]
    return [path for _, path in sorted(steps, key=lambda one: one[0], reverse=True)]


def step_of(path: Path) -> int | None:
    """Return the step that a state's name tells; None where it is no state's name."""
    number = path.stem.removeprefix("step-")
    return int(number) if number.isascii() and number.isdecimal() else None


def write_state(path: Path, state: Mapping[str, Any]) -> Path:
    """Write a state; one that is there is replaced.

    Args:
        path: the file.
        state: nested dicts, lists and tuples of tensors, numbers, texts, truth values and None.

    Raises:
        FileError: the disk refuses, or a number is not finite.
    """
    where = broken_number(state)
    if where:
        raise FileError(
            "The run has come to numbers that are not finite, so they are not saved",
            where=where,
            cure=cure_of_divergence(path.parent),
        )
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_taken_apart(state, tensors))
    metadata = {"state": text, "sha256": _digest(text, tensors)}
    return write_tensors(path, tensors, metadata, overwrite=True, ending=ENDING)


def cure_of_divergence(folder: Path, *, own_arguments: bool = False) -> Sentence:
    """Return what to do with a run that came to numbers that are not finite.

    Every step depends on the seed and its number alone, so a run that goes on from its last state comes there again.

    Args:
        folder: of the run's states.
        own_arguments: whether somebody chose the optimizer's arguments, which may be the cause.
    """
    cure = say("Start a new run with a lower learning rate or alpha; resumed, this one comes to the same again.")
    if own_arguments:
        cure = say(
            "Start a new run with a lower learning rate or alpha, or without optimizer_args; "
            "resumed, this one comes to the same again."
        )
    return say("{cure} The last good state is kept.", cure=cure) if states_of(folder) else cure


def read_state(path: Path) -> dict[str, Any]:
    """Return a state, its tensors on the CPU.

    Raises:
        FileError: it cannot be read, is damaged, or holds numbers that are not finite.
    """
    try:
        state = _read_old(path) if path.suffix == OLD_ENDING else _read(path)
    except OSError as error:
        raise FileError("The file cannot be read ({reason})", reason=error, where=path.name) from error
    if not isinstance(state, dict):
        raise FileError("The file holds no state", where=path.name)
    where = broken_number(state)
    if where:
        raise FileError(
            "The state holds numbers that are not finite", where=say("{file}, {part}", file=path.name, part=where)
        )
    return state


def set_aside(path: Path) -> None:
    """Take a state out of the row without deleting it: else it would count as the newest for ever."""
    try:
        path.rename(path.with_name(f"{path.name}.damaged"))
    except OSError as error:
        logger.warning("%s was left where it is: %s", path, error)


def broken_number(value: Any, where: str = "") -> str:
    """Return where in a state a number is not finite, or nothing."""
    if isinstance(value, Tensor):
        fine = not value.is_floating_point() or bool(torch.isfinite(value).all())
    elif isinstance(value, float):
        fine = math.isfinite(value) or (where.endswith(_BOUNDLESS) and value == math.inf)
    else:
        items = value.items() if isinstance(value, Mapping) else enumerate(value) if _is_row(value) else ()
        found = (broken_number(item, f"{where}.{name}".lstrip(".")) for name, item in items)
        return next((place for place in found if place), "")
    return "" if fine else where or "state"


def _is_row(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _taken_apart(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return ``value`` as JSON that `_put_together` turns back to the last bit; its tensors go into ``tensors``."""
    if isinstance(value, Tensor):
        tensors[str(len(tensors))] = value.detach()
        return {"tensor": str(len(tensors) - 1)}
    if isinstance(value, Mapping):
        return {"dict": [[_taken_apart(each, tensors) for each in pair] for pair in value.items()]}
    if _is_row(value):
        return {type(value).__name__: [_taken_apart(each, tensors) for each in value]}
    if value is None or isinstance(value, bool | int | str | float):
        return value  # Python writes a float so that reading gives the same bits, infinity too
    raise TypeError(f"a state cannot hold a {type(value).__name__}")


def _put_together(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "tensor":
        return tensors[inner]
    made = [_put_together(each, tensors) if kind != "dict" else _pair(each, tensors) for each in inner]
    return {"dict": dict, "list": list, "tuple": tuple}[kind](made)


def _pair(pair: list[Any], tensors: Mapping[str, Tensor]) -> tuple[Any, Any]:
    name, value = pair
    return _put_together(name, tensors), _put_together(value, tensors)


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Return SHA-256 of all that a state says: text, and each tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(raw_bytes(tensors[name]))
    return digest.hexdigest()


def _read(path: Path) -> Any:
    tensors, metadata = read_tensors(path, limit=sys.maxsize)
    text = metadata.get("state", "")
    if not text:
        raise FileError("The file holds no state", where=path.name)
    if _digest(text, tensors) != metadata.get("sha256"):
        raise FileError("The file is damaged: its checksum is another", where=path.name)
    try:
        return _put_together(json.loads(text), tensors)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FileError("The file holds no state", where=path.name) from error


def _read_old(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                raise FileError("The file is damaged: its checksum is another", where=path.name)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (FileError, OSError):
        raise
    except Exception as error:  # a damaged or hostile pickle can make the unpickler raise anything at all
        raise FileError("The file holds no state", where=path.name) from error
