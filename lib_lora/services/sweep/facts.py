"""What a run of a sweep came to, out of its folder: the numbers that every training records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib_lora.errors import AtelierError
from lib_lora.services.jobs.job import DONE
from lib_lora.services.jobs.run_log import RunLogs
from lib_lora.services.jobs.run_state import RunView, read_status
from lib_lora.train.run_folder import RunFolder

NOT_BEGUN = "none"
"""The state of a run that is not there yet, or not any more."""


@dataclass(frozen=True)
class RunFacts:
    """One run of a sweep.

    Attributes:
        run: its name.
        values: the options that are its own.
        state: as in `RunView`, or `NOT_BEGUN`.
        steps, total: how far it is.
        loss: the running mean at its end.
        before, steady: the steady loss before the first step and at the end.
        held_before, held: the same of held-out pictures.
        drift: a share of the size of the model's answers.
        seconds: that it trained.
        bytes: of its file.
        error: why it failed.
    """

    run: str
    values: Mapping[str, Any]
    state: str = NOT_BEGUN
    steps: int = 0
    total: int = 0
    loss: float | None = None
    before: float | None = None
    steady: float | None = None
    held_before: float | None = None
    held: float | None = None
    drift: float | None = None
    seconds: float | None = None
    bytes: int | None = None
    error: AtelierError | None = None

    @property
    def finished(self) -> bool:
        """Whether its LoRA is there, whole."""
        return self.state == DONE

    def numbers(self) -> dict[str, Any]:
        """Return the facts as plain values; what is not known is None."""
        losses = ("loss", "before", "steady", "held_before", "held", "drift")
        return {name: getattr(self, name) for name in ("state", "steps", "total", *losses, "seconds", "bytes")}


def run_facts(run: str, values: Mapping[str, Any], folder: Path, view: RunView | None) -> RunFacts:
    """Return the facts of a run; ``view`` is None where there is no such run."""
    if view is None:
        return RunFacts(run, values)
    rows, measured = RunLogs().rows(folder), RunFolder(folder).measures()
    last = measured[-1] if measured else {}
    first = measured[0] if measured and measured[0].get("step") == 0 else {}
    lora = folder / f"{run}.safetensors"
    seconds = read_status(folder).get("seconds")
    return RunFacts(
        run,
        values,
        view.state,
        rows[-1][0] if rows else view.step,
        view.total,
        rows[-1][2] if rows else None,
        first.get("steady"),
        last.get("steady"),
        first.get("held"),
        last.get("held"),
        last.get("drift"),
        float(seconds) if isinstance(seconds, int | float) and seconds else None,
        lora.stat().st_size if lora.is_file() else None,
        view.error,
    )
