"""Every measurement in bench/ starts, as its own first line says: called by its path, from any folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import run

ROOT = Path(run.__file__).resolve().parent


@pytest.mark.parametrize("path", sorted((ROOT / "bench").glob("*.py")), ids=lambda path: path.stem)
def test_a_measurement_starts(path: Path, tmp_path: Path) -> None:
    assert f"python bench/{path.name}" in path.read_text(encoding="utf-8").partition('"""\n\nfrom')[0]
    told = subprocess.run([sys.executable, str(path), "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert "--json" in told.stdout
