"""Each axis of ours: how its values are written, what they change, and what is checked before the first picture."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from lib_lora.blocks.block_list import parse_blocks
from lib_lora.blocks.errors import shorten, suggest
from lib_lora.blocks.layouts import full_layout
from lib_lora.blocks.tag import parse_tag
from lib_lora.blocks.tag_model import Moment
from lib_lora.blocks.tokens import format_number, read_number
from lib_lora.errors import InputError
from lib_lora.host.base import Host
from lib_lora.host.webui import lora_list
from lib_lora.host.webui.axes import values
from lib_lora.host.webui.axes.changes import (
    WHERE,
    AxisChange,
    File,
    OneBlock,
    PromptTags,
    Range,
    Step,
    Strength,
    Weights,
)
from lib_lora.host.webui.axes.values import SOURCE, Value, files_of_runs, run_of
from lib_lora.sentences import say

AS_WRITTEN = "(as written)"
"""A cell with the tag's own weights, to compare with."""
END = "end"


@dataclass(frozen=True)
class AxisKind:
    """What an axis does.

    Attributes:
        label: its name in the plot's list.
        cost: how long a change of value takes; the plot changes the dearest axis the most seldom.
        split: the field's text in values.
        change: what a value does to the tags.
        shown: a value as the grid names it.
        choices: what the drop-down offers; None: a field for text.
    """

    label: str
    cost: float
    split: Callable[[str, Host], list[str]]
    change: Callable[[str, PromptTags, Host], AxisChange]
    shown: Callable[[str], str]
    choices: Callable[[Host], list[str]] | None = None


def _weights(value: str, tags: PromptTags, host: Host) -> AxisChange:
    read = Value.read(value)
    loras = tags.chosen(read.key)
    if read.text.casefold() == AS_WRITTEN.casefold():
        return AxisChange(loras)
    return Weights(loras, read.text)


def _weights_shown(value: str) -> str:
    read = Value.read(value)
    parts = read.text.split(",")
    text = read.text if len(parts) < 12 else f"{','.join(parts[:3])},… ({len(parts)})"
    return str(Value(read.key, text))


def _block(value: str, tags: PromptTags, host: Host) -> AxisChange:
    read = Value.read(value)
    blocks, equals, number = read.text.rpartition("=")
    weight = read_number(number.strip())
    if not equals or weight is None or not math.isfinite(weight):
        cure = say("Write BLOCK=number, like IN04=0.5 or IN04-IN08=0.")
        raise InputError(say("“{text}” names no block and number", text=shorten(read.text)), where=WHERE, cure=cure)
    family = host.model.family
    return OneBlock(tags.chosen(read.key), parse_blocks(blocks, full_layout(family)), weight, host.presets, family)


def _range(value: str, tags: PromptTags, host: Host) -> AxisChange:
    read, family = values.read_range(value), host.model.family
    blocks = () if read.blocks.casefold() == SOURCE else parse_blocks(read.blocks, full_layout(family))
    return Range(tags.chosen(read.key), read.examined, read.others, blocks, family)


def _range_shown(value: str) -> str:
    read = values.read_range(value)
    head = f"{read.key}: " if read.key else ""
    if read.blocks.casefold() == SOURCE:
        return f"{head}all {format_number(read.others)}"
    return f"{head}{read.blocks}={format_number(read.examined)} (others {format_number(read.others)})"


def _strength(part: str) -> Callable[[str, PromptTags, Host], AxisChange]:
    def change(value: str, tags: PromptTags, host: Host) -> AxisChange:
        read = Value.read(value)
        return Strength(tags.chosen(read.key), part, values.number_of(read))

    return change


def _step(end: str) -> Callable[[str, PromptTags, Host], AxisChange]:
    def change(value: str, tags: PromptTags, host: Host) -> AxisChange:
        read = Value.read(value)
        moment: Moment | None = None
        if read.text.casefold() != END:
            # The grammar of the tag's own item, and its errors.
            moment = parse_tag(f"<lora:{read.key or 'name'}:start={read.text}>").start
        return Step(tags.chosen(read.key), end, moment)

    return change


def _file(value: str, tags: PromptTags, host: Host) -> AxisChange:
    read = Value.read(value)
    if read.key:
        return File(tags.chosen(read.key), read.text)
    tags.require()
    run = run_of(read.text, lora_list.metadata_of(read.text))
    same = {name.casefold() for name in tags.names if run_of(name, lora_list.metadata_of(name)) == run}
    if not same and len(tags.names) == 1:
        same = {tags.names[0].casefold()}
    if not same:
        cure = suggest(run, tags.names) or say("Write NAME: FILE to say whose place it takes.")
        raise InputError(
            "“{file}” is of the run of none of the prompt's LoRAs", file=shorten(read.text), where=WHERE, cure=cure
        )
    return File(frozenset(same), read.text)


def _preset_choices(host: Host) -> list[str]:
    return list(dict.fromkeys((AS_WRITTEN, "ALL", "NONE", *host.presets.names())))


def _file_choices(host: Host) -> list[str]:
    runs = files_of_runs({name: lora_list.metadata_of(name) for name in host.list_loras()})
    return [name for names in runs.values() for name in names]


def _named(what: str) -> Callable[[str], str]:
    def shown(value: str) -> str:
        read = Value.read(value)
        return str(Value(read.key, f"{what} {read.text}"))

    return shown


def _plain(splitter: Callable[[str], list[str]]) -> Callable[[str, Host], list[str]]:
    return lambda text, _host: splitter(text)


def _split_weights(text: str, host: Host) -> list[str]:
    return values.split_weights(text, host.presets.has)


def _split_ranges(text: str, host: Host) -> list[str]:
    return values.split_ranges(text, full_layout(host.model.family))


KINDS = (
    # What reaches the text encoder is merged anew by the host, and the prompt encoded again: dearer than the UNet.
    AxisKind("Block weights", 0.4, _split_weights, _weights, _weights_shown, _preset_choices),
    AxisKind("One block", 0.3, _plain(values.split_blocks), _block, str),
    AxisKind("Range over blocks", 0.3, _split_ranges, _range, _range_shown),
    AxisKind("TE strength", 0.5, _plain(values.split_numbers), _strength("te"), _named("TE")),
    AxisKind("UNet strength", 0.1, _plain(values.split_numbers), _strength("unet"), _named("UNet")),
    AxisKind("Start step", 0.0, _plain(values.split_steps), _step("start"), _named("start")),
    AxisKind("Stop step", 0.0, _plain(values.split_steps), _step("stop"), _named("stop")),
    AxisKind("Files of a run", 0.6, _plain(values.split), _file, str, _file_choices),
)
