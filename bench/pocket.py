"""Does the pocket model draw what a caption says? Nearest-neighbor recall over its own training pictures.

    python bench/pocket.py --json --sheet sheet.png

Renders captions drawn from the set and looks whose training picture is nearest (squared difference of colors at
32 x 32 px). Needs Noto Color Emoji (Debian package fonts-noto-color-emoji) to draw the training pictures.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools" / "pocket")]

from pictures import FONT, Scene, all_scenes, concepts, draw  # noqa: E402

from lib_lora.analysis.grid import font  # noqa: E402
from lib_lora.host.base import GenerateRequest  # noqa: E402
from lib_lora.host.studio import StudioHost  # noqa: E402

SMALL = 32


def features(picture: Image.Image) -> np.ndarray:
    """Return a picture as a vector of ``3·32·32`` color levels."""
    return np.asarray(picture.resize((SMALL, SMALL), Image.Resampling.BOX), dtype=np.float32).reshape(-1)


def pick(count: int, seed: int) -> list[Scene]:
    """Return ``count`` scenes of as many different concepts as there are."""
    rng = random.Random(seed)
    names = [name for _, name, _ in concepts()]
    rng.shuffle(names)
    scenes = all_scenes()
    return [rng.choice([s for s in scenes if s.name == names[n % len(names)]]) for n in range(count)]


def sheet(scenes: list[Scene], pictures: list[Image.Image], nearest: list[Scene]) -> Image.Image:
    """Return a contact sheet: each picture with its name and, where it is another, what it was taken for."""
    columns, side, text = 12, 128, 34
    rows = -(-len(scenes) // columns)
    page = Image.new("RGB", (columns * side, rows * (side + text)), (250, 250, 250))
    pen = ImageDraw.Draw(page)
    for number, (scene, picture, near) in enumerate(zip(scenes, pictures, nearest, strict=True)):
        left, top = number % columns * side, number // columns * (side + text)
        page.paste(picture, (left, top))
        right = scene.name == near.name
        pen.text((left + 3, top + side), scene.name, fill=(20, 120, 60) if right else (190, 40, 30), font=font(11))
        if not right:
            pen.text((left + 3, top + side + 14), f"taken for {near.name}", fill=(120, 120, 120), font=font(11))
    return page


def main() -> None:
    """Measure, print, and save the contact sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="another checkpoint than the shipped one")
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cfg", type=float, default=4.0)
    parser.add_argument("--sheet", type=Path, default=Path("pocket-sheet.png"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not FONT.is_file():
        sys.exit(
            f"Noto Color Emoji is missing: {FONT}. It draws the pictures that answers are compared with. "
            "On Debian or Ubuntu: sudo apt install fonts-noto-color-emoji; then start again."
        )
    scenes = pick(options.count, options.seed)
    training = all_scenes()
    bank = np.stack([features(draw(scene)) for scene in training])
    host = StudioHost.open(options.model)
    began, pictures, nearest = time.monotonic(), [], []
    for number, scene in enumerate(scenes):
        request = GenerateRequest(scene.caption, seed=number, steps=options.steps, cfg_scale=options.cfg)
        pictures.append(host.generate(request).images[0])
        distance = np.square(bank - features(pictures[-1])).sum(axis=1)
        nearest.append(training[int(distance.argmin())])
    right = sum(scene.name == near.name for scene, near in zip(scenes, nearest, strict=True))
    sheet(scenes, pictures, nearest).save(options.sheet)
    result = {
        "recall": right / len(scenes),
        "captions": len(scenes),
        "concepts": len(concepts()),
        "seconds_per_picture": round((time.monotonic() - began) / len(scenes), 3),
        "sheet": str(options.sheet),
    }
    print(json.dumps(result) if options.json else "\n".join(f"{key}: {value}" for key, value in result.items()))


if __name__ == "__main__":
    main()
