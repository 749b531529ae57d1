"""tools/webui.py: the folder of a WebUI, its Python and a checkpoint reach the live tests; wrong paths are said."""

from __future__ import annotations

from pathlib import Path

import pytest

import run
from tools import webui


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, list[str], dict[str, str]]]:
    """What run.become was asked for, instead of becoming it."""
    found: list[tuple[Path, list[str], dict[str, str]]] = []
    monkeypatch.setattr(run, "become", lambda env, command, variables: found.append((env, command, variables)))
    for name in ("WEBUI_DIR", "WEBUI_PYTHON", "WEBUI_CHECKPOINT", "WEBUI_ARGS"):
        monkeypatch.delenv(name, raising=False)
    return found


@pytest.fixture
def host(tmp_path: Path) -> Path:
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / "python").write_text("")
    return tmp_path / "host"


def test_live_tests_alone_are_run_against_the_named_folder(started: list, host: Path, tmp_path: Path) -> None:
    webui.main(["--webui", str(host), "-k", "hires"], root=tmp_path)
    ((env, command, variables),) = started
    assert env == tmp_path / ".venv"
    assert command == ["-m", "pytest", "tests/webui", "-k", "hires"]
    assert variables["WEBUI_DIR"] == str(host)
    assert not {"WEBUI_PYTHON", "WEBUI_CHECKPOINT", "WEBUI_ARGS"} & set(variables)


def test_python_checkpoint_and_arguments_are_handed_on(started: list, host: Path, tmp_path: Path) -> None:
    file = str(host / "python")
    more = ["--python", file, "--checkpoint", file, "--webui-args=--always-cpu --x"]
    webui.main(["--webui", str(host), *more], root=tmp_path)
    variables = started[0][2]
    assert (variables["WEBUI_PYTHON"], variables["WEBUI_CHECKPOINT"]) == (file, file)
    assert variables["WEBUI_ARGS"] == "--always-cpu --x"


def test_relative_folder_is_meant_from_where_the_person_stood(
    started: list, host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(run.STARTED_IN, str(tmp_path))
    webui.main(["--webui", "host"], root=tmp_path)
    assert started[0][2]["WEBUI_DIR"] == str(host)


def test_named_tests_take_the_place_of_all(started: list, host: Path, tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text("")
    webui.main(["--webui", str(host), "test_one.py::test_a"], root=tmp_path)
    assert started[0][1] == ["-m", "pytest", "test_one.py::test_a"]


def test_folder_that_is_not_there_is_said_and_nothing_starts(
    started: list, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert webui.main(["--webui", str(tmp_path / "none")], root=tmp_path) == 1
    assert "There is no such folder" in capsys.readouterr().err
    assert started == []
