"""What a search for block weights came to: the weights, and what they do on what was held out, beside others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lib_lora.analysis.fit.fit import FitResult, Losses, kept_share
from lib_lora.blocks.weights import BlockWeights
from lib_lora.sentences import say


@dataclass(frozen=True)
class Way:
    """Block weights and what they do on pictures and captions that were not learned from."""

    name: str
    weights: dict[str, float]
    held: Losses


@dataclass(frozen=True)
class Fitted:
    """What a search found.

    Attributes:
        result: the weights, with what they do to what was learned from.
        vector: the weights in the family's full layout.
        ways: on what was held out: none, ALL, found, the same strength for all, presets, random ones of the same mean.
        notes: sentences.
    """

    result: FitResult
    vector: BlockWeights
    ways: tuple[Way, ...]
    notes: tuple[str, ...]

    def way(self, name: str) -> Losses:
        """Return the losses of a way."""
        return next(one.held for one in self.ways if one.name == name)

    @property
    def said(self) -> str:
        """What was gained and lost, in a sentence."""
        none, plain, found = (self.way(name) for name in ("none", "ALL", "found"))
        less = 100 * (1 - found.drift / plain.drift) if plain.drift else 0.0
        kept = kept_share(none, plain, found)
        if math.isnan(kept):
            return say(
                "On what was held out the LoRA is no nearer to the subject than the model without it, so what stays "
                "cannot be said; the model changes {less:.0f} % less than with all blocks at 1.",
                less=less,
            )
        return say(
            "On what was held out the subject keeps {kept:.0f} % of what was learned, and the model changes "
            "{less:.0f} % less than with all blocks at 1.",
            kept=100 * kept,
            less=less,
        )

    def shares(self, one: Way) -> tuple[float | None, float | None]:
        """Return a way's losses as shares of those with all blocks at 1; None where that one is 0."""
        plain = self.way("ALL")
        subject = one.held.subject / plain.subject if plain.subject else None
        return subject, one.held.drift / plain.drift if plain.drift else None

    def answer(self) -> dict[str, Any]:
        """Return it as JSON, without sentences."""
        shares = {one.name: self.shares(one) for one in self.ways}
        return {
            "vector": self.vector.format(),
            "weights": self.result.weights,
            "kept": self.result.kept,
            "calls": self.result.calls,
            "learned_from": {name: asdict(getattr(self.result, name)) for name in ("before", "plain", "found")},
            "held_out": {
                one.name: {
                    **asdict(one.held),
                    "subject_of_all": shares[one.name][0],
                    "drift_of_all": shares[one.name][1],
                }
                for one in self.ways
            },
        }


def table_of(found: Fitted) -> Sequence[str]:
    """Return the held-out table in lines for a terminal, the least drift first."""

    def number(share: float | None) -> str:
        return "     –" if share is None else f"{share:6.3f}"

    rows = sorted(found.ways, key=lambda one: one.held.drift)
    shares = [(one.name, *map(number, found.shares(one))) for one in rows]
    return [f"{name:>16}  subject {subject}  drift {drift}" for name, subject, drift in shares]
