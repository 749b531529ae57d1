"""The benches answer a missing prerequisite in a sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import run

ROOT = Path(run.__file__).resolve().parent
NO_FONT = """
import runpy, sys
sys.path[:0] = [{root!r}, {root!r} + "/tools/pocket"]
import pathlib, pictures
pictures.FONT = pathlib.Path("nowhere/NotoColorEmoji.ttf")
sys.argv = ["bench/pocket.py"]
runpy.run_path({root!r} + "/bench/pocket.py", run_name="__main__")
"""


def test_the_pocket_bench_without_its_font_says_what_to_install() -> None:
    command = [sys.executable, "-c", NO_FONT.format(root=str(ROOT))]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 1
    assert "fonts-noto-color-emoji" in made.stderr
    assert "Traceback" not in made.stderr
