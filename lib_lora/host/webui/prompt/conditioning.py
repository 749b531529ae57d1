"""The host's key for cached text conditioning, made of exactly what reaches the text encoder.

The host keys its cache by the tags as they are written (`get_conds_with_caching`). With block weights the text says too
much (another UNet block) and too little (a preset that was edited behind its name), so ours compare what was resolved.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from lib_lora.host.webui.prompt.tags import NETWORKS, HostReading, host_reading
from lib_lora.host.webui.protocols import ExtraNetworkParams, Processing

ATTRIBUTES = ("hr_extra_network_data", "extra_network_data")
"""Where a ``p`` keeps the tags of its hires pass and of its first pass."""

Reached = tuple[tuple[Any, ...], ...]


class Encoded(defaultdict):  # of the host's own type: only so it is asked from either side
    """The tags of a pass as the host parsed them; equal to another where the same values reach the text encoder."""

    def __init__(self, data: Mapping[str, list[ExtraNetworkParams]], reached: Reached) -> None:
        super().__init__(list, data)
        self.reached = reached

    def __reduce__(self) -> tuple[Any, ...]:
        """Let other extensions copy it."""
        return Encoded, (dict(self), self.reached)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Encoded):
            return self.reached == other.reached
        return isinstance(other, dict) and self.reached == reached_by(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]  # as a dict's


def reached_by(
    data: Mapping[str, list[ExtraNetworkParams]], given: Iterable[HostReading | None] | None = None
) -> Reached:
    """Return what reaches the text encoder: the loader's tags by name and strength, other networks word for word.

    Args:
        data: the tags of a prompt by their kind.
        given: what the host's loader reads in that which it really gets in place of the LoRA tags of ``data``.
    """
    kinds = {kind: params for kind, params in data.items() if kind.lower() not in NETWORKS}
    if given is None:
        given = (host_reading(one) for kind, params in data.items() if kind.lower() in NETWORKS for one in params)
    others = [(kind, *map(str, one.items)) for kind, params in sorted(kinds.items()) for one in params]
    return (*others, *(_entry(one) for one in given if one is not None))


def pass_of(p: Processing, params_list: Iterable[ExtraNetworkParams]) -> str | None:
    """Return the attribute of ``p`` whose tags these are; ``is_hr_pass`` says it wrongly while conds are made early."""
    given = {id(one) for one in params_list}
    for name in ATTRIBUTES:
        data = getattr(p, name, None) or {}
        if any(id(one) in given for params in data.values() for one in params):
            return name
    return None


def _entry(reading: HostReading) -> tuple[Any, ...]:
    return ("lora", reading.name, reading.te, reading.dyn)
