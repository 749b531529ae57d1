"""tools/older_gradio.py: an overlay over .venv is made once, again only when needed; its own packages come first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import run
from tools import older_gradio, suite

from .conftest import PretendedPip, site_packages

NAME, LIST = ".venv-gradio3", "gradio3.txt"
started: list[tuple[Path, list[str]]] = []
"""The environments and commands that run.become was asked for."""


@pytest.fixture
def overlay(project: Path, pip: PretendedPip, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a ready .venv and a list for the overlay; returns where the overlay will be."""
    (project / "requirements" / LIST).write_text("gradio==3.41.2\n", encoding="utf-8")
    assert run.main(["setup"], root=project) == 0
    monkeypatch.setattr(run, "become", lambda env, command, variables: started.append((env, command)))
    started.clear()
    pip.calls.clear()
    return project / NAME


def start(overlay: Path, *arguments: str) -> None:
    older_gradio.main(["gradio3", *arguments], root=overlay.parent)


def test_second_start_makes_nothing_again(overlay: Path, pip: PretendedPip, capsys: pytest.CaptureFixture[str]) -> None:
    start(overlay)
    capsys.readouterr()
    start(overlay)
    assert pip.calls == ["venv", "pip"]
    assert capsys.readouterr() == ("", "")
    assert [env for env, _ in started] == [overlay, overlay]


def test_list_is_installed_as_it_stands_into_the_overlay(overlay: Path, pip: PretendedPip) -> None:
    start(overlay)
    venv, install = pip.commands[-2:]
    assert "--without-pip" in venv
    assert install[0] == str(run.python_of(overlay))
    assert install[-4:] == ["--ignore-installed", "--no-deps", "-r", str(overlay.parent / "requirements" / LIST)]


def test_venv_stays_ready_whatever_happens_to_the_overlay(overlay: Path, pip: PretendedPip) -> None:
    before = run.wanted_key(overlay.parent)
    pip.pip_code = 1
    start(overlay)
    (overlay.parent / "requirements" / LIST).write_text("gradio==3.42\n", encoding="utf-8")
    assert run.fault(overlay.parent / ".venv", before) == ""
    assert run.wanted_key(overlay.parent) == before


@pytest.mark.parametrize("change", ["list of the overlay", "list of .venv", "lost package", "lost link to .venv"])
def test_overlay_is_made_again_when_it_no_longer_fits(overlay: Path, pip: PretendedPip, change: str) -> None:
    start(overlay)
    if change == "list of the overlay":
        (overlay.parent / "requirements" / LIST).write_text("gradio==3.42\n", encoding="utf-8")
    elif change == "list of .venv":
        (overlay.parent / "requirements" / "run.txt").write_text("torch==2.14\n", encoding="utf-8")
    elif change == "lost package":
        (site_packages(overlay) / "numpy").rmdir()
    else:
        (site_packages(overlay) / "below.pth").unlink()
    start(overlay)
    assert pip.calls == ["venv", "pip"] * 2


def test_failed_install_is_a_sentence_and_runs_no_test(
    overlay: Path, pip: PretendedPip, capsys: pytest.CaptureFixture[str]
) -> None:
    pip.pip_code, pip.pip_says = 1, "ERROR: No matching distribution found for gradio==3.41.2"
    assert older_gradio.main(["gradio3"], root=overlay.parent) == 1
    text = capsys.readouterr().err
    assert "the packages could not be installed" in text
    assert str(overlay.parent / f"{NAME}-install.log") in text
    assert started == []


def test_packages_of_the_overlay_come_before_those_of_venv(tmp_path: Path) -> None:
    base, over = tmp_path / "絵" / ".venv", tmp_path / "絵" / NAME
    for env in (base, over):
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(env)], check=True)
        (site_packages(env) / "both.py").write_text(f"place = {env.name!r}", encoding="utf-8")
    (site_packages(base) / "below.py").write_text("place = '.venv'", encoding="utf-8")
    older_gradio.see_below(over, base)
    moved = tmp_path / "moved"
    over.parent.rename(moved)
    code = "import both, below; print(both.place, below.place)"
    said = subprocess.run([run.python_of(moved / NAME), "-c", code], capture_output=True, text=True)
    assert said.stdout == f"{NAME} .venv\n"


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], [*older_gradio.TESTS, *older_gradio.CHOSEN]),
        (["-k", "panel"], [*older_gradio.TESTS, *older_gradio.CHOSEN, "-k", "panel"]),
        (["requirements/run.txt::test_x", "-x"], ["requirements/run.txt::test_x", "-x"]),
    ],
)
def test_tests_of_the_panels_run_unless_others_are_named(
    overlay: Path, arguments: list[str], wanted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "processes", lambda: 1)
    start(overlay, *arguments)
    assert started == [(overlay, ["-m", "pytest", *wanted])]
