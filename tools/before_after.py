"""Make the README's first picture: prompts without a LoRA, with it, and with it in some blocks only.

.venv/bin/python -m tools.before_after LORA [--weights OUTALL] [--seed 1]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from lib_lora.analysis.comparison import Cell, Comparison, draw_comparison
from lib_lora.demo.settings import CFG
from lib_lora.host.base import GenerateRequest
from lib_lora.host.studio import StudioHost

TARGET = Path(__file__).resolve().parents[1] / "docs" / "images" / "before-after.png"
PROMPTS = (
    "krnk, white background, from front, upper body, smile",
    "krnk, yellow background, from front, upper body, smile",
    "krnk, blue background, from front, upper body, smile",
)


def main() -> None:
    """Make it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lora", type=Path, metavar="LORA", help="a LoRA of krnk")
    parser.add_argument("--weights", default="OUTALL", help="preset or vector of the last column")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=TARGET, metavar="FILE")
    options = parser.parse_args()
    host = StudioHost.open(lora_folders=(options.lora.parent,))
    name = options.lora.stem
    tags = ("", f"<lora:{name}:1>", f"<lora:{name}:1:{options.weights}>")
    lines = []
    for prompt in PROMPTS:
        requests = (GenerateRequest(f"{prompt} {tag}".strip(), seed=options.seed, cfg_scale=CFG) for tag in tags)
        lines.append([Cell(host.generate(one).images[0]) for one in requests])
    shown = Comparison("", "", "", lines, columns=("without a LoRA", *tags[1:]), rows=PROMPTS)
    picture = draw_comparison(shown)
    picture.quantize(256, dither=Image.Dither.NONE).save(options.out, optimize=True)
    print(f"{options.out}: {picture.width} × {picture.height}, {options.out.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
