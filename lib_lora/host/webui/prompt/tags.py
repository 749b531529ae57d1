"""The LoRA tags of a pass, each read once: the host's parse of it, what the host's loader reads in it, what we do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from lib_lora.blocks.errors import TagError, suggest
from lib_lora.blocks.tag import find_tags, parse_tag
from lib_lora.blocks.tag_model import ParsedTag
from lib_lora.blocks.tag_parse import HIRES
from lib_lora.blocks.tokens import format_number
from lib_lora.host.webui.protocols import ExtraNetworkParams

NETWORKS = ("lora", "lyco")
OURS = ("lbw", "w", "lbwe", "x", "other", "start", "stop", "end", "step", *HIRES)
"""Named items that are not the host's own."""


@dataclass(frozen=True)
class HostReading:
    """What the host's own loader understands of a tag."""

    name: str
    te: float
    unet: float
    dyn: int | None = None


@dataclass(frozen=True)
class PassTag:
    """One tag of a pass with all that is read in it; nobody reads its text again.

    Attributes:
        params: the tag as the host has parsed it.
        host: what the host's own loader reads; None where it would stop at this tag.
        parsed: what our grammar reads; None where it cannot.
        error: why it cannot.
    """

    params: ExtraNetworkParams
    host: HostReading | None
    parsed: ParsedTag | None
    error: TagError | None = None

    @property
    def is_foreign(self) -> bool:
        """Whether the host can read the tag, and no named item is ours or looks like one of ours misspelt."""
        keys = [str(key).strip().lower() for key in self.params.named]
        return (
            self.host is not None
            and bool(self.host.name.strip())
            and not any(key in OURS or suggest(key, OURS) for key in keys)
        )


@dataclass(frozen=True)
class Handed:
    """A tag that the host's loader is given, in its own form, and what it reads in it."""

    reading: HostReading
    params: ExtraNetworkParams

    @classmethod
    def of(cls, reading: HostReading) -> Handed:
        """Return a reading in the form that the host's loader takes."""
        items = [reading.name, format_number(reading.te), format_number(reading.unet)]
        if reading.dyn is not None:
            items.append(str(reading.dyn))
        return cls(reading, _params(items))


def read_tags(params_list: Iterable[ExtraNetworkParams]) -> Iterator[PassTag]:
    """Yield the tags of a pass.

    One that is not closed the host takes for the beginning of the next: it comes first, as one that cannot be read.
    """
    for params in params_list:
        text = f"<lora:{':'.join(map(str, params.items))}>"
        *unclosed, last = [match.text for match in find_tags(text)] or [text]
        yield from (PassTag(params, None, *_parsed(each)) for each in unclosed)
        own = _params(last[1:-1].split(":")[1:]) if unclosed else params
        yield PassTag(own, host_reading(own), *_parsed(last))


def host_reading(params: ExtraNetworkParams) -> HostReading | None:
    """Return what the host reads, or None where its loader would stop at this tag.

    Source: `ExtraNetworkLora.activate` of A1111 1.10.1, the same in the Forge family.
    """
    positional, named = params.positional, params.named
    try:
        te = float(positional[1]) if len(positional) > 1 else 1.0
        te = float(named.get("te", te))
        unet = float(named.get("unet", positional[2] if len(positional) > 2 else te))
        dyn = named.get("dyn", positional[3] if len(positional) > 3 else None)
        return HostReading(str(positional[0]), te, unet, None if dyn is None else int(dyn))
    except (ValueError, IndexError):
        return None


def reading_of(parsed: ParsedTag) -> HostReading:
    """Return what a plain tag says to the host, whatever its spelling."""
    return HostReading(parsed.name, parsed.te, parsed.unet, parsed.dyn)


def is_plain(parsed: ParsedTag) -> bool:
    """Tell whether the host can do all that the tag says."""
    own = (parsed.weights, parsed.elements, parsed.start, parsed.stop, parsed.other, parsed.frames)
    return all(value is None for value in own)


def without_twins(handed: Sequence[Handed], ours: Iterable[str]) -> list[Handed]:
    """Return what the host is given; where a name of ``ours`` comes twice, one entry with the sums.

    The host has one object for a name, with the strengths of its last tag. Twice a plain tag stays its own affair.
    """
    names = [one.reading.name for one in handed]
    twice = {name for name in ours if names.count(name) > 1}
    given: list[Handed] = []
    done: set[str] = set()
    for each in handed:
        name = each.reading.name
        if name not in twice:
            given.append(each)
        elif name not in done:
            done.add(name)
            same = [one.reading for one in handed if one.reading.name == name]
            te, unet = sum(one.te for one in same), sum(one.unet for one in same)
            given.append(Handed.of(replace(each.reading, te=te, unet=unet)))
    return given


def _parsed(text: str) -> tuple[ParsedTag | None, TagError | None]:
    try:
        return parse_tag(text), None
    except TagError as error:
        return None, error


def _params(items: list[str]) -> ExtraNetworkParams:
    from modules import extra_networks

    return extra_networks.ExtraNetworkParams(items=items)
