"""A process that makes one step for each line that it reads, and answers with loss, seconds and memory.

Both sides live at the same time and take turns, so that whatever else the machine does slows both alike. This file
imports nothing but Python's own modules: the reference's interpreter has other packages than ours.
"""

from __future__ import annotations

import contextlib
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

Step = Callable[[int], float]
"""The number of a step to its loss."""


def serve(prepare: Callable[[Path, dict[str, Any]], Step]) -> None:
    """Answer every line that comes in: a number makes that step of the present case, a folder opens another one.

    What else is printed goes to the error stream.
    """
    answers = sys.stdout
    step: Step | None = None
    before = 0
    with contextlib.redirect_stdout(sys.stderr):
        for line in sys.stdin:
            word = line.strip()
            if word.isdecimal() and step is not None:
                began = time.perf_counter()
                loss = step(int(word))
                row = {"loss": loss, "seconds": time.perf_counter() - began, "memory": peak(before)}
            else:
                step = None
                gc.collect()
                before = fresh_count()
                try:
                    step = prepare(Path(word), json.loads((Path(word) / "case.json").read_text(encoding="utf-8")))
                    row = {"ready": True}
                except Exception as error:  # a case that one side cannot make is a row of the table
                    row = {"failed": f"{type(error).__name__}: {error}"}
            print(json.dumps(row), file=answers, flush=True)


def fresh_count() -> int:
    """Begin to count the peak anew, and return the bytes of main memory that are held now."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")
    torch = sys.modules["torch"]
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    return memory("VmRSS")


def peak(before: int) -> int:
    """Return the most bytes held so far: on a GPU where torch holds something there, else above ``before``."""
    torch = sys.modules["torch"]
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return int(torch.cuda.max_memory_allocated())
    return memory("VmHWM") - before


def memory(name: str) -> int:
    """Return a number of bytes of this process's own status: ``VmRSS`` now, ``VmHWM`` at most so far."""
    with open("/proc/self/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


class Side:
    """One side of a comparison: a child process that makes the steps of one case after another."""

    def __init__(self, python: str, module: str) -> None:
        self._name = module.rpartition(".")[2]
        self._process = subprocess.Popen(
            [python, "-m", module], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def open(self, folder: str) -> None:
        """Have it prepare the case of a folder."""
        self._ask(folder)

    def step(self, number: int) -> dict[str, float]:
        """Have it make the step of a number; return its row."""
        return self._ask(str(number))

    def _ask(self, line: str) -> dict[str, Any]:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the process has no input or output")
        print(line, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self._name} ended with code {self._process.wait()}; its own words stand above")
        row = json.loads(answer)
        if "failed" in row:
            raise RuntimeError(f"{self._name}: {row['failed']}")
        return row

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
