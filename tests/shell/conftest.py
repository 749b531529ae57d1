"""A small project with run.py's rules and a pretended venv and pip, so that no test needs a network."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import run

PACKAGES = ("torch", "torch-2.13.0.dist-info", "numpy")


@dataclass
class PretendedPip:
    """Stands in for run.call: does to an environment what venv and pip would do; a test may change its answers."""

    root: Path
    calls: list[str] = field(default_factory=list)
    commands: list[list[str]] = field(default_factory=list)
    pip_code: int = 0
    pip_says: str = ""
    pip_raises: type[BaseException] | None = None

    def __call__(self, command: list[str], log: Path, lock: int, heard: Callable[[str], None]) -> int:
        self.commands.append(command)
        if "venv" in command:
            self.calls.append("venv")
            env = Path(command[-1])
            python = run.python_of(env)
            python.parent.mkdir(parents=True)
            python.symlink_to(sys.executable)
            site_packages(env).mkdir(parents=True)
            return 0
        self.calls.append("pip")
        env = Path(command[0]).parent.parent
        (site_packages(env) / PACKAGES[0]).mkdir()
        if self.pip_raises:
            raise self.pip_raises
        log.write_text("$ pip install\n" + self.pip_says, encoding="utf-8")
        if not self.pip_code:
            for name in PACKAGES[1:]:
                (site_packages(env) / name).mkdir()
        return self.pip_code


def site_packages(env: Path) -> Path:
    return env / "Lib" / "site-packages" if os.name == "nt" else env / "lib" / f"python{run.VERSION}" / "site-packages"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "requirements").mkdir(parents=True)
    (root / "requirements" / "run.txt").write_text("torch==2.13.0\nnumpy\n", encoding="utf-8")
    return root


@pytest.fixture
def pip(project: Path, monkeypatch: pytest.MonkeyPatch) -> PretendedPip:
    pretended = PretendedPip(project)
    monkeypatch.setattr(run, "call", pretended)
    return pretended
