"""Make the README's first picture from a run of the demo: without the LoRA, with it, with it in some blocks only.

python run.py demo --out DIR
.venv/bin/python -m tools.before_after --demo DIR
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from lib_lora.analysis.comparison import Cell, Comparison, draw_comparison
from lib_lora.demo import settings as use
from lib_lora.demo.story import tag_for

TARGET = Path(__file__).resolve().parents[1] / "docs" / "images" / "before-after.png"
SHOWN = {"front": "krnk, white background, …", "outside": "krnk, yellow background, …", "other": use.PROMPTS[3][1]}
VARIANTS = ("without", "with", "blocks")


def main() -> None:
    """Make it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo", type=Path, required=True, metavar="DIR", help="what run.py demo wrote")
    parser.add_argument("--out", type=Path, default=TARGET, metavar="FILE")
    options = parser.parse_args()
    made = options.demo / "pictures_made"
    cells = [[Cell(Image.open(made / f"{row}-1-{one}.png").convert("RGB")) for one in VARIANTS] for row in SHOWN]
    columns = ["without a LoRA", *(tag_for(one).strip() for one in VARIANTS[1:])]
    picture = draw_comparison(Comparison("", "", "", cells, columns=columns, rows=tuple(SHOWN.values())))
    picture.quantize(256, dither=Image.Dither.NONE).save(options.out, optimize=True)
    print(f"{options.out}: {picture.width} × {picture.height}, {options.out.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
