"""install.py: only what is missing, never with dependencies, never an end to the WebUI's start."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import install

ABSENT = {"lora_atelier_absent_one": "absent-one==1.0", "lora_atelier_absent_two": "absent-two==2.0"}


class PretendedLaunch(ModuleType):
    """The host's module `launch`, which notes what its pip is asked for and may refuse."""

    def __init__(self, refuse: str = "") -> None:
        super().__init__("launch")
        self.__spec__ = __spec__
        self.asked: list[str] = []
        self.refuse = refuse

    def run_pip(self, command: str, desc: str) -> None:
        self.asked.append(command)
        if self.refuse:
            raise RuntimeError(self.refuse)


def test_present_packages_are_never_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    launch = PretendedLaunch()
    monkeypatch.setitem(sys.modules, "launch", launch)
    assert install.install_missing({"json": "json==0", "logging": "logging==0"}) == []
    assert launch.asked == []


def test_missing_packages_come_through_the_host_without_dependencies(monkeypatch: pytest.MonkeyPatch) -> None:
    launch = PretendedLaunch()
    monkeypatch.setitem(sys.modules, "launch", launch)
    assert install.install_missing(ABSENT) == []
    assert launch.asked == ["install --no-deps absent-one==1.0", "install --no-deps absent-two==2.0"]


def test_failure_is_one_sentence_each_and_the_next_package_is_tried(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    launch = PretendedLaunch(refuse="Couldn't install.\nERROR: No matching distribution.\n[notice] a new pip")
    monkeypatch.setitem(sys.modules, "launch", launch)
    with caplog.at_level(logging.WARNING):
        assert install.install_missing(ABSENT) == list(ABSENT.values())
    assert len(caplog.messages) == 2
    assert (
        "absent-one==1.0 could not be installed: No matching distribution. Everything else works" in caplog.messages[0]
    )
    assert all("\n" not in message for message in caplog.messages)


@pytest.mark.parametrize("reason", ["", "   \n"])
def test_failure_without_a_word_still_names_its_kind(reason: str) -> None:
    assert install.reason_of(RuntimeError(reason)) == "RuntimeError"


def test_without_a_host_pip_runs_as_a_process_of_this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def pretended(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pretended)
    assert install.install_missing(ABSENT) == []
    assert [command[:5] for command in commands] == [[sys.executable, "-m", "pip", "install", "--no-deps"]] * 2


def test_script_without_network_ends_with_success(tmp_path: Path) -> None:
    """Started as the WebUI does, with a `launch` whose pip always fails and none of the optimizers in sight."""
    (tmp_path / "launch.py").write_text("def run_pip(command, desc):\n    raise RuntimeError('no network')\n")
    command = [sys.executable, "-S", install.__file__]
    result = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True)
    assert result.returncode == 0
    assert result.stdout.count("could not be installed: no network") == len(install.OPTIMIZERS)
    assert result.stderr == ""
