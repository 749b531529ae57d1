"""What a person types for an axis of the X/Y/Z plot, cut into values, and the files that one training saved."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from io import StringIO

from lib_lora.architectures.registry import layouts_of_length
from lib_lora.blocks.block_list import parse_block_list
from lib_lora.blocks.errors import PositionError, shorten
from lib_lora.blocks.layouts import Layout
from lib_lora.blocks.tokens import format_number, read_number, read_tokens
from lib_lora.blocks.typed import half_width
from lib_lora.errors import InputError
from lib_lora.sentences import say

SOURCE = "source"
"""Instead of a block in a range: the picture with every block at the others' value."""

_NUM = r"[+-]?(?:\d+\.?\d*|\.\d+)"
_STEPS = re.compile(
    rf"\s*({_NUM})\s*-\s*({_NUM})\s*(?:\(\s*([+-]{_NUM.removeprefix('[+-]?')})\s*\)|\[\s*(\d+)\s*\])?\s*"
)
_RANGE = re.compile(
    rf"\s*(?:(?P<key>[^:]*[^:\s])\s*:)?\s*(?P<one>{_NUM})\s*[,/]\s*(?P<two>{_NUM})\s*:(?P<blocks>[^:]*)"
)
_NEXT_RANGE = re.compile(rf";|,(?=\s*{_NUM}\s*/\s*{_NUM}\s*:)")
_WIDE = (str.maketrans("，；：", ",;:"), str.maketrans("、", ","))
"""Signs that part values where they are in no preset's name; the more usual in names come last."""
_MOST = 1000
"""Values that one range may write: more is a slip of the hand."""

_ON_THE_WAY = re.compile(r"-(?:\d{6}|step\d{8})$")
"""How the files end that a training saves after an epoch or where it was stopped; kohya's end alike."""


@dataclass(frozen=True)
class Value:
    """One cell's value: for the LoRA ``key`` ("" for every LoRA of the prompt)."""

    key: str
    text: str

    @classmethod
    def read(cls, text: str) -> Value:
        """Read ``NAME: value`` or a bare value."""
        before, colon, after = text.partition(":")
        return cls(before.strip(), after.strip()) if colon else cls("", text.strip())

    def __str__(self) -> str:
        return f"{self.key}: {self.text}" if self.key else self.text


def split(text: str) -> list[str]:
    """Return the values between semicolons, or where there is none between commas (CSV: quotes keep a comma)."""
    if ";" in text:
        return [part.strip() for part in text.split(";") if part.strip()]
    rows = csv.reader(StringIO(text), skipinitialspace=True)
    return [part.strip() for row in rows for part in row if part.strip()]


def split_weights(text: str, is_preset: Callable[[str], bool]) -> list[str]:
    """Return names and vectors; a text that is nothing but one vector needs no quotes.

    Full-width signs part values too, unless a preset has them in its name.
    """
    parts = split(text)
    for signs in _WIDE:
        wide = [(part, part.translate(signs)) for part in parts]
        parts = [
            one
            for part, typed in wide
            for one in ([part] if typed == part or is_preset(Value.read(part).text) else split(typed))
        ]
    if not layouts_of_length(len(parts)):
        return parts
    first = Value.read(parts[0])
    vector = half_width(",".join((first.text, *parts[1:])))
    try:
        read_tokens(vector)
    except PositionError:  # names, then, as many as a vector has values
        return parts
    return [str(Value(first.key, vector))]


def split_numbers(text: str) -> list[str]:
    """Return numbers, ranges written out: ``0-1 (+0.25)``, ``0-1 [5]``, ``1-4``."""
    read = map(Value.read, split(half_width(text)))
    return [str(Value(value.key, number)) for value in read for number in spread(value.text)]


def split_steps(text: str) -> list[str]:
    """Return moments as a tag writes them; a range that has a decimal point anywhere is one of shares, 1.0 the end."""
    values = []
    for value in map(Value.read, split(half_width(text))):
        numbers = spread(value.text)
        if len(numbers) > 1 and "." in "".join((value.text, *numbers)):
            numbers = [number if "." in number else f"{number}.0" for number in numbers]
        values += [str(Value(value.key, number)) for number in numbers]
    return values


def split_blocks(text: str) -> list[str]:
    """Return ``BLOCKS=number`` values; a bare number belongs to the blocks before it: ``IN04=0, 0.5, 1``."""
    values, last = [], ("", "")
    for value in map(Value.read, split(half_width(text))):
        blocks, equals, number = value.text.rpartition("=")
        if equals:
            last = (value.key, blocks.strip())
        elif not last[1] or any(read_number(one) is None for one in spread(number)):
            values.append(str(value))  # what it is, the check before the first picture says
            continue
        values += [str(Value(value.key or last[0], f"{last[1]}={one}")) for one in spread(number)]
    return values


def split_ranges(text: str, layout: Layout) -> list[str]:
    """Return ``examined/others: BLOCKS`` values, one a group of blocks; several ranges stand between semicolons.

    A comma before another ``examined/others:`` parts as well. Without numbers the range is 0/1: one block
    off, the others on.
    """
    values = []
    for part in _NEXT_RANGE.split(half_width(text)):
        if not part.strip():
            continue
        match = _RANGE.fullmatch(part)
        if match:
            key, blocks = match["key"] or "", match["blocks"]
            numbers = [match["one"], match["two"]]
        else:
            value = Value.read(part)
            key, blocks, numbers = value.key, value.text, ["0", "1"]
        head = f"{key}: " if key else ""
        entries = blocks.split(",")
        if len(entries) == 1 and entries[0].strip().upper().endswith("ALL"):
            entries = [" ".join(group) for group in parse_block_list(blocks, layout)]
        values += [f"{head}{'/'.join(numbers)}: {entry.strip()}" for entry in entries if entry.strip()]
    return values


@dataclass(frozen=True)
class RangeValue:
    """One cell of a range: ``examined`` in ``blocks`` ("source": nowhere), ``others`` everywhere else."""

    key: str
    examined: float
    others: float
    blocks: str


def read_range(text: str) -> RangeValue:
    """Read one value of a range.

    Raises:
        InputError: it is written otherwise.
    """
    match = _RANGE.fullmatch(text)
    if match is None:
        match = _RANGE.fullmatch(f"0/1: {text}")
    if match is None or not all(math.isfinite(float(match[name])) for name in ("one", "two")):
        cure = say("Write the examined block's number, then all others', and the blocks: 0/1: IN04, M00, OUT03-OUT05.")
        raise InputError(say("“{text}” is no range", text=shorten(text)), where=say("X/Y/Z plot"), cure=cure)
    return RangeValue(match["key"] or "", float(match["one"]), float(match["two"]), match["blocks"].strip())


def spread(text: str) -> list[str]:
    """Return the numbers of a range, or the text itself where it is none."""
    match = _STEPS.fullmatch(text)
    if match is None or read_number(text.strip()) is not None:
        return [text.strip()]
    first, last = float(match[1]), float(match[2])
    if not math.isfinite(last - first):
        return [text.strip()]
    if match[4]:
        count = int(match[4])
        step = (last - first) / (count - 1) if count > 1 else 0.0
    else:
        step = float(match[3]) if match[3] else 1.0
        if not step or (last - first) * step < 0:
            return [text.strip()]
        count = math.floor((last - first) / step + 1e-9) + 1
    if not 1 <= count <= _MOST:
        return [text.strip()]
    return [format_number(round(first + n * step, 6)) for n in range(count)]


def number_of(value: Value) -> float:
    """Return the number of a value.

    Raises:
        InputError: it is none, or not finite.
    """
    number = read_number(value.text)
    if number is None or not math.isfinite(number):
        raise InputError(
            "“{value}” is no number",
            value=shorten(value.text),
            where=say("X/Y/Z plot"),
            cure="Write a number like 0.5.",
        )
    return number


def run_of(name: str, metadata: Mapping[str, str]) -> str:
    """Return the name of the run that saved a file: its own name without the epoch, or what ours wrote into it."""
    stem = _ON_THE_WAY.sub("", name)
    if stem == name and "atelier_options" in metadata:  # a file of ours that was renamed
        return metadata.get("ss_output_name") or name
    return stem


def files_of_runs(files: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """Return the runs that left at least two files, each with its files' names in the order of the training.

    Args:
        files: every file's name with its metadata.
    """
    runs: dict[str, list[str]] = {}
    for name, metadata in files.items():
        runs.setdefault(run_of(name, metadata), []).append(name)
    return {run: in_order(names, run) for run, names in sorted(runs.items()) if len(names) > 1}


def in_order(names: Iterable[str], run: str) -> list[str]:
    """Return the files by epoch or step, the finished one last."""
    return sorted(names, key=lambda name: (name == run, _ON_THE_WAY.search(name) is None, name))
