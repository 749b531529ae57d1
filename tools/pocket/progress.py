"""A training whose length is a time: what it needs to go on is saved every few minutes."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

SAVE_EVERY, LOG_EVERY = 240.0, 100  # seconds, steps


class Average:
    """Exponential moving average of a module's state."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.values = {name: value.detach().clone() for name, value in module.state_dict().items()}

    def update(self, decay: float) -> None:
        """Move every number a share of ``1 - decay`` towards its present value."""
        pairs = [(self.values[name], value) for name, value in self.module.state_dict().items()]
        floats = [(kept, value) for kept, value in pairs if kept.is_floating_point()]
        torch._foreach_lerp_([kept for kept, _ in floats], [value for _, value in floats], 1 - decay)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averages."""
        return self.values

    def load_state_dict(self, values: dict[str, Tensor]) -> None:
        """Take over saved averages."""
        for name, value in values.items():
            self.values[name].copy_(value)


@dataclass
class Training:
    """A training of ``minutes`` in all, of which ``used`` are over; ``parts`` are saved whole."""

    path: Path
    parts: dict[str, Any]
    minutes: float
    used: float = 0.0
    step: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    clock: Callable[[], float] = time.monotonic

    def load(self) -> bool:
        """Go on from what was saved; return whether there was anything."""
        if not self.path.exists():
            return False
        saved = torch.load(self.path, weights_only=True, map_location="cpu")
        for name, part in self.parts.items():
            part.load_state_dict(saved[name])
        self.used, self.step, self.log = saved["used"], saved["step"], saved["log"]
        return True

    def save(self) -> None:
        """Save everything; a state is never half written."""
        saved = {name: part.state_dict() for name, part in self.parts.items()}
        draft = self.path.with_suffix(".tmp")
        torch.save(saved | {"used": self.used, "step": self.step, "log": self.log}, draft)
        draft.replace(self.path)

    def steps(self) -> Iterator[float]:
        """Yield how much of the time is over, 0 to 1, once for every step; save now and then and in the end."""
        began = self.clock() - 60 * self.used
        saved_at = time.monotonic()
        while self.used < self.minutes:
            yield self.used / self.minutes
            self.step += 1
            self.used = (self.clock() - began) / 60
            if self.step % LOG_EVERY == 0:
                self._log()
            if time.monotonic() - saved_at > SAVE_EVERY:
                self.save()
                saved_at = time.monotonic()
        self.save()

    def _log(self) -> None:
        row = {
            "step": self.step,
            "minutes": round(self.used, 2),
            "loss": round(torch.stack(self.losses).mean().item(), 4),
        }
        self.losses.clear()
        self.log.append(row)
        print(self.path.stem, json.dumps(row), flush=True)


def quiet_seconds() -> float:
    """Return the processor time of this process, a thread: time that other work takes away does not count.

    On a CPU a training's minutes are measured by it, so that it may learn in the background.
    """
    return time.process_time() / torch.get_num_threads()


def clock_of(device: torch.device) -> Callable[[], float]:
    """Return the clock of a training's minutes."""
    return quiet_seconds if device.type == "cpu" else time.monotonic


def rate(peak: float, step: int, done: float) -> float:
    """Return the learning rate: warmup over 200 steps, then a cosine over the time, down to 1 %."""
    return peak * min(1.0, (step + 1) / 200) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def autocast(device: torch.device) -> torch.autocast:
    """Return bf16 autocast: on a GPU, and on a CPU, where it pays as well."""
    return torch.autocast(device.type, torch.bfloat16)
