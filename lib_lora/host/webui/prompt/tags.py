"""Tags as the WebUI hands them over, read by our grammar and by the host's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lib_lora.blocks.errors import suggest
from lib_lora.blocks.tag import find_tags
from lib_lora.blocks.tag_edit import Change
from lib_lora.blocks.tag_model import ParsedTag
from lib_lora.blocks.tokens import format_number
from lib_lora.host.webui.prompt.overrides import GenerationOverrides

NETWORKS = ("lora", "lyco")
OURS = ("lbw", "w", "lbwe", "x", "other", "start", "stop", "step")
"""Named items that are not the host's own."""


@dataclass(frozen=True)
class HostReading:
    """What the host's own loader understands of a tag."""

    name: str
    te: float
    unet: float
    dyn: int | None = None


def text_of(params: Any) -> str:
    """Return the tag as it stood in the prompt."""
    return f"<lora:{':'.join(map(str, params.items))}>"


def params_of_text(text: str) -> Any:
    """Return a closed tag in the host's form."""
    from modules import extra_networks

    return extra_networks.ExtraNetworkParams(items=text[1:-1].split(":")[1:])


def host_reading(params: Any) -> HostReading | None:
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


def host_params(reading: HostReading) -> Any:
    """Return a reading in the form that the host's loader takes."""
    from modules import extra_networks

    items = [reading.name, format_number(reading.te), format_number(reading.unet)]
    if reading.dyn is not None:
        items.append(str(reading.dyn))
    return extra_networks.ExtraNetworkParams(items=items)


def reading_of(parsed: ParsedTag) -> HostReading:
    """Return what a plain tag says to the host, whatever its spelling."""
    return HostReading(parsed.name, parsed.te, parsed.unet, parsed.dyn)


def is_foreign(params: Any) -> bool:
    """Tell whether the host can read a tag and its named items neither are ours nor look like one of ours misspelt."""
    keys = [str(key).strip().lower() for key in params.named]
    return host_reading(params) is not None and not any(key in OURS or suggest(key, OURS) for key in keys)


def is_plain(parsed: ParsedTag) -> bool:
    """Tell whether the host can do all that the tag says."""
    own = (parsed.weights, parsed.elements, parsed.start, parsed.stop, parsed.other)
    return all(value is None for value in own)


def changed(parsed: ParsedTag, overrides: GenerationOverrides) -> ParsedTag:
    """Return the tag with the changes of the X/Y/Z plot's axes.

    Raises:
        AtelierError: a change does not fit the tag.
    """
    for change in _changes(overrides.changes, parsed.name):
        parsed = change(parsed)
    return parsed


def plain(parsed: ParsedTag) -> ParsedTag:
    """Return the tag as it is while the panel is off: without block weights, elements and steps."""
    return replace(parsed, weights=None, elements=None, x=None, start=None, stop=None, other=None)


def batch_prompts(p: Any, *, hires: bool) -> list[str]:
    """Return the prompts of the batch that is being made, with their tags."""
    first, size = getattr(p, "iteration", 0) * p.batch_size, p.batch_size
    return list((getattr(p, "all_hr_prompts" if hires else "all_prompts", None) or [])[first : first + size])


def differ(prompts: Iterable[str]) -> bool:
    """Tell whether prompts have different LoRA tags."""
    return len({tuple(found.text for found in find_tags(text)) for text in prompts}) > 1


def without_twins(readings: Sequence[tuple[HostReading, Any]], ours: Iterable[str]) -> list[Any]:
    """Return what the host is given; where a name of ``ours`` comes twice, one entry with the sums.

    The host has one object for a name, with the strengths of its last tag. Twice a plain tag stays its own affair.
    """
    names = [reading.name for reading, _ in readings]
    twice = {name for name in ours if names.count(name) > 1}
    given: list[Any] = []
    done: set[str] = set()
    for reading, params in readings:
        if reading.name not in twice:
            given.append(params)
        elif reading.name not in done:
            done.add(reading.name)
            same = [one for one, _ in readings if one.name == reading.name]
            te, unet = sum(one.te for one in same), sum(one.unet for one in same)
            given.append(host_params(replace(reading, te=te, unet=unet)))
    return given


def _changes(changes: Mapping[str, tuple[Change, ...]], name: str) -> tuple[Change, ...]:
    own = next((found for key, found in changes.items() if key and key.casefold() == name.casefold()), ())
    return (*changes.get("", ()), *own)
