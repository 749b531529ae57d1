"""Which run of a sweep is the best: the rule by which a run's best file is found (`train/verdict.py`), across runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lib_lora.sentences import Sentence, say
from lib_lora.services.sweep.facts import RunFacts
from lib_lora.train.sweep_table import values_text

ENOUGH = 0.95
"""Of the most that any run learned, so much is as good as all: runs differ by more than the files of one."""
SAME = 0.01
"""Losses before the first step that differ by a larger share come from other pictures or another way of measuring."""


@dataclass(frozen=True)
class Verdict:
    """What can be said of a sweep's runs.

    Attributes:
        run: the best one; None where none can be marked.
        text: which it is and by which rule, or why none is.
    """

    run: str | None
    text: Sentence


def verdict_of(facts: Sequence[RunFacts]) -> Verdict:
    """Return which run is the best at its end; only finished ones are judged, for only these have a picture.

    With held-out pictures that of their least loss. Else, of those that hold `ENOUGH` of the most that any learned, the
    one that drifts least: within one run the earliest file, which is the one that changes the model least.
    """
    finished = [one for one in facts if one.finished]
    judged = [one for one in finished if one.before and one.steady is not None]
    if not judged:
        return _none(say("nothing to judge by: no finished run measured its steady loss"))
    if len(judged) == 1:
        return _none(say("nothing to judge by: only one finished run measured its steady loss"))
    if not _same([one.before for one in judged]):
        return _none(say("nothing to judge by: the runs were measured on different pictures or in different ways"))
    held = all(one.held is not None for one in judged) and _same([one.held_before for one in judged])
    best = _least_held(judged) if held else _least_drift(judged)
    if best is None:
        return _none(say("no run is better than no LoRA at all"))
    values = values_text(best.values)
    if held:
        text = say("best: {values} (least loss on the held-out pictures)", values=values)
    else:
        text = say("best: {values} (least drift of those with 95 % of the most that was learned)", values=values)
    left = len(finished) - len(judged)
    if left:
        text = say("{text}; {n} {n:run was|runs were} not measured and not judged", text=text, n=left)
    return Verdict(best.run, text)


def _none(why: Sentence) -> Verdict:
    return Verdict(None, say("no run is marked as the best: {why}", why=why))


def _same(losses: Sequence[float | None]) -> bool:
    known = [loss for loss in losses if loss is not None]
    return len(known) == len(losses) and max(known) - min(known) <= SAME * max(known)


def _least_held(judged: Sequence[RunFacts]) -> RunFacts | None:
    best = min(judged, key=lambda one: (one.held or 0.0, one.drift or 0.0))
    return best if (best.held or 0.0) < (best.held_before or 0.0) else None


def _least_drift(judged: Sequence[RunFacts]) -> RunFacts | None:
    learned = {one.run: (one.before or 0.0) - (one.steady or 0.0) for one in judged}
    most = max(learned.values())
    if most <= 0:
        return None
    enough = [one for one in judged if learned[one.run] >= ENOUGH * most]
    return min(enough, key=lambda one: (one.drift or 0.0, -learned[one.run]))
