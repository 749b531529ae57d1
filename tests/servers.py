"""Servers in a test: what works in the background ends with the test, and until then it can be waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lib_lora.host.base import Host
from lib_lora.services.atelier import Atelier, Folders
from lib_lora.services.jobs.training import Trainings


@contextmanager
def running_atelier(host: Host, data: Path) -> Iterator[Atelier]:
    """Give a server's work over a data folder of its own."""
    made = Atelier(host, Folders.under(data))
    try:
        yield made
    finally:
        end(made.trainings)


def end(trainings: Trainings) -> None:
    """Stop what trains and close the queue."""
    for view in trainings.queue():
        if view.state == "running":
            trainings.stop(view.name)
    trainings.close(20)


def wait_until(what: Callable[[], Any], seconds: float = 180.0) -> Any:
    """Wait until something is true, and return it."""
    until = time.monotonic() + seconds
    while not what() and time.monotonic() < until:
        time.sleep(0.01)
    assert what()
    return what()
