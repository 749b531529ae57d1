"""Small files made by other programs, kept beside the checkout: ``../shared/cases/NAME``."""

from __future__ import annotations

from pathlib import Path

import pytest

CASES = Path(__file__).resolve().parents[2] / "shared" / "cases"


def case(name: str) -> Path:
    """Return the folder of a case; the test is skipped where the folder is not beside the checkout."""
    folder = CASES / name
    if not folder.is_dir():
        pytest.skip(f"{folder.relative_to(CASES.parents[1])} is not beside this checkout")
    return folder
