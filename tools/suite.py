"""The tests: `python run.py test [ARGS]`, several at a time where whole folders run.

ARGS go to pytest. Without a path among them the suite is shared out, file by file, among one process more than the
machine has cores (a test that clicks waits for its page), as far as its memory carries, each with one thread for
PyTorch (OMP_NUM_THREADS says otherwise); ``-n 0`` runs one test after another.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil
import pytest

WORKER_BYTES = 4 * 2**30
"""Memory that a process with the pocket model, gradio and a browser's tests needs at most, rounded up."""


def workers(cores: int, memory: int) -> int:
    """Return how many processes share the suite, given the machine's cores and its bytes of free memory."""
    return max(1, min(cores + 1, memory // WORKER_BYTES))


def named(root: Path, arguments: list[str]) -> bool:
    """Whether some of pytest's arguments are paths of tests."""
    return any((root / argument.split("::")[0]).exists() for argument in arguments if not argument.startswith("-"))


def sharing(arguments: list[str], count: int) -> list[str]:
    """Return pytest's options for ``count`` processes; none where there is one, or ``arguments`` say how many."""
    if count < 2 or any(argument.startswith(("-n", "--numprocesses", "--pdb")) for argument in arguments):
        return []
    # In the order of the folders: sorted by their number of tests, as is usual, the few longest would come last.
    return ["-n", str(count), "--dist", "loadfile", "--no-loadscope-reorder"]


def variables(options: list[str]) -> dict[str, str]:
    """Return the environment variables to add for these options: processes that share a machine take a core each."""
    return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")} if options else {}


def processes() -> int:
    """Return how many processes share the suite on this machine, now."""
    return workers(os.cpu_count() or 1, psutil.virtual_memory().available)


def main(arguments: list[str]) -> int:
    """Run the tests and return their exit code."""
    options = [] if named(Path.cwd(), arguments) else sharing(arguments, processes())
    os.environ.update(variables(options))
    return int(pytest.main([*options, *arguments]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
