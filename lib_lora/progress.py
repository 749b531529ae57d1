"""How far a work is, and the wish to stop it: one channel for terminal, job queue and host."""

from __future__ import annotations

from dataclasses import dataclass, field

from lib_lora.errors import StoppedError


class Progress:
    """A channel for progress and for the wish to stop; the plain one shows nothing and never stops."""

    def update(self, done: int, total: int, text: str = "") -> None:
        """Say that ``done`` of ``total`` steps of the present piece of work are over."""

    @property
    def stopped(self) -> bool:
        """Whether somebody asked to stop; long work looks at it at every step."""
        return False

    def stop(self) -> None:
        """Ask all the work to stop, as the host's own Interrupt button does; the plain channel has nobody to tell."""

    def passed(self, done: int, total: int, text: str = "") -> None:
        """Say how far it is, as `update` does, where the work has no result before its end.

        Raises:
            StoppedError: somebody asked to stop.
        """
        self.update(done, total, text)
        if self.stopped:
            raise StoppedError


QUIET = Progress()
"""The plain channel, where nobody looks on."""


@dataclass(frozen=True)
class SubProgress(Progress):
    """A part of longer work: told of its own steps, it tells ``whole`` where all the work stands.

    Attributes:
        whole: the channel of all the work.
        before: units of work done before this part.
        units: units of work in this part.
        total: units of all the work.
        text: what the part is called in all the work; without it what the part itself says.
    """

    whole: Progress
    before: int
    units: int
    total: int
    text: str = ""

    def update(self, done: int, total: int, text: str = "") -> None:
        """Say that ``done`` of ``total`` steps of this part are over."""
        self.whole.update(self.before + (self.units * done // total if total else 0), self.total, self.text or text)

    @property
    def stopped(self) -> bool:
        """Whether all the work is to stop."""
        return self.whole.stopped

    def stop(self) -> None:
        """Ask all the work to stop."""
        self.whole.stop()


@dataclass
class Stoppable(Progress):
    """A progress channel that another thread can stop."""

    wish: list[bool] = field(default_factory=lambda: [False])

    def stop(self) -> None:
        """Ask the work to stop at its next step."""
        self.wish[0] = True

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self.wish[0]
