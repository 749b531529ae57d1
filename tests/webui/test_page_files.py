"""The style sheet and the scripts that a WebUI puts into its own page: they touch nothing but ours."""

from __future__ import annotations

import contextlib
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_style_touches_nothing_but_ours() -> None:
    text = re.sub(r"/\*.*?\*/", "", (ROOT / "style.css").read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"@(container|media)[^{]*{((?:[^{}]*{[^{}]*})*)[^{}]*}", r"\2", text)
    selectors = [part for rule in re.findall(r"([^{}]+){", text) for part in re.split(r",(?![^()]*\))", rule)]
    assert len(selectors) > 60
    assert [each.strip() for each in selectors if "atelier" not in each] == []


def test_scripts_of_the_page_leave_no_global_but_their_own() -> None:
    for path in (ROOT / "javascript").glob("*.js"):
        code = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("//")]
        assert code[0] == "(() => {"
        assert code[-1] == "})();"
        with contextlib.suppress(FileNotFoundError):
            subprocess.run(["node", "--check", str(path)], check=True, capture_output=True)
