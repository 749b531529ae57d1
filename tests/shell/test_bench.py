"""Every measurement in bench/ starts, as its own first line says: called by its path, from any folder."""

from __future__ import annotations

from pathlib import Path

import pytest

import run
from tests.forked import CAN_FORK, script, start

ROOT = Path(run.__file__).resolve().parent


@pytest.mark.skipif(not CAN_FORK, reason="started on Linux")
@pytest.mark.parametrize("path", sorted((ROOT / "bench").glob("*.py")), ids=lambda path: path.stem)
def test_a_measurement_starts(path: Path, tmp_path: Path) -> None:
    assert f"python bench/{path.name}" in path.read_text(encoding="utf-8").partition('"""\n\nfrom')[0]
    told = start(script, (path, ["--help"]), cwd=tmp_path, said=tmp_path / "said")
    assert told.wait() == 0, told.errors.read_text(encoding="utf-8")
    assert "--json" in told.output.read_text(encoding="utf-8")
