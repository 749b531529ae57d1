"""The project's own papers: versions agree, pins are exact and complete for each Python, an old Python is answered."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import install
import lib_lora
import run

ROOT = Path(run.__file__).resolve().parent


OVERLAYS = {name: ROOT / "requirements" / name for name in run.OVERLAYS}


def requirements(*files: Path) -> list[Requirement]:
    """The requirements of these files, else those of .venv."""
    lines = [line for f in files or run.requirement_files(ROOT) for line in f.read_text(encoding="utf-8").splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def minor(python: str) -> int:
    return int(python.split(".")[1])


def pins(listed: list[Requirement], python: str) -> list[Requirement]:
    """Those that a Python gets; each must be exact."""
    chosen = [r for r in listed if r.marker is None or r.marker.evaluate({"python_version": python})]
    assert all(re.fullmatch(r"==[\w.]+", str(requirement.specifier)) for requirement in chosen)
    return chosen


@pytest.mark.parametrize("version", [(3, 6), (3, 7), (3, 9)])
def test_run_py_is_readable_for_an_old_python(version: tuple[int, int]) -> None:
    source = (ROOT / "run.py").read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=version)
    assert "from __future__ import annotations" not in source  # a SyntaxError on 3.6
    check = next(node for node in tree.body if isinstance(node, ast.If))
    before = tree.body[: tree.body.index(check)]
    assert all(isinstance(node, ast.Expr | ast.Import) for node in before)


def test_version_is_the_same_in_package_and_project() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{lib_lora.__version__}"' in project


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13", "3.14"])
def test_every_package_has_exactly_one_exact_pin_for_each_python(python: str) -> None:
    listed = requirements()
    late = {"audioop-lts"} if minor(python) < 13 else set()  # Python had audioop itself before
    assert sorted(r.name for r in pins(listed, python)) == sorted({r.name for r in listed} - late)


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13", "3.14"])
def test_every_package_of_an_overlay_has_one_exact_pin_for_each_python_that_lacks_it(python: str, overlay: str) -> None:
    listed = requirements(OVERLAYS[overlay])
    # Python had distutils itself before 3.12; there is no numpy 1 for later ones.
    absent = {"setuptools"} if minor(python) < 12 else {"numpy"} if minor(python) > 12 else set()
    named = {r.name for r in listed}
    assert sorted(r.name for r in pins(listed, python)) == sorted(named - absent)


@pytest.mark.parametrize(("overlay", "gradio"), [("gradio3.txt", "==3.41.2"), ("gradio4.txt", "==4.40.0")])
def test_what_the_environments_need_is_not_mixed(overlay: str, gradio: str) -> None:
    assert OVERLAYS[overlay] not in run.requirement_files(ROOT)
    assert {r.name: str(r.specifier) for r in requirements(OVERLAYS[overlay])}["gradio"] == gradio
    assert {r.name: str(r.specifier) for r in requirements()}["gradio"].startswith("==6.")
    twice = {str(r).partition(";")[0] for r in requirements(OVERLAYS[overlay])} & {str(r) for r in requirements()}
    assert all(each.startswith("setuptools==") for each in twice)  # the same as in .venv


def test_optimizers_of_the_webui_are_the_ones_that_run_py_pins() -> None:
    pins = {str(requirement) for requirement in requirements()}
    assert set(install.OPTIMIZERS.values()) <= pins


def test_ci_script_is_valid_bash_and_executable() -> None:
    script = ROOT / ".ci" / "run"
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0
    assert script.stat().st_mode & 0o111
    assert "set -euo pipefail" in script.read_text(encoding="utf-8")
