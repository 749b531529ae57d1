"""Programs started quickly: forked from a process that has imported what takes seconds, and has started nothing.

On Linux every process of the suite keeps one such server, made when it is first asked; elsewhere nothing is forked.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CAN_FORK = sys.platform == "linux"
HEAVY = ["diffusers", "lib_lora.cli.main", "lib_lora.host.studio", "lib_lora.ui.app"]
"""Gradio comes with the panels, which prepare for an older one: alone that fails to be imported, and leaves parts."""


@dataclass
class Forked:
    """A program that runs, or ran: what it says stands in two files."""

    process: Any
    output: Path
    errors: Path

    def stop(self, number: int = signal.SIGINT, *, seconds: float = 60) -> int:
        """Send it a signal and return its exit code; it is killed where it does not end in time."""
        if self.process.is_alive():
            os.kill(self.process.pid, number)
        return self.wait(seconds)

    def wait(self, seconds: float = 300) -> int:
        """Return its exit code, negative for a signal."""
        self.process.join(seconds)
        if self.process.is_alive():
            self.process.kill()
            raise TimeoutError(f"it did not end: {self.errors.read_text(encoding='utf-8')[-2000:]}")
        return self.process.exitcode

    def first_line(self, seconds: float = 600) -> str:
        """Return the first line that it prints; "" where it ends without one."""
        return _first_line(self.output, self.process.is_alive, seconds)


def start(program: Callable[..., Any], given: Sequence[Any], *, cwd: Path, said: Path) -> Forked:
    """Start a function of a module of the tests; what it returns is its exit code.

    Args:
        program: imported by the new process, like any other of its module.
        given: its arguments.
        cwd: where it works.
        said: a file of this name, with ``.out`` and ``.err``, takes what it prints.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(HEAVY)
    files = said.with_name(f"{said.name}.out"), said.with_name(f"{said.name}.err")
    for path in files:
        path.write_text("", encoding="utf-8")
    process = context.Process(target=_begin, args=(program, given, cwd, files), daemon=True)
    process.start()
    return Forked(process, *files)


@dataclass
class Spawned:
    """The same by a Python of its own, which imports everything again."""

    process: subprocess.Popen[bytes]
    output: Path
    errors: Path

    def stop(self, number: int = signal.SIGINT, *, seconds: float = 60) -> int:
        """Send it a signal and return its exit code; it is killed where it does not end in time."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def first_line(self, seconds: float = 600) -> str:
        """Return the first line that it prints; "" where it ends without one."""
        return _first_line(self.output, lambda: self.process.poll() is None, seconds)


def forked(name: str, arguments: Sequence[str], *, cwd: Path, said: Path) -> Forked:
    """Start ``python -m NAME ARGUMENTS`` with what it needs imported already."""
    return start(module, (name, arguments), cwd=cwd, said=said)


def spawned(name: str, arguments: Sequence[str], *, cwd: Path, said: Path) -> Spawned:
    """Start ``python -m NAME ARGUMENTS``."""
    files = said.with_name(f"{said.name}.out"), said.with_name(f"{said.name}.err")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    with files[0].open("wb") as output, files[1].open("wb") as errors:
        command = [sys.executable, "-m", name, *arguments]
        process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=output, stderr=errors)
    return Spawned(process, *files)


def _first_line(output: Path, alive: Callable[[], bool], seconds: float) -> str:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        lives, text = alive(), output.read_text(encoding="utf-8")
        if "\n" in text or not lives:
            return text.partition("\n")[0]
        time.sleep(0.05)
    return ""


def _begin(program: Callable[..., Any], given: Sequence[Any], cwd: Path, files: tuple[Path, Path]) -> None:
    os.chdir(cwd)
    for number, path in enumerate(files, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
    sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, encoding="utf-8", closefd=False) for n in (1, 2))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.exit(program(*given))


def module(name: str, arguments: Sequence[str]) -> int:
    """What ``python -m NAME ARGUMENTS`` does."""
    sys.argv = [name, *arguments]
    return _run(lambda: runpy.run_module(name, run_name="__main__", alter_sys=True))


def script(path: Path, arguments: Sequence[str]) -> int:
    """What ``python PATH ARGUMENTS`` does from any folder: it must find what it imports of the project itself."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("lib_lora", "bench", "tests", "tools")]:
        del sys.modules[name]
    sys.path[:] = [str(path.parent), *(place for place in sys.path if place and Path(place).resolve() != ROOT)]
    sys.argv = [str(path), *arguments]
    return _run(lambda: runpy.run_path(str(path), run_name="__main__"))


def _run(program: Callable[[], Any]) -> int:
    try:
        program()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0
