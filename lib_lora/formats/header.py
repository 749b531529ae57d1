"""The safetensors header: parsed without trust, built reproducibly.

A header comes from a stranger's file, so nothing in it is believed before it is checked, and nothing is allocated from
a number that it names.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO, NamedTuple

from lib_lora.errors import FileError, InputError
from lib_lora.formats.mistaken import START, mistaken
from lib_lora.sentences import Sentence, say

HEADER_LIMIT = 32 * 2**20
"""Bytes of a header; the largest real ones, with a cover picture in them, stay below 10 MB."""

STRUCTURE_LIMIT = 500_000
"""Commas and opening brackets of a header: bounds time and memory of parsing to a fraction of a second."""

DIMENSION_LIMIT = 16

TYPES: Mapping[str, tuple[int, str]] = {
    "BOOL": (1, "bool"),
    "U8": (1, "uint8"),
    "I8": (1, "int8"),
    "F8_E5M2": (1, "float8_e5m2"),
    "F8_E4M3": (1, "float8_e4m3fn"),
    "F8_E8M0": (1, "float8_e8m0fnu"),
    "F8_E4M3FNUZ": (1, "float8_e4m3fnuz"),
    "F8_E5M2FNUZ": (1, "float8_e5m2fnuz"),
    "I16": (2, "int16"),
    "U16": (2, "uint16"),
    "F16": (2, "float16"),
    "BF16": (2, "bfloat16"),
    "I32": (4, "int32"),
    "U32": (4, "uint32"),
    "F32": (4, "float32"),
    "F64": (8, "float64"),
    "I64": (8, "int64"),
    "U64": (8, "uint64"),
}
"""Bytes per number and PyTorch's name of each type, in the order in which the safetensors library ranks them."""
ITEM_BYTES: Mapping[str, int] = {name: size for name, (size, _) in TYPES.items()}
_RANKING = tuple(ITEM_BYTES)
_LONG = re.compile(rb"[0-9]{19}")
"""Digits that may be of a number which is too large."""
_BLANKS = b" \t\r\n"
_METADATA = "__metadata__"
_FIELDS = {"dtype", "shape", "data_offsets"}
_CURE = say("Download or copy the file again.")


class TensorInfo(NamedTuple):
    """Where one tensor lies: type name, shape, and its first and end byte relative to the data region."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """A checked header: tensors by name, metadata, bytes of the whole file and where its data region starts."""

    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]
    size: int
    data_start: int
    notes: tuple[str, ...] = ()
    """What in the header is not as it should be and does no harm, in sentences for people."""


def read_header(path: str | Path) -> Header:
    """Read and check the header of a safetensors file; only the header's bytes are read.

    Raises:
        FileError: the file is missing, not a file, truncated, or its header lies about the data.
    """
    with open_regular(path) as file:
        return header_of(file, where=str(path))


def open_regular(path: str | Path) -> BinaryIO:
    """Open a file for reading; pipes, devices and folders are refused, because they would block or never end."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise FileError("This is not a file", where=str(path), cure="Choose a LoRA file.")
        return open(path, "rb")
    except FileNotFoundError as error:
        raise FileError("There is no such file", where=str(path), cure="Check the name and the folder.") from error
    except OSError as error:
        what = say("The file cannot be opened: {reason}", reason=error)
        raise FileError(what, where=str(path), cure="Check its rights.") from error
    except ValueError as error:
        raise FileError("There is no such file", where=repr(path), cure="Check the name and the folder.") from error


def header_of(file: BinaryIO, *, where: str) -> Header:
    """Read and check the header of an open safetensors file; leaves the position at the data region."""
    size = os.fstat(file.fileno()).st_size
    prefix = file.read(8)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or length < 2 or length > HEADER_LIMIT:
        raise _other_file(prefix + file.read(START), length, where=where)
    if 8 + length > size:
        what = say(
            "The file is incomplete: its header alone needs {needed} of {size} bytes", needed=8 + length, size=size
        )
        raise FileError(what, where=where, cure=_CURE)
    raw = file.read(length)
    tensors, metadata, notes = parse_header(raw, data_bytes=size - 8 - length, where=where)
    return Header(tensors, metadata, size=size, data_start=8 + length, notes=notes)


def holds_safetensors(path: str | Path) -> bool:
    """Whether a file begins as a safetensors file, whatever its name ends with."""
    with open_regular(path) as file:
        start = file.read(8 + START)
    return 2 <= int.from_bytes(start[:8], "little") <= HEADER_LIMIT and start[8:].lstrip(_BLANKS)[:1] == b"{"


def _other_file(start: bytes, length: int, *, where: str) -> FileError:
    """Return the error of a file that cannot be a safetensors file, saying what it is where its bytes tell that."""
    known = mistaken(start, where=where)
    if known is not None:
        return known
    if len(start) < 8 or length < 2:
        return FileError("This is not a safetensors file", where=where, cure=_CURE)
    what = say("This is not a safetensors file, or its header is too large ({size} bytes)", size=length)
    return FileError(what, where=where, cure=_CURE)


def parse_header(
    raw: bytes, *, data_bytes: int, where: str
) -> tuple[dict[str, TensorInfo], dict[str, str], tuple[str, ...]]:
    """Check a header's JSON against the size of the data region and return tensors, metadata and remarks on it.

    Every tensor must have a known type, a size that follows from its shape, and a place of its own; together they must
    cover the data region without hole or overlap.

    Raises:
        FileError: any of this is not so.
    """
    content = _json(raw, where=where)
    metadata, notes = _metadata(content.pop(_METADATA, None))
    tensors = {name: _tensor_info(name, entry, where=where) for name, entry in content.items()}
    _check_cover(tensors, data_bytes=data_bytes, where=where)
    return tensors, metadata, notes


def _metadata(found: object) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the metadata as texts by name, and what had to be done for that; other readers refuse such a file."""
    if found is None:  # null is none to the safetensors library
        return {}, ()
    if not isinstance(found, dict):
        notes = (say("The header's metadata is not a table of texts, so the file counts as one without metadata."),)
        return {}, notes
    odd = [name for name, value in found.items() if not isinstance(value, str)]
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in found.items()}
    if not odd:
        return texts, ()
    notes = (
        say(
            "{n} {n:value|values} of the header's metadata {n:is no text and is|are no texts and are} read "
            "as {n:text|texts} (e.g. {name}).",
            n=len(odd),
            name=odd[0][:60],
        ),
    )
    return texts, notes


def _json(raw: bytes, *, where: str) -> dict[str, object]:
    """Return the header as an object; huge numbers and lone surrogates are refused."""
    if sum(raw.count(mark) for mark in (b",", b"[", b"{")) > STRUCTURE_LIMIT:
        raise FileError("The header has too many entries", where=where, cure="It cannot be a LoRA; check its source.")
    try:
        return _loaded(raw)
    except ValueError as error:
        raise FileError("The header is not valid: {reason}", reason=error, where=where, cure=_CURE) from error


def _loaded(raw: bytes) -> dict[str, object]:
    """Return the header as an object; a ValueError says why it is none, in words for people."""
    if raw.lstrip(_BLANKS)[:1] != b"{":
        raise ValueError(say("it does not start with a brace"))
    try:
        parse_int = _integer if _LONG.search(raw) else int
        pairs = _sound if b"\\u" in raw else _unique
        return json.loads(raw.decode("utf-8"), object_pairs_hook=pairs, parse_int=parse_int, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError(say("its entries are nested too deeply")) from error
    except UnicodeError as error:
        raise ValueError(say("it holds broken characters")) from error
    except json.JSONDecodeError as error:
        raise ValueError(say("it is no JSON")) from error


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object; the last of two same names counts, as for the library, which refuses it in these only."""
    table = dict(pairs)
    if len(table) != len(pairs) and any(sum(name == one for one, _ in pairs) > 1 for name in (*_FIELDS, _METADATA)):
        raise ValueError(say("a name occurs twice"))
    return table


def _sound(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object of `_unique` whose texts can be shown and saved, which a lone surrogate cannot."""
    for name, value in pairs:
        name.encode("utf-8")
        if isinstance(value, str):
            value.encode("utf-8")
    return _unique(pairs)


def _integer(text: str) -> int:
    if len(text) > 18:
        raise ValueError(say("a number is too large"))
    return int(text)


def _no_number(text: str) -> float:
    raise ValueError(say("{text} is not a whole number", text=text[:20]))


def _tensor_info(name: str, entry: object, *, where: str) -> TensorInfo:
    """Check one tensor's entry by itself."""
    if not isinstance(entry, dict) or not entry.keys() >= _FIELDS:
        raise FileError("A tensor's entry is broken", where=_place(where, name), cure=_CURE)
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        what = say("Unknown number type {kind!r}", kind=str(dtype)[:20])
        raise FileError(what, where=_place(where, name), cure="Use an fp16 file of this LoRA.")
    if not _counts(shape) or len(shape) > DIMENSION_LIMIT:
        raise FileError("A tensor's shape is broken", where=_place(where, name), cure=_CURE)
    if not _counts(offsets) or len(offsets) != 2:
        raise FileError("A tensor's place is broken", where=_place(where, name), cure=_CURE)
    start, end = offsets
    if end - start != prod(shape) * ITEM_BYTES[dtype]:
        raise FileError("A tensor's shape and its bytes disagree", where=_place(where, name), cure=_CURE)
    return TensorInfo(dtype, tuple(shape), start, end)


def _place(where: str, name: str) -> Sentence:
    return say("{file}, tensor {name!r}", file=where, name=name[:200])


def _counts(value: object) -> bool:
    """Whether ``value`` is a list of whole numbers from 0 up (``True`` is none)."""
    if type(value) is not list:
        return False
    # a loop over a generator takes as long again, and there are thousands of these lists
    return not [number for number in value if type(number) is not int or number < 0]


def _check_cover(tensors: Mapping[str, TensorInfo], *, data_bytes: int, where: str) -> None:
    """Refuse overlap, hole, missing and superfluous bytes."""
    position = 0
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if info.start != position:
            what = say("Tensors overlap") if info.start < position else say("Bytes between tensors belong to none")
            raise FileError(what, where=say("{file}, tensor {name!r}", file=where, name=name[:200]), cure=_CURE)
        position = info.end
    if position > data_bytes:
        what = say(
            "The file is incomplete: {there} of {size} bytes of tensors are there", there=data_bytes, size=position
        )
        raise FileError(what, where=where, cure=_CURE)
    if position < data_bytes:
        what = say("{n} {n:byte|bytes} at the end of the file {n:belongs|belong} to no tensor", n=data_bytes - position)
        raise FileError(what, where=where, cure=_CURE)


def plan_layout(tensors: Iterable[tuple[str, str, tuple[int, ...]]]) -> dict[str, TensorInfo]:
    """Place tensors, given as (name, type, shape), as the safetensors library does: wide types first, then by name."""
    position, plan = 0, {}
    for name, dtype, shape in sorted(tensors, key=lambda item: (-_RANKING.index(item[1]), item[0])):
        end = position + prod(shape) * ITEM_BYTES[dtype]
        plan[name] = TensorInfo(dtype, tuple(shape), position, end)
        position = end
    return plan


def encode_header(tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str], *, in_order: bool = False) -> bytes:
    """Return length and header bytes: sorted keys, ``{"`` in front (A1111 insists), spaces up to a multiple of 8.

    With ``in_order`` the tensors keep the order that they are given in, behind the metadata.

    Raises:
        InputError: metadata that is not text to text, or more than a header can hold.
    """
    if not all(isinstance(key, str) and isinstance(value, str) for key, value in metadata.items()):
        raise InputError("Metadata must be texts by name", cure="Turn numbers and lists into text first.")
    content: dict[str, object] = {
        name: {"dtype": info.dtype, "shape": list(info.shape), "data_offsets": [info.start, info.end]}
        for name, info in tensors.items()
    }
    if _METADATA in content:
        raise InputError("A tensor cannot have this name", where=_METADATA, cure="Rename it.")
    if metadata:
        content = {_METADATA: dict(metadata), **content}
    try:
        raw = json.dumps(content, sort_keys=not in_order, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError("Metadata holds broken characters", where=str(error), cure="Type the text again.") from error
    if len(raw) > HEADER_LIMIT - 8:
        raise InputError(
            "Metadata is too large ({size} bytes)", size=len(raw), cure="Use a smaller picture or a shorter text."
        )
    raw += b" " * (-len(raw) % 8)
    return len(raw).to_bytes(8, "little") + raw
