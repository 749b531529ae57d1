"""When something comes that comes every so many epochs or steps: files, samples, measurements."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lib_lora.train.options import TrainOptions


@dataclass(frozen=True)
class Every:
    """After every so many epochs, and after every so many steps; 0: not by that."""

    epochs: int
    steps: int

    def comes(self, step: int, per_epoch: int) -> bool:
        """Whether it comes after ``step`` of a run whose epochs have ``per_epoch``."""
        return any(not step % each for each in self._distances(per_epoch))

    def times(self, total: int, per_epoch: int) -> int:
        """Return how often it comes before the last of ``total`` steps is over."""
        distances, before = self._distances(per_epoch), total - 1
        both = before // math.lcm(*distances) if len(distances) == 2 else 0
        return sum(before // each for each in distances) - both

    def _distances(self, per_epoch: int) -> list[int]:
        return [each for each in (self.epochs * per_epoch, self.steps) if each]


def saves_of(options: TrainOptions) -> Every:
    """Return when a run saves a file on its way."""
    return Every(options.save_every_epochs, options.save_every_steps)


def samples_of(options: TrainOptions) -> Every:
    """Return when a run renders its samples on its way: as its options say, else with the files."""
    own = Every(options.sample_every_epochs, options.sample_every_steps)
    return own if own.epochs or own.steps else saves_of(options)
