"""Sheets on which a stranger says which of twelve characters a picture shows; the key lies beside them.

python tools/pocket/recognition.py --pictures krnk1.png … --out FOLDER --seed 3

Each sheet holds one picture made with the LoRA of krnk and, in another order each time, twelve drawn candidates: krnk
and eleven figures in other colors. Who judges sees the sheets and not ``key.json``.
"""

from __future__ import annotations

import argparse
import colorsys
import json
import random
import sys
from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageDraw

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

import draw_character  # noqa: E402

from lib_lora.analysis.grid import font  # noqa: E402

FAMILIES = (
    ("TEAL", "TEAL_LIGHT", "TEAL_DARK"),
    ("ORANGE", "ORANGE_DARK"),
    ("NAVY", "NAVY_DARK", "NAVY_LIGHT"),
    ("VIOLET", "VIOLET_LIGHT", "EYE_DARK"),
)
"""Names of colors that turn together: hair, lock, dress, eyes."""

COUNT, VIEW = 12, "f00"


def other_colors(rng: random.Random) -> Mapping[str, tuple[int, int, int]]:
    """Return krnk's colors with each family's hue turned by itself, at least two of them visibly."""
    turned = rng.sample(range(len(FAMILIES)), rng.choice((2, 3, 4)))
    colors = {}
    for family in turned:
        by = rng.uniform(0.15, 0.85)
        for name in FAMILIES[family]:
            hue, light, strength = colorsys.rgb_to_hls(*(level / 255 for level in getattr(draw_character, name)))
            rgb = colorsys.hls_to_rgb((hue + by) % 1, light, strength)
            colors[name] = tuple(round(255 * level) for level in rgb)
    return colors


def figure(colors: Mapping[str, tuple[int, int, int]]) -> Image.Image:
    """Draw the figure from the front, in these colors."""
    before = {name: getattr(draw_character, name) for name in colors}
    try:
        for name, color in colors.items():
            setattr(draw_character, name, color)
        return draw_character.draw(VIEW)
    finally:
        for name, color in before.items():
            setattr(draw_character, name, color)


def sheet(picture: Image.Image, candidates: list[Image.Image]) -> Image.Image:
    """Return the picture, enlarged, above the numbered candidates."""
    side, text = 160, 22
    page = Image.new("RGB", (6 * side, 2 * side + 2 * (side + text)), (250, 250, 250))
    page.paste(picture.resize((2 * side, 2 * side), Image.Resampling.BICUBIC), (2 * side, 0))
    pen = ImageDraw.Draw(page)
    for number, candidate in enumerate(candidates):
        left, top = number % 6 * side, 2 * side + number // 6 * (side + text)
        page.paste(candidate.resize((side, side), Image.Resampling.BICUBIC), (left, top))
        pen.text((left + side // 2 - 6, top + side + 2), str(number + 1), fill=(20, 20, 20), font=font(16))
    return page


def main() -> None:
    """Write a sheet for every picture, and the key."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(options.seed)
    others = [figure(other_colors(rng)) for _ in range(COUNT - 1)]
    key = {}
    for number, path in enumerate(options.pictures, start=1):
        order = list(range(COUNT))
        rng.shuffle(order)
        candidates = [figure({}), *others]
        with Image.open(path) as picture:
            page = sheet(picture.convert("RGB"), [candidates[index] for index in order])
        page.save(options.out / f"sheet{number}.png", optimize=True)
        key[f"sheet{number}"] = order.index(0) + 1
    (options.out / "key.json").write_text(json.dumps(key), encoding="utf-8")


if __name__ == "__main__":
    main()
