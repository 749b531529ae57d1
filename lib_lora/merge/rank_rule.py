"""The rules that say how many directions of a change to keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from torch import Tensor

from lib_lora.blocks.elements import ElementRule, read_rule
from lib_lora.blocks.tokens import format_number
from lib_lora.errors import InputError
from lib_lora.options import option, options_of

NOISE = 1e-7
"""Singular values below this share of the largest are rounding noise of fp32."""


@dataclass(frozen=True)
class RuleOptions:
    """What can be said of ranks; each rule's default is the value to start with."""

    sv_ratio: float = option(
        16.0,
        "strong directions (sv_ratio)",
        "Keeps what is stronger than the strongest direction divided by this; 16 is usual, larger keeps more.",
        low=1.001,
        high=1_000_000,
    )
    rank: int = option(
        16, "a fixed rank", "Keeps so many directions of every module: 4, 8, 16 …", low=1, high=100_000, form="N"
    )
    energy: float = option(
        0.95,
        "a share of the energy",
        "Keeps this share of the energy (squared singular values): 0.9 to 0.99.",
        low=0.0001,
        high=1,
    )
    cumulative: float = option(
        0.95, "a share of the strength", "Keeps this share of the sum of singular values.", low=0.0001, high=1
    )
    base_ratio: float = option(
        10.0,
        "strong beside the model (base_ratio)",
        "Keeps what is stronger than the strongest direction of the model's own layer divided by this, so whole layers "
        "may go; needs the model. 10 is usual, larger keeps more.",
        low=0.001,
        high=1_000_000,
    )
    size: float = option(
        20.0,
        "a file size (MB)",
        "Size of the whole file in MB: all layers together keep what says most for each byte, and it is at most so "
        "large.",
        low=0.001,
        high=100_000,
    )
    cap: int | None = option(
        None, "Largest rank", "Keeps at most so many directions, whatever the rule says.", low=1, high=100_000
    )
    parts: tuple[str, ...] = option(
        (),
        "Other values for some layers",
        "Another value of the rule for blocks, or layers with these words in their name; the last that fits counts. "
        "With a size it is what these layers may take of it.",
        form="BLOCKS:ELEMENTS:VALUE",
    )


RULES = {one.name: one for one in options_of(RuleOptions, but=("cap", "parts"))}
LIMITS = options_of(RuleOptions, only=("cap", "parts"))
"""What can be said beside every rule."""
LETTERS: Mapping[str, str] = {"rank": "r", "sv_ratio": "sv", "energy": "e", "cumulative": "c", "base_ratio": "base"}
"""How a file's name tells a rule."""
Largest = Callable[[str], float]
"""Gets a module's key; returns the largest singular value of the model's own weight there."""


@dataclass(frozen=True)
class RankRule:
    """How many singular values σ₁ ≥ σ₂ ≥ … to keep of each module.

    Args:
        kind: "rank": ``value`` of them; "sv_ratio": those above σ₁/value; "energy": the fewest whose squares sum up to
            ``value`` of all squares; "cumulative": the fewest that sum up to ``value`` of all; "base_ratio": those
            above the largest singular value of the model's own weight, divided by ``value``; "size": those that
            `lib_lora.merge.budget` finds for a file of ``value`` MB.
        value: within the bounds of `RULES`.
        cap: at most so many, whatever the rule says.
        parts: other values for some modules, as ``BLOCKS:ELEMENTS:VALUE``.
        beside: of a rule for one module (see `at`) the largest singular value of the model's own weight.
    """

    kind: str
    value: float
    cap: int | None = None
    parts: tuple[str, ...] = ()
    beside: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in RULES:
            raise InputError("There is no rank rule {rule!r}", rule=self.kind, cure="Use one of {names}.", names=RULES)
        object.__setattr__(self, "value", RULES[self.kind].read(self.value))
        for one in LIMITS:
            object.__setattr__(self, one.name, one.read(getattr(self, one.name)))
        for part in self.elements:
            RULES[self.kind].read(part.ratio)

    @property
    def by_module(self) -> bool:
        """Whether a module's own singular values are all that it asks for."""
        return self.kind not in ("size", "base_ratio")

    @property
    def elements(self) -> tuple[ElementRule, ...]:
        """``parts``, read."""
        return tuple(map(_element, self.parts))

    def part_of(self, block: str, key: str) -> int | None:
        """Return which of ``parts`` holds for a module; None where none does."""
        found = [number for number, one in enumerate(self.elements) if one.covers(block, key)]
        return found[-1] if found else None

    def at(self, block: str, key: str, largest: Largest | None = None) -> RankRule:
        """Return the rule for one module.

        Args:
            block: its block.
            key: its name.
            largest: of the model's own weights, where the rule asks for it.
        """
        beside = largest(key) if self.kind == "base_ratio" and largest is not None else self.beside
        part = self.part_of(block, key) if self.parts else None
        value = self.value if part is None else self.elements[part].ratio
        return self if (value, beside) == (self.value, self.beside) else replace(self, value=value, beside=beside)

    def refuse_unused(self, block_of: Mapping[str, str], *, where: str) -> None:
        """Refuse a part that holds for none of these modules (key to block).

        Raises:
            InputError: there is one.
        """
        used = {self.part_of(block, key) for key, block in block_of.items()} if self.parts else set()
        for number, text in enumerate(self.parts):
            if number not in used:
                raise InputError(
                    "“{part}” holds for no module, or others behind it hold for all of its modules",
                    part=text,
                    where=where,
                    cure="Name other blocks or elements, or leave it out.",
                )

    def choose(self, sigma: Tensor, *, energy: float | None = None) -> int:
        """Return how many of ``sigma`` (m,), sorted downwards, to keep; 0 if all are 0, else, but beside a model, ≥ 1.

        Of a size they are all that compete for it. Where ``sigma`` holds only the largest ones, ``energy`` is the sum
        of all squares; an answer that is no smaller than m then means that more are needed to tell.
        """
        sigma = sigma.double()
        sigma = sigma[sigma > NOISE * sigma[0]] if sigma.numel() else sigma
        if not sigma.numel():
            return 0
        if self.kind == "rank":
            count = int(self.value)
        elif self.kind == "size":
            count = sigma.numel()
        elif self.kind in ("sv_ratio", "base_ratio"):
            strongest = float(sigma[0]) if self.kind == "sv_ratio" else self.beside
            if strongest is None:
                raise no_model()
            count = int((sigma > strongest / self.value).sum())
        else:
            sums = (sigma.square() if self.kind == "energy" else sigma).cumsum(0)
            whole = energy if energy is not None and self.kind == "energy" else float(sums[-1])
            count = int((sums < self.value * whole).sum()) + 1
        return min(count, sigma.numel(), self.cap or count)

    def step(self) -> dict[str, object]:
        """Return the rule as a recipe tells it."""
        limits = {"cap": self.cap, "parts": list(self.parts)}
        told = {name: value for name, value in limits.items() if value}
        return {"rule": self.kind, "value": float(f"{self.value:.6g}"), **told}

    @property
    def name(self) -> str:
        """The rule in a file's name: r32, sv16, 20MB."""
        value = format_number(self.value)
        return f"{value}MB" if self.kind == "size" else f"{LETTERS[self.kind]}{value}"


@lru_cache(maxsize=256)
def _element(text: str) -> ElementRule:
    return read_rule(text)


def rule_of(chosen: Mapping[str, Any], limits: Mapping[str, Any]) -> RankRule | None:
    """Return the rule that somebody chose by name and value, one at most; None where nothing was chosen.

    Raises:
        InputError: it cannot be right, or there are limits and no rule.
    """
    for kind, value in chosen.items():
        return RankRule(kind, value, **limits)
    for name, value in limits.items():
        if value:
            raise InputError(
                "{name} alone says nothing",
                name=name,
                where=name,
                cure="Give a rule with it, for example energy 0.95.",
                option=name,
            )
    return None


def no_model() -> InputError:
    """Return the error of a rule that asks for the model where none is known."""
    return InputError(
        "The rule base_ratio compares with the model's own layers, and no model of this family is known",
        where="base_ratio",
        cure="Load the model that the LoRA was made for, or choose another rule.",
    )
