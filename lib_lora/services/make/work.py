"""What a step of an order works with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_lora.host.base import Host
from lib_lora.services.make.costs import Costs
from lib_lora.services.make.record import Make
from lib_lora.services.regularization import SPEED
from lib_lora.services.speed import Speed


@dataclass(frozen=True)
class Work:
    """An order with the host that carries it out.

    Attributes:
        make: the order, with the results of the steps before.
        host: who renders and trains.
        loras: the folder of the host in which finished files are found.
        speed: what is remembered of this machine's speed.
    """

    make: Make
    host: Host
    loras: Path
    speed: Speed | None = None

    @property
    def options(self) -> Any:
        """What was ordered."""
        return self.make.options

    @property
    def costs(self) -> Costs:
        """What steps took on this machine."""
        return Costs.beside(self.speed.path if self.speed is not None else self.runs / SPEED)

    @property
    def runs(self) -> Path:
        """The folder of runs."""
        return self.make.folder.parent

    @property
    def train_folder(self) -> Path:
        """The pictures that are trained."""
        return self.make.folder / "pictures" / "train"

    @property
    def held_folder(self) -> Path:
        """The pictures that no training sees."""
        return self.make.folder / "pictures" / "held"

    def result(self, step: str) -> Mapping[str, Any]:
        """Return what an earlier step came to."""
        return self.make.results[step]
