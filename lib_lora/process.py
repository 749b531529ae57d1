"""How a process of our own computes on the CPU: the same bits every time, and calm beside other work.

`os.environ.update(unset())` stands before the first import of torch in the terminal, the tests and the benches. In a
WebUI the process is the host's and nothing here runs: a resumed run equals one that went through within rounding.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

WANTED: Mapping[str, str] = {
    # MKL chooses its way by the alignment of memory, which differs from call to call; AUTO keeps to one way.
    "MKL_CBWR": "AUTO",
    # OpenMP's threads wait for each other by spinning; beside other work they keep each other from their cores.
    "OMP_WAIT_POLICY": "PASSIVE",
}
"""Variables that the libraries under torch read once, when they are loaded, and what they are set to."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
SMALL_THREADS = 4
"""A small model's layers are too short to share among more, or among all cores: its threads would mostly wait.

On two quiet cores a training step of the pocket model took 1.1 s with one thread and 2.0 s with two that sleep while
they wait (0.9 s with two that spin, which all but stop beside other work: `bench/threads.py`).
"""
T = TypeVar("T")
QUOTA = Path("/sys/fs/cgroup/cpu.max")


def command() -> str:
    """Return what is typed to start this program on a terminal: another word where it is installed as a package."""
    return "lora-atelier" if Path(sys.argv[0]).stem == "lora-atelier" else "python run.py"


def unset(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables that the user did not set (an empty one is set too), with the values they get."""
    return {name: value for name, value in WANTED.items() if name not in environ}


def same_bits(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether one computation gives the same bits every time here, as far as MKL is concerned."""
    return bool(environ.get("MKL_CBWR"))


def cores(quota: Path = QUOTA) -> int:
    """Return the processor cores that this process may really use: physical ones, allowed ones, within its quota."""
    import psutil

    counts = [psutil.cpu_count(logical=False) or os.cpu_count() or 1]
    if hasattr(os, "sched_getaffinity"):
        counts.append(len(os.sched_getaffinity(0)))
    try:
        share, period = quota.read_text(encoding="ascii").split()
        counts.append(math.ceil(int(share) / int(period)))
    except (OSError, ValueError):  # no control group (not Linux, not in a container), or “max”: no limit
        counts.append(counts[0])
    return max(1, min(counts))


def use_threads(*, small: bool, environ: Mapping[str, str] = os.environ) -> int:
    """Lower torch's number of threads to what suits a small model or any other, where the user set none; return it."""
    import torch

    if not any(environ.get(name) for name in THREADS):
        wanted = max(1, min(cores() // 2, SMALL_THREADS)) if small else cores()
        torch.set_num_threads(min(wanted, torch.get_num_threads()))
    return torch.get_num_threads()


def at_once(environ: Mapping[str, str] = os.environ) -> int:
    """Return how many computations with torch's threads the cores have room for; 1 where the user set the threads."""
    import torch

    return 1 if any(environ.get(name) for name in THREADS) else max(1, cores() // torch.get_num_threads())


def side_by_side(work: Sequence[Callable[[], T]]) -> list[T]:
    """Return what each piece of work makes, in as many threads as there is room for (`at_once`).

    Gradients are recorded where they are for the caller. All pieces are done when this returns: none is left behind by
    another's error.
    """
    import torch

    room = min(at_once(), len(work))
    if room < 2:
        return [each() for each in work]
    recorded = torch.is_grad_enabled()

    def done(each: Callable[[], T]) -> T:
        with torch.set_grad_enabled(recorded):
            return each()

    begun = [_threads(room).submit(done, each) for each in work]
    try:
        return [each.result() for each in begun]
    finally:
        wait(begun)


@cache
def _threads(count: int) -> Executor:
    return ThreadPoolExecutor(count, thread_name_prefix="side by side")


def return_freed() -> None:
    """Return memory that is free to the system, where the C library can be asked to (glibc)."""
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library
        return None
