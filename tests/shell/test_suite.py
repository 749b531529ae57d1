"""tools/suite.py: the suite is shared among the processes that fit the machine, unless somebody says what to run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import suite

GIB = 2**30
SHARED = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]


@pytest.mark.parametrize(
    ("cores", "memory", "count"),
    [(2, 24 * GIB, 3), (2, 8 * GIB, 2), (16, 16 * GIB, 4), (8, 3 * GIB, 1), (1, 64 * GIB, 2)],
)
def test_as_many_processes_as_cores_and_memory_carry(cores: int, memory: int, count: int) -> None:
    assert suite.workers(cores, memory) == count


@pytest.mark.parametrize("arguments", [["-n", "0"], ["-n4"], ["--numprocesses=3"], ["--pdb"]])
def test_whoever_says_how_many_is_obeyed(arguments: list[str]) -> None:
    assert suite.sharing(["-k", "panel"], 2) == SHARED
    assert suite.sharing(arguments, 2) == []


def test_one_file_runs_as_it_stands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "test_one.py").touch()
    given: list[list[str]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr(suite, "processes", lambda: 2)
    monkeypatch.setattr(pytest, "main", lambda arguments: given.append(arguments) or 3)
    assert suite.main(["test_one.py::test_a", "-x"]) == suite.main(["-k", "panel"]) == 3
    assert given == [["test_one.py::test_a", "-x"], [*SHARED, "-k", "panel"]]
