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


def requirements() -> list[Requirement]:
    lines = [line for file in run.requirement_files(ROOT) for line in file.read_text(encoding="utf-8").splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


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
    named = {requirement.name for requirement in requirements()}
    chosen = [r for r in requirements() if r.marker is None or r.marker.evaluate({"python_version": python})]
    assert sorted(requirement.name for requirement in chosen) == sorted(named)
    assert all(re.fullmatch(r"==[\w.]+", str(requirement.specifier)) for requirement in chosen)


def test_optimizers_of_the_webui_are_the_ones_that_run_py_pins() -> None:
    pins = {str(requirement) for requirement in requirements()}
    assert set(install.OPTIMIZERS.values()) <= pins


def test_ci_script_is_valid_bash_and_executable() -> None:
    script = ROOT / ".ci" / "run"
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0
    assert script.stat().st_mode & 0o111
    assert "set -euo pipefail" in script.read_text(encoding="utf-8")
