"""A process that makes one step for each line that it reads, and answers with loss, seconds and memory.

Both sides live at the same time and take turns, so that whatever else the machine does slows both alike. This file
imports nothing but Python's own modules: the reference's interpreter has other packages than ours.
"""

from __future__ import annotations

import contextlib
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
    """Prepare the case of the folder that the command line names, then make a step for every line that comes in.

    What else is printed goes to the error stream.
    """
    answers, folder = sys.stdout, Path(sys.argv[1])
    case = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    with contextlib.redirect_stdout(sys.stderr):
        before = memory("VmRSS")  # Python and its libraries
        step = prepare(folder, case)
        print(json.dumps({"ready": True}), file=answers, flush=True)
        for line in sys.stdin:
            began = time.perf_counter()
            loss = step(int(line))
            seconds = time.perf_counter() - began
            row = {"loss": loss, "seconds": seconds, "memory": peak(before)}
            print(json.dumps(row), file=answers, flush=True)


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
    """One side of a comparison: a child process."""

    def __init__(self, python: str, module: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [python, "-m", module, *arguments], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._read()  # until it is ready

    def step(self, number: int) -> dict[str, float]:
        """Make the step of a number and return its row."""
        if self._process.stdin is None:
            raise RuntimeError("the process has no input")
        print(number, file=self._process.stdin, flush=True)
        return self._read()

    def _read(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise RuntimeError(f"a side ended with code {self._process.wait()}; its own words stand above")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()
