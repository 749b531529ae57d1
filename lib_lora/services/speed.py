"""How fast this machine renders, measured on what it rendered, so that a plan can say how long it will take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lib_lora.host.request import GenerateRequest
from lib_lora.measured import Measured, number

if TYPE_CHECKING:
    from lib_lora.services.atelier import Atelier


@dataclass(frozen=True)
class Speed:
    """Seconds for a picture's step and 64×64 pixels, by model, kept in a small JSON file."""

    path: Path

    @classmethod
    def of(cls, atelier: Atelier) -> Speed:
        """Return what was measured with the host of an atelier."""
        return cls(atelier.folders.data / "speed.json")

    def record(self, model: str, request: GenerateRequest, *, side: int, pictures: int, seconds: float) -> None:
        """Note that ``pictures`` of ``request`` took ``seconds``; ``side`` is the model's own side in pixels.

        Raises:
            FileError: the disk refuses.
        """
        if pictures < 1 or seconds <= 0:
            return
        Measured(self.path).note(model, seconds / (pictures * _work(request, side)))

    def seconds(self, model: str, request: GenerateRequest, *, side: int, pictures: int) -> float | None:
        """Return how long ``pictures`` of ``request`` will take, or None where nothing was measured yet."""
        one = number(Measured(self.path).read().get(model))
        return None if one is None else one * pictures * _work(request, side)


def _work(request: GenerateRequest, side: int) -> float:
    """Return the steps × area of one picture."""
    return request.steps * (request.width or side) * (request.height or side) / 4096
