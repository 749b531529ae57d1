"""Servers in a test: what works in the background ends with the test, and until then it can be waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lib_lora.cli.studio import finish
from lib_lora.host.base import Host
from lib_lora.services.atelier import Atelier, Folders
from lib_lora.services.jobs.training import Trainings


@contextmanager
def running_atelier(host: Host, data: Path) -> Iterator[Atelier]:
    """Give a server's work over a data folder of its own."""
    with ending(Atelier(host, Folders.under(data))) as made:
        yield made


@contextmanager
def ending(atelier: Atelier) -> Iterator[Atelier]:
    """Let the work of a server end with the test: a run that goes on changes the model that other tests share."""
    try:
        yield atelier
    finally:
        finish(atelier)


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
