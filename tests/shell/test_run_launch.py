"""run.py's start of a command: exit codes, arguments, Ctrl-C and the current folder pass through; started for real."""

from __future__ import annotations

import io
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import run

from .conftest import PretendedPip

STUB = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # who starts the tests in the background may ignore it
try:
    print(sys.argv[1:], os.getcwd(), flush=True)
    if sys.argv[1] == "wait":
        time.sleep(20)
except KeyboardInterrupt:
    sys.exit(42)
sys.exit(int(sys.argv[2]))
"""


@pytest.fixture
def ready(project: Path, pip: PretendedPip) -> Path:
    """A project with a ready .venv, a lib_lora and a pytest that only tell how they were called."""
    shutil.copy(run.__file__, project / "run.py")
    (project / "lib_lora").mkdir()
    (project / "lib_lora" / "__main__.py").write_text(STUB, encoding="utf-8")
    (project / "pytest.py").write_text("import os, sys; print('pytest', sys.argv[1:], os.getcwd())", encoding="utf-8")
    assert run.main(["setup"], root=project) == 0
    return project


def start(ready: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ready / "run.py"), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=20)


@pytest.mark.parametrize("code", [0, 1, 2, 7])
def test_exit_code_arguments_and_folder_pass_through(ready: Path, tmp_path: Path, code: int) -> None:
    result = start(ready, "bake", str(code), "--name", "a b", cwd=tmp_path)
    assert result.returncode == code
    assert result.stdout == f"['bake', '{code}', '--name', 'a b'] {tmp_path}\n"
    assert result.stderr == ""


@pytest.mark.parametrize(("command", "tool"), [("test", "suite"), ("gradio3", "older_gradio"), ("webui-test", "webui")])
def test_commands_for_tests_run_their_tool_in_the_project(ready: Path, tmp_path: Path, command: str, tool: str) -> None:
    (ready / "tools").mkdir()
    (ready / "tools" / f"{tool}.py").write_text("import os, sys; print(sys.argv[1:], os.getcwd())", encoding="utf-8")
    first = ["gradio3"] if command == "gradio3" else []
    assert start(ready, command, "-k", "ui", cwd=tmp_path).stdout == f"{[*first, '-k', 'ui']} {ready}\n"


def test_ctrl_c_reaches_the_command_and_its_exit_code_returns(ready: Path) -> None:
    command = [sys.executable, str(ready / "run.py"), "wait"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()  # the command is up
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (42, "")


def test_ready_start_loads_little_and_only_what_python_has_itself(ready: Path) -> None:
    def loaded(*command: str) -> set[str]:
        told = subprocess.run(
            [sys.executable, "-X", "importtime", *command], check=True, capture_output=True, text=True
        )
        return {line.rpartition("|")[2].strip() for line in told.stderr.splitlines() if line.startswith("import time:")}

    more = loaded(str(ready / "run.py"), "setup") - loaded("-c", "pass")
    assert len(more) < 120  # each is a millisecond or less
    assert {name.partition(".")[0] for name in more} <= sys.stdlib_module_names


def test_python_that_does_not_start_is_a_sentence(ready: Path) -> None:
    python = run.python_of(ready / ".venv")
    python.unlink()
    python.write_bytes(b"")
    result = start(ready, "bake", "0", cwd=ready)
    assert result.returncode == 1
    assert "The Python in .venv does not start" in result.stderr
    assert f"Delete the folder {ready / '.venv'}" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("arguments", "code"), [([], 2), (["--help"], 0), (["-h"], 0)])
def test_help_before_the_set_up_installs_nothing(
    project: Path, pip: PretendedPip, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int
) -> None:
    assert run.main(arguments, root=project) == code
    assert "python run.py demo" in capsys.readouterr().out
    assert pip.calls == []


def test_progress_in_a_log_tells_only_of_long_waits() -> None:
    out = io.StringIO()
    progress = run.Progress(out)
    progress("Collecting numpy==2.4.6 (from -r run.txt)")
    progress("  Downloading numpy-2.4.6-cp311-linux.whl (16.6 MB)")
    progress("Collecting torch==2.13.0 (from -r run.txt)")
    progress("  Downloading torch-2.13.0-cp311-linux.whl (873.4 MB)")
    progress("Installing collected packages: numpy, torch")
    progress.done()
    assert out.getvalue() == "  package 2: torch, 873.4 MB\n  unpacking 2 packages (a minute or more)\n"


def test_progress_in_a_terminal_renews_one_line() -> None:
    out = io.StringIO()
    out.isatty = lambda: True  # type: ignore[method-assign]
    progress = run.Progress(out)
    progress("Collecting transformers==5 (from -r run.txt)")
    progress("Collecting regex (from transformers)")
    progress.done()
    first, second = "  package 1: transformers", "  package 2: regex"
    assert out.getvalue() == f"\r{first}\r{second.ljust(len(first))}\n"
