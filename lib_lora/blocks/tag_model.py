"""What a LoRA tag says: as written (`ParsedTag`) and with every name turned into numbers (`ResolvedTag`)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal

from lib_lora.blocks.elements import ElementRules
from lib_lora.blocks.key_frames import KeyFrames
from lib_lora.blocks.layouts import BASE, OTHER, first_text_block, full_layout, text_blocks
from lib_lora.blocks.tokens import format_number
from lib_lora.blocks.weights import BlockWeights, fit

Sweep = Literal["XYZ", "ZYX"]
"""Names that the Effective Block Analyzer replaces: XYZ by its changing vector, ZYX by 1 minus that vector."""


@dataclass(frozen=True)
class TagMatch:
    """A LoRA tag found in a prompt: `prompt[start:end] == text`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Span:
    """A piece of a tag and the index at which it begins in the tag's text."""

    text: str
    position: int

    @property
    def sweep(self) -> Sweep | None:
        """Return XYZ or ZYX when the piece is one of these names, in any case."""
        name = self.text.upper()
        return "XYZ" if name == "XYZ" else "ZYX" if name == "ZYX" else None


@dataclass(frozen=True)
class Moment:
    """A point of sampling: a count of steps, or a share (0..1) of all steps."""

    value: float
    is_share: bool

    def index(self, total: int) -> int:
        """Return the 0-based step index of this moment in a run of `total` steps, halves rounded up."""
        return math.floor(self.value * total + 0.5) if self.is_share else int(self.value)

    def format(self) -> str:
        """Return the text of the tag: a share has a decimal point, a count of steps has none."""
        return format(Decimal(repr(float(self.value))), "f") if self.is_share else str(int(self.value))


@dataclass(frozen=True)
class Strengths:
    """How strong a LoRA is in one pass: text encoder, UNet, and what the UNet's is multiplied with over the steps."""

    te: float
    unet: float
    frames: KeyFrames | None = None

    @property
    def unet_text(self) -> str:
        """The text of the UNet's item."""
        return format_number(self.unet) if self.frames is None else self.frames.scaled(self.unet).format()


@dataclass(frozen=True)
class ParsedTag:
    """A tag that is written correctly; names of presets and of the LoRA were not looked up yet."""

    text: str
    name: str
    te: float = 1.0
    unet: float = 1.0
    dyn: int | None = None
    weights: Span | None = None
    elements: Span | None = None
    x: float | None = None
    start: Moment | None = None
    stop: Moment | None = None
    other: float | None = None
    frames: KeyFrames | None = None
    hires: Strengths | None = None
    notes: tuple[str, ...] = ()

    @property
    def strengths(self) -> Strengths:
        """Return how strong it is in the first pass."""
        return Strengths(self.te, self.unet, self.frames)

    def in_hires(self) -> ParsedTag:
        """Return the tag as it is in the hires pass."""
        if self.hires is None:
            return self
        return replace(self, te=self.hires.te, unet=self.hires.unet, frames=self.hires.frames, hires=None)

    @property
    def sweep(self) -> Sweep | None:
        """Return which analyzer vector the tag carries as its weights, if any."""
        return self.weights.sweep if self.weights else None

    @property
    def sweeps_elements(self) -> bool:
        """Tell whether the analyzer's elements axis (`lbwe=XYZ`) acts on this tag."""
        return self.elements is not None and self.elements.sweep == "XYZ"


@dataclass(frozen=True)
class ResolvedTag:
    """A tag in numbers.

    `weights` is None for a tag without block weights (every block 1). `other` is None for the default rule: modules
    outside every block count 1, or 0 if all block weights are 0. `filled` names blocks that the written vector did not
    mention. `notes` are remarks for the user. A tag with `sweep` waits for the analyzer's vector: `with_weights`.
    """

    name: str
    te: float = 1.0
    unet: float = 1.0
    dyn: int | None = None
    weights: BlockWeights | None = None
    elements: ElementRules | None = None
    start: Moment | None = None
    stop: Moment | None = None
    other: float | None = None
    frames: KeyFrames | None = None
    hires: Strengths | None = None
    sweep: Sweep | None = None
    sweeps_elements: bool = False
    filled: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def other_weight(self) -> float:
        """Return the weight of the modules outside every block."""
        if self.other is not None:
            return self.other
        return 0.0 if self.weights is not None and self.weights.all_zero else 1.0

    def with_weights(self, weights: BlockWeights | None) -> ResolvedTag:
        """Return a copy with other block weights; the analyzer gives XYZ tags `w` and ZYX tags `w.complement()`."""
        return replace(self, weights=weights, filled=())

    def multipliers(self, family: str) -> dict[str, float]:
        """Return the final number of every block of a family, of BASE and of `other`, without the element rules.

        Text-encoder blocks are TE strength × weight, all others UNet strength × weight. On Flux, BASE is CLIP's.

        Raises:
            InputError: no layout for the family, or the weights do not fit it.
        """
        layout = full_layout(family)
        weights = fit(self.weights if self.weights is not None else BlockWeights.uniform(layout, 1.0), family)
        table = {name: self._strength(name) * weight for name, weight in weights.as_dict().items()}
        table.setdefault(BASE, table.get(first_text_block(family), self.te))
        table[OTHER] = self.unet * self.other_weight
        return table

    def multiplier(self, block: str, key: str, family: str) -> float:
        """Return the final number of one module: an element rule's ratio takes the place of the block weight."""
        ratio = self.elements.ratio(block, key) if self.elements else None
        return self.multipliers(family)[block] if ratio is None else self._strength(block) * ratio

    def active(self, step: int, total: int) -> bool:
        """Tell whether the LoRA is on at a 0-based step of a run of `total` steps (`stop` is the first step off)."""
        begun = self.start is None or step >= self.start.index(total)
        on = begun and (self.stop is None or step < self.stop.index(total))
        return on and (self.frames is None or self.frames.at(step, total) != 0)

    def _strength(self, block: str) -> float:
        return self.te if block in text_blocks() else self.unet


def spell(name: str, strengths: Strengths, named: Mapping[str, str | None], rest: Iterable[str] = ()) -> str:
    """Return a tag's text: name, strengths, the ``named`` items that are there in their order, and ``rest``."""
    items = [name, format_number(strengths.te)]
    if strengths.unet_text != items[-1]:
        items.append(strengths.unet_text)
    items += [f"{key}={value}" for key, value in named.items() if value is not None]
    return f"<lora:{':'.join([*items, *rest])}>"
