"""run.py's set-up: once, again only when needed, never on somebody's work, never with a traceback."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import run

from .conftest import PretendedPip, site_packages


def set_up(project: Path) -> int:
    return run.main(["setup"], root=project)


def stamp(project: Path) -> dict[str, object]:
    return json.loads((project / ".venv" / run.STAMP).read_text(encoding="utf-8"))


def test_second_start_installs_nothing_again(
    project: Path, pip: PretendedPip, capsys: pytest.CaptureFixture[str]
) -> None:
    assert set_up(project) == 0
    capsys.readouterr()
    assert set_up(project) == 0
    assert pip.calls == ["venv", "pip"]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("loss", ["python", "package", "metadata", "stamp", "garbled stamp", "half a stamp"])
def test_broken_environment_is_made_again(project: Path, pip: PretendedPip, loss: str) -> None:
    set_up(project)
    env = project / ".venv"
    if loss == "python":
        run.python_of(env).unlink()
    elif loss == "package":
        shutil.rmtree(site_packages(env) / "numpy")
    elif loss == "metadata":
        shutil.rmtree(site_packages(env) / "torch-2.13.0.dist-info")
    else:
        text = {"stamp": "[]", "garbled stamp": "\0", "half a stamp": '{"state": "ready"}'}[loss]
        (env / run.STAMP).write_text(text, encoding="utf-8")
    assert set_up(project) == 0
    assert pip.calls == ["venv", "pip"] * 2
    assert run.fault(project / ".venv", run.wanted_key(project)) == ""


def test_packages_that_the_user_added_do_not_count_as_damage(project: Path, pip: PretendedPip) -> None:
    set_up(project)
    (site_packages(project / ".venv") / "matplotlib").mkdir()
    assert set_up(project) == 0
    assert pip.calls == ["venv", "pip"]


def test_killed_install_is_made_again(project: Path, pip: PretendedPip) -> None:
    pip.pip_raises = SystemExit  # the process ends in the middle of pip
    with pytest.raises(SystemExit):
        set_up(project)
    assert stamp(project)["state"] == "building"
    pip.pip_raises = None
    assert set_up(project) == 0
    assert pip.calls == ["venv", "pip"] * 2


def test_ctrl_c_during_install_is_one_calm_sentence(
    project: Path, pip: PretendedPip, capsys: pytest.CaptureFixture[str]
) -> None:
    pip.pip_raises = KeyboardInterrupt
    assert set_up(project) == 130
    assert "stopped. The next start takes it up again." in capsys.readouterr().err
    pip.pip_raises = None
    assert set_up(project) == 0


def test_changed_requirements_make_the_environment_again(project: Path, pip: PretendedPip) -> None:
    set_up(project)
    (project / "requirements" / "test.txt").write_text("pytest\n", encoding="utf-8")
    assert set_up(project) == 0
    assert pip.calls == ["venv", "pip"] * 2


def test_line_endings_of_a_checkout_do_not_change_the_key(project: Path) -> None:
    key = run.wanted_key(project)
    (project / "requirements" / "run.txt").write_bytes(b"torch==2.13.0\r\nnumpy\r\n")
    assert run.wanted_key(project) == key


def test_another_python_version_changes_the_key(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = run.wanted_key(project)
    monkeypatch.setattr(sys.implementation, "cache_tag", "cpython-999")
    assert run.wanted_key(project) != key


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
def test_foreign_venv_is_kept_aside_never_deleted(
    project: Path, pip: PretendedPip, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    env = project / ".venv"
    if kind == "folder":
        env.mkdir()
        (env / "work.txt").write_text("mine", encoding="utf-8")
    elif kind == "file":
        env.write_text("mine", encoding="utf-8")
    else:
        env.symlink_to(project / "nowhere")
    assert set_up(project) == 0
    (kept,) = project.glob(".venv-kept-*")
    assert kept.name in capsys.readouterr().err
    assert kind != "folder" or (kept / "work.txt").read_text(encoding="utf-8") == "mine"
    assert stamp(project)["state"] == "ready"


@pytest.mark.parametrize(
    ("said", "cause", "cure"),
    [
        (
            "WARNING: Retrying after connection broken by 'X'\nERROR: No matching distribution found for a",
            "reached",
            "network",
        ),
        ("ERROR: No matching distribution found for torch==2.13.0", "not offered", "64-bit Python 3.10 to 3.13"),
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            "full",
            "Free some",
        ),
        ("ERROR: [WinError 32] The process cannot access the file", "not be written", "Close other programs"),
        ("something quite new", "the reason stands in the log", "Read its end"),
    ],
)
def test_failed_install_says_what_where_and_cure(
    project: Path, pip: PretendedPip, capsys: pytest.CaptureFixture[str], said: str, cause: str, cure: str
) -> None:
    pip.pip_code, pip.pip_says = 1, said
    assert set_up(project) == 1
    text = capsys.readouterr().err
    assert "the packages could not be installed" in text
    assert cause in text
    assert cure in text
    assert str(project / run.LOG) in text
    assert said.splitlines()[-1] in text
    assert "Traceback" not in text
    assert stamp(project)["state"] == "building"


def test_missing_venv_module_names_the_debian_package(
    project: Path, pip: PretendedPip, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ensurepip" else find(name))
    assert set_up(project) == 1
    assert "sudo apt install python3-venv" in capsys.readouterr().err
    assert pip.calls == []


def test_python_inside_the_broken_venv_is_asked_to_leave_it(
    project: Path, pip: PretendedPip, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up(project)
    shutil.rmtree(site_packages(project / ".venv") / "numpy")
    monkeypatch.setattr(sys, "prefix", str(project / ".venv"))
    assert set_up(project) == 1
    assert "Type `deactivate`" in capsys.readouterr().err
    assert (site_packages(project / ".venv") / "torch").is_dir()


def test_missing_requirements_are_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert set_up(tmp_path) == 1
    assert "Get the whole project again." in capsys.readouterr().err


def test_lock_is_held_by_one_start_at_a_time(project: Path) -> None:
    second = os.open(project / ".venv.lock", os.O_RDWR | os.O_CREAT)
    with run.locked(project):
        assert not run.try_lock(second)
    assert run.try_lock(second)
    os.close(second)


def test_orphaned_pip_keeps_the_lock_until_it_ends(project: Path) -> None:
    with run.locked(project) as lock:
        orphan = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock,))
    second = os.open(project / ".venv.lock", os.O_RDWR)
    assert not run.try_lock(second)
    orphan.communicate(b"\n")
    assert run.try_lock(second)
    os.close(second)


def test_call_logs_everything_and_hands_on_each_line(project: Path) -> None:
    heard: list[str] = []
    log = project / run.LOG
    with run.locked(project) as lock:
        code = run.call([sys.executable, "-c", "print('one'); print('two'); exit(3)"], log, lock, heard.append)
    assert (code, heard) == (3, ["one", "two"])
    assert log.read_text(encoding="utf-8").splitlines()[1:] == ["one", "two"]


def test_environment_of_another_python_does_not_leak_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setenv("PYTHONHOME", "elsewhere")
    monkeypatch.setenv("PIP_USER", "1")
    env = run.child_env()
    assert "PYTHONPATH" not in env
    assert "PYTHONHOME" not in env
    assert env["PIP_USER"] == "0"
