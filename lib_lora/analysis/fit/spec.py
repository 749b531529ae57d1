"""What is wanted of a search for block weights, where it stands, and what it found."""

from __future__ import annotations

from dataclasses import dataclass

from lib_lora.analysis.fit.window import WHOLE, Window
from lib_lora.errors import InputError
from lib_lora.sentences import say


@dataclass(frozen=True)
class FitSpec:
    """What is wanted.

    Attributes:
        keep: the share of what the LoRA has learned of the subject that must stay, 0 to 1.
        low, high: bounds of each weight.
        rounds: how often the quadratics are taken anew.
        halves: whether only 0, 0.5 and 1 are wanted.
        clip_skip: as for pictures.
        chunk: settings in a batch.
        parts: into how many parts sampling is cut to look for the steps in which the LoRA acts; 1: it acts in all.
    """

    keep: float = 0.97
    low: float = 0.0
    high: float = 1.0
    rounds: int = 3
    halves: bool = False
    clip_skip: int = 1
    chunk: int = 16
    parts: int = 1

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise InputError(
                "The lowest weight is not below the highest",
                where="low",
                cure=say("For example {low} and {high}.", low=0, high=1),
            )


@dataclass(frozen=True)
class Losses:
    """The subject's loss and the drift of one setting."""

    subject: float
    drift: float


@dataclass(frozen=True)
class State:
    """Where a search stands: the points that were found so far, a number a block, each with its window: first and last.

    It can be kept and gone on with.
    """

    points: tuple[dict[str, float], ...] = ()
    windows: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class FitResult:
    """What was found.

    Attributes:
        weights: block to number, of the blocks that the file has.
        before, plain, found: losses without the LoRA, with it at 1, and with the weights, on what was learned from.
        allowed: the limit of the subject's loss.
        calls: samples that the model predicted.
        window: the steps in which the LoRA acts.
    """

    weights: dict[str, float]
    before: Losses
    plain: Losses
    found: Losses
    allowed: float
    calls: int
    window: Window = WHOLE

    @property
    def kept(self) -> float:
        """The share of what was learned of the subject that stays."""
        return kept_share(self.before, self.plain, self.found)


def kept_share(before: Losses, plain: Losses, found: Losses) -> float:
    """Return which share of the subject's gain (from no LoRA to all of it) a setting keeps."""
    gain = before.subject - plain.subject
    return (before.subject - found.subject) / gain if gain > 0 else float("nan")
