"""A progress channel that remembers what it was told, and can ask to stop."""

from __future__ import annotations

from lib_lora.progress import Progress


class Told(Progress):
    """Remembers every step.

    Attributes:
        steps: (done, all) in their order.
        texts: what was being done, likewise.
        stop_at: the text, or the number of calls, at which the work is asked to stop; None: never.
    """

    def __init__(self, stop_at: str | int | None = None) -> None:
        self.steps: list[tuple[int, int]] = []
        self.texts: list[str] = []
        self.stop_at = stop_at

    def update(self, done: int, total: int, text: str = "") -> None:
        self.steps.append((done, total))
        self.texts.append(text)

    @property
    def stopped(self) -> bool:
        return self.stop_at in (len(self.steps), *self.texts[-1:])
