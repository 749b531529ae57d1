"""A full difference: the change of the weight itself, number by number (LyCORIS' ``full``, extracted LoRAs)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from lib_lora.formats.adapters.base import Adapter
from lib_lora.formats.adapters.parts import shape_error, take_parts
from lib_lora.sentences import say


@dataclass(frozen=True, eq=False)
class FullAdapter(Adapter):
    """``diff`` has the shape of the weight; alpha does not count."""

    kind: ClassVar[str] = "full"
    title: ClassVar[str] = say("full difference")
    signs: ClassVar[str] = "diff"
    names: ClassVar[str] = signs
    takes_norms: ClassVar[bool] = True
    in_comfyui: ClassVar[bool] = True
    key: str
    diff: Tensor
    alpha: float = 1.0

    @classmethod
    def read(cls, key: str, parts: Mapping[str, Tensor]) -> FullAdapter:
        """Build the adapter of one key; see ``Adapter.read``."""
        tensors = take_parts(key, parts, required=("diff",))
        if tensors["diff"].ndim not in (1, 2, 4):
            raise shape_error(key, tensors)
        return cls(key, tensors["diff"])

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of ``delta()``."""
        return tuple(self.diff.shape)

    def parted(self, rows: Sequence[Tensor]) -> list[Adapter | None]:
        """Return those rows each."""
        return [replace(self, diff=self.diff[at]) for at in rows]

    @classmethod
    def joined(cls, parts: Sequence[Adapter | int]) -> FullAdapter | None:
        """Return their rows one below the other."""
        diffs = [part.diff for part in parts if isinstance(part, FullAdapter)]
        if len(diffs) < sum(not isinstance(part, int) for part in parts):
            return None
        rest, key = iter(diffs), next(part.key for part in parts if not isinstance(part, int))
        blank = torch.zeros_like(diffs[0][:1])
        rows = [blank.expand(p, *blank.shape[1:]) if isinstance(p, int) else next(rest) for p in parts]
        return cls(key, torch.cat(rows))

    def delta(self, weight: Tensor | None = None) -> Tensor:
        """Return the change of the weight."""
        return self.diff.float()

    def tensors(self) -> dict[str, Tensor]:
        """Return the part by its name."""
        return {"diff": self.diff}

    def scaled(self, q: float) -> FullAdapter:
        """Return ``q`` times the change, rounded to its type."""
        return self if q == 1 else replace(self, diff=self._times(self.diff, q))
