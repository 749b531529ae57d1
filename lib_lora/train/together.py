"""Several processes that train one LoRA: each takes its rows of every batch, and the gradients are added up.

PyTorch's own engine does the rest: ``torchrun`` starts the processes and tells each its number. Everything random is
drawn for the whole batch, so that two processes see what one would see, and their sums are its gradients.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib_lora.errors import AtelierError, InputError
from lib_lora.progress import Progress
from lib_lora.sentences import say

PATIENCE = timedelta(minutes=30)
"""How long one process waits for another: the slowest may still be loading its model."""
ALIVE = 60.0
"""Seconds after which the first process, which draws and encodes alone at the start, lets the others know of itself."""


@dataclass
class Team:
    """The processes of a run, as one of them sees it.

    Attributes:
        rank: its number; the first one writes the run's folder.
        size: how many there are.
        wish: whether this process was asked to stop.
        agreed: whether all have heard that one of them was; they stop after the same step.
    """

    rank: int = 0
    size: int = 1
    wish: bool = False
    agreed: bool = False

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self.size == 1

    def rows(self, count: int) -> slice:
        """Return the rows of a batch of ``count`` that are this process's; none where there are too few."""
        each, rest = divmod(count, self.size)
        first = self.rank * each + min(self.rank, rest)
        return slice(first, first + each + (self.rank < rest))

    def add_up(self, parameters: Sequence[Tensor], loss: Tensor) -> Tensor:
        """Add up the gradients of all processes in place, and return the sum of their losses.

        One message for everything: the gradients, which of them there are, the loss, and whether somebody wants to
        stop. A parameter that no process has a gradient of keeps none.

        Raises:
            AtelierError: another process is gone.
        """
        if self.alone:
            return loss
        import torch.distributed as dist

        there = [float(parameter.grad is not None) for parameter in parameters]
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        told = torch.tensor([*there, float(self.wish)], device=loss.device)
        message = torch.cat([*(grad.float().flatten() for grad in grads), told, loss.detach().float().reshape(1)])
        try:
            dist.all_reduce(message)
        except RuntimeError as error:
            raise LostError from error
        start = 0
        for parameter, grad in zip(parameters, grads, strict=True):
            grad.copy_(message[start : start + grad.numel()].reshape(grad.shape))
            start += grad.numel()
            parameter.grad = grad
        *there, wish, total = message[start:].tolist()
        for parameter, count in zip(parameters, there, strict=True):
            if not count:
                parameter.grad = None
        self.agreed = self.agreed or wish > 0
        return loss.new_tensor(total)

    def told_by_first(self, text: str) -> str:
        """Return what the first process says; ``text`` is what it says.

        Raises:
            AtelierError: it is gone.
        """
        import torch.distributed as dist

        said: list[Any] = [text]
        try:
            dist.broadcast_object_list(said, src=0)
        except RuntimeError as error:
            raise LostError from error
        return str(said[0])

    def told_when_ready(self) -> str:
        """Return what the first process says when it is ready, however long that takes; see `Awaited`.

        Raises:
            AtelierError: it is gone.
        """
        while not (said := self.told_by_first("")):
            pass
        return said


class LostError(AtelierError):
    """A process hears no more from another one."""

    def __init__(self) -> None:
        super().__init__(
            say("Another process of the training is gone"),
            where="torchrun",
            cure=say("Look at what it said last, and resume the run in the same way: the state is kept."),
        )


def join(environment: Mapping[str, str] = os.environ) -> Team:
    """Return the team that ``torchrun`` started this process in; a team of one where nobody did.

    Raises:
        InputError: this torch cannot work together.
    """
    size = int(environment.get("WORLD_SIZE", "1"))
    if size < 2 or "RANK" not in environment:
        return Team()
    import torch.distributed as dist

    if not dist.is_available():
        raise InputError("This torch cannot train in several processes", where="torchrun", cure="Start it alone.")
    if not dist.is_initialized():
        # gloo carries the numbers of a GPU too, by way of main memory: a LoRA's gradients are few.
        dist.init_process_group("gloo", timeout=PATIENCE)
    return Team(int(environment["RANK"]), size)


def device_for(wish: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the device of this process: where each machine has several GPUs and none was named, one for each."""
    if wish != "auto" or "LOCAL_RANK" not in environment or not torch.cuda.is_available():
        return wish
    return f"cuda:{int(environment['LOCAL_RANK']) % torch.cuda.device_count()}"


class Awaited(Progress):
    """The progress of the first process while the others wait for it: now and then they hear that it is at work."""

    def __init__(self, own: Progress, team: Team) -> None:
        self._own, self._team, self._said = own, team, time.monotonic()

    def update(self, done: int, total: int, text: str = "") -> None:
        """Show how far it is.

        Raises:
            AtelierError: another process is gone.
        """
        self._own.update(done, total, text)
        if time.monotonic() - self._said >= ALIVE:
            self._team.told_by_first("")
            self._said = time.monotonic()

    def stop(self) -> None:
        """Ask it to stop."""
        self._own.stop()

    @property
    def stopped(self) -> bool:
        """Whether somebody asked to."""
        return self._own.stopped


class TeamProgress(Progress):
    """The progress of one process: a wish to stop becomes the team's, and acts when all have heard it."""

    def __init__(self, own: Progress, team: Team) -> None:
        self._own, self._team = own, team

    def update(self, done: int, total: int, text: str = "") -> None:
        """Show how far it is, and pass a wish on."""
        self._own.update(done, total, text)
        self._team.wish = self._own.stopped

    def stop(self) -> None:
        """Ask all to stop."""
        self._own.stop()

    @property
    def stopped(self) -> bool:
        """Whether all have agreed to."""
        return self._team.agreed


def shadow_of(folder: Path, place: Path) -> Path:
    """Return a copy of a run's folder in ``place`` for a process that writes nothing to the run: options and states."""
    import shutil

    def left_out(path: str, names: list[str]) -> list[str]:
        top = Path(path) == folder
        return [name for name in names if top and (name == "samples" or name.endswith(".safetensors"))]

    return Path(shutil.copytree(folder, place / folder.name, ignore=left_out))
