"""The page of failures: every test that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_test_that_the_page_of_failures_names_exists():
    page = (ROOT / "docs" / "failures.md").read_text(encoding="utf-8")
    text, missing, named = "", [], 0
    for path, name in re.findall(r"`(?:(tests/[\w/]+\.py)::)?(test_\w+)`", page):
        text = (ROOT / path).read_text(encoding="utf-8") if path else text  # without a file it is the one before
        named += 1
        if f"def {name}(" not in text:
            missing.append(f"{path} {name}")
    assert named > 60
    assert not missing
