"""What a search for block weights came to: the weights, and what they do on what was held out, beside others."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lib_lora.analysis.fit.spec import FitResult, Losses, kept_share
from lib_lora.analysis.fit.window import Window
from lib_lora.blocks.tag_edit import change_tag
from lib_lora.blocks.tag_model import Moment, ResolvedTag
from lib_lora.blocks.tag_resolve import format_tag
from lib_lora.blocks.weights import BlockWeights
from lib_lora.sentences import say

NONE, ALL, FOUND, SAME, CHANCE, PRESET = "none", "ALL", "found", "same", "random", "preset"
"""Kinds of weights: without the LoRA, all at 1, the found ones, one number for all, random ones, a preset."""
EQUAL = 1.01
"""Up to this ratio to that of the found weights a subject's loss counts as equal."""


@dataclass(frozen=True)
class Way:
    """Block weights and what they do on pictures and captions that were not learned from."""

    name: str
    weights: dict[str, float]
    held: Losses = Losses(math.nan, math.nan)
    kind: str = PRESET

    @property
    def title(self) -> str:
        """What it is, in words."""
        if self.kind == NONE:
            return say("without the LoRA")
        if self.kind == ALL:
            return say("all blocks at 1")
        if self.kind == FOUND:
            return say("found weights")
        if self.kind == SAME:
            return say("all blocks at {value:.2f}", value=next(iter(self.weights.values()), 0.0))
        return say("random weights {n}", n=self.name.split()[-1]) if self.kind == CHANCE else self.name


@dataclass(frozen=True)
class Fitted:
    """What a search found.

    Attributes:
        lora: the file's name in tags.
        result: the weights, with what they do to what was learned from.
        vector: the weights in the family's full layout.
        ways: on what was held out: none, ALL, found, the same strength for all, presets, random ones of the same mean.
        notes: sentences.
        prompts: a held-out caption of the subject, and one of something else.
        picture: the file of the pictures before and after; None where there is none.
        table: the file of the numbers; None where it is not written.
    """

    lora: str
    result: FitResult
    vector: BlockWeights
    ways: tuple[Way, ...]
    notes: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    picture: Path | None = None
    table: Path | None = None

    @property
    def tag(self) -> str:
        """The tag of a prompt."""
        return in_steps(format_tag(ResolvedTag(self.lora, weights=self.vector)), self.result.window)

    def way(self, name: str) -> Losses:
        """Return the losses of a way."""
        return next(one.held for one in self.ways if one.name == name)

    @property
    def files(self) -> tuple[Path, ...]:
        """What was written."""
        return tuple(path for path in (self.picture, self.table) if path is not None)

    @property
    def said(self) -> str:
        """What was gained and lost, in a sentence."""
        none, plain, found = (self.way(name) for name in (NONE, ALL, FOUND))
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

    @property
    def compared(self) -> str:
        """How it stands beside presets, random weights and one number for all, in a sentence."""
        mine = self.way(FOUND)
        others = [one for one in self.ways if one.kind in (SAME, CHANCE, PRESET)]
        near = [one for one in others if one.held.subject <= EQUAL * mine.subject]
        if not near:
            return say("None of the {n} presets, random and even weights keeps the subject as well.", n=len(others))
        best = min(near, key=lambda one: one.held.drift)
        share = 100 * (best.held.drift / mine.drift - 1) if mine.drift else 0.0
        if share >= 0:
            return say(
                "Of {n} presets, random and even weights {near} {near:keeps|keep} the subject as well; the gentlest of "
                "them ({name}) changes the model {share:.0f} % more than the found weights.",
                n=len(others),
                near=len(near),
                name=best.title,
                share=share,
            )
        return say(
            "Of {n} presets, random and even weights {near} {near:keeps|keep} the subject as well; {name} changes the "
            "model {share:.0f} % less than the found weights: take it instead.",
            n=len(others),
            near=len(near),
            name=best.title,
            share=-share,
        )

    def shares(self, one: Way) -> tuple[float | None, float | None]:
        """Return a way's losses as shares of those with all blocks at 1; None where that one is 0."""
        plain = self.way(ALL)
        subject = one.held.subject / plain.subject if plain.subject else None
        return subject, one.held.drift / plain.drift if plain.drift else None

    def answer(self) -> dict[str, Any]:
        """Return it as JSON, without sentences."""
        shares = {one.name: self.shares(one) for one in self.ways}
        return {
            "vector": self.vector.format(),
            "tag": self.tag,
            "weights": self.result.weights,
            "start": self.result.window.start,
            "stop": self.result.window.stop,
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


def in_steps(tag: str, window: Window) -> str:
    """Return a tag that acts in a window alone."""
    start = Moment(window.start, is_share=True) if window.start > 0 else None
    stop = Moment(window.stop, is_share=True) if window.stop < 1 else None
    return change_tag(tag, 0, lambda one: replace(one, start=start, stop=stop))


def told(found: Fitted, tell: Callable[[str], str] = str) -> dict[str, Any]:
    """Return it as JSON, with its sentences as ``tell`` says them."""
    said = {"said": tell(found.said), "compared": tell(found.compared)}
    return {**found.answer(), **said, "notes": [tell(note) for note in found.notes]}


def table_of(found: Fitted) -> Sequence[str]:
    """Return the held-out table in lines for a terminal, the least drift first."""

    def number(share: float | None) -> str:
        return "     –" if share is None else f"{share:6.3f}"

    rows = sorted(found.ways, key=lambda one: one.held.drift)
    shares = [(one.name, *map(number, found.shares(one))) for one in rows]
    return [f"{name:>16}  subject {subject}  drift {drift}" for name, subject, drift in shares]
