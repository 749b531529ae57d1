"""What the measured numbers of a run say: its best file by a rule, and why it went wrong, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lib_lora.sentences import Sentence, say

Row = Mapping[str, Any]
ENOUGH = 0.98
"""Of all that a run learned, so much is as good as all: later files only change the model more."""
LITTLE = 0.01
"""A fall of the steady loss by less, as a share of what it was, is next to nothing; measured runs fall by 5 to 40 %."""
WORSE = 0.3
"""So much of what was learned is lost again where a run went wrong: noise of the steps is a few hundredths of it."""
BY_HEART = 0.02
"""A rise of the held-out loss over its least value that is no accident."""
STILL = 0.002
"""A picture whose loss falls by less, as a share, over two measurements has stopped teaching."""
FEWEST = 4
"""Measurements before a picture is said to have stopped."""


def best_row(rows: Sequence[Row]) -> Row | None:
    """Return the measurement of the best file; None where none is better than no LoRA at all.

    With held-out pictures that of their least loss; else the earliest that has `ENOUGH` of what the run learned.
    """
    if len(rows) < 2:
        return None
    first, later = rows[0], rows[1:]
    key = "held" if all(row.get("held") is not None for row in rows) else "steady"
    least = min(later, key=lambda row: row[key])
    gain = first[key] - least[key]
    if gain <= 0:
        return None
    if key == "held":
        return least
    return next(row for row in later if first[key] - row[key] >= ENOUGH * gain)


def best_file(row: Row, file: str) -> Sentence:
    """Say which file is the best, and by which rule."""
    if row.get("held") is not None:
        return say("best file so far: {file} (least loss on the held-out pictures)", file=file)
    return say("best file so far: {file} (the earliest that holds 98 % of what was learned)", file=file)


def course(rows: Sequence[Row], total: int) -> Sentence:
    """Say how a run goes, in numbers and, where it goes wrong, why."""
    first, now = rows[0], rows[-1]
    numbers = say(
        "steady loss {now:.4f} (before the training {first:.4f}), drift {drift} %",
        now=now["steady"],
        first=first["steady"],
        drift=f"{100 * now['drift']:.1f}",
    )
    why = _why(rows, total)
    return numbers if why is None else say("{numbers}: {why}", numbers=numbers, why=why)


def _why(rows: Sequence[Row], total: int) -> Sentence | None:
    first, now = rows[0], rows[-1]
    if len(rows) < 2:
        return None
    least = min(rows, key=lambda row: row["steady"])
    gain = first["steady"] - least["steady"]
    if now["steady"] > first["steady"] * (1 + LITTLE):
        return say("the model knows the pictures worse than before, so the learning rate is far too high")
    if gain > 0 and now["steady"] > least["steady"] + WORSE * gain:
        return say("it gets worse since step {n}, so the learning rate is too high", n=least["step"])
    if gain < LITTLE * first["steady"]:
        if 2 * now["step"] < total:
            return None
        return say("next to nothing was learned: give a higher learning rate or alpha, or more steps")
    return _by_heart(rows) or _drifting(rows)


def _by_heart(rows: Sequence[Row]) -> Sentence | None:
    now = rows[-1]
    if any(row.get("held") is None for row in rows):
        return None
    least = min(rows, key=lambda row: row["held"])
    if now["held"] <= least["held"] * (1 + BY_HEART):
        return None
    return say(
        "since step {n} it learns the pictures by heart, and those that are held out get worse: fewer steps are enough",
        n=least["step"],
    )


def _drifting(rows: Sequence[Row]) -> Sentence | None:
    best, now = best_row(rows), rows[-1]
    if best is None or now["drift"] <= 2 * best["drift"]:
        return None
    return say("since step {n} it changes mostly what it should leave alone: fewer steps are enough", n=best["step"])


def stopped_teaching(rows: Sequence[Row]) -> list[str]:
    """Return the pictures that taught nothing over the last two measurements while others did."""
    if len(rows) < FEWEST or rows[-1]["steady"] >= rows[-3]["steady"] * (1 - STILL):
        return []
    now, before = rows[-1]["pictures"], rows[:-2]
    return sorted(
        name
        for name, loss in now.items()
        if min(loss, rows[-2]["pictures"].get(name, loss))
        > (1 - STILL) * min(row["pictures"].get(name, loss) for row in before)
    )
