"""How good is the pocket model? Recall, composition, the autoencoder's losses, and how many blocks of a LoRA act.

    python bench/pocket.py --json --sheets FOLDER

- recall: captions of the set, rendered; right where the nearest of all pictures of the set shows the same thing;
- composition: held-out captions, half of them of two things side by side; right where thing, size, place and color are
  (`tools/pocket/judge.py` says how that is decided);
- l1 and ssim of the autoencoder on glyphs that it never saw;
- blocks: those of the demo's LoRA that change its picture by more than 0.1 % when they are off.

Needs Noto Color Emoji (Debian package fonts-noto-color-emoji) to draw the set.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools" / "pocket")]

from judge import Bank, autoencoder, is_composed, random_scenes  # noqa: E402
from pictures import FONT, Scene  # noqa: E402
from scenes import Pair, held_out_scenes  # noqa: E402

import lib_lora  # noqa: E402
from lib_lora.analysis.grid import font  # noqa: E402
from lib_lora.demo import settings as demo  # noqa: E402
from lib_lora.demo.trial import LORA  # noqa: E402
from lib_lora.host.studio import StudioHost  # noqa: E402

ACTS = 0.1
"""Percent of a picture's change from which on a block counts as acting."""


def sheet(captions: Sequence[str], pictures: Sequence[Image.Image], remarks: Sequence[str]) -> Image.Image:
    """Return a contact sheet: each picture with its caption, green, or red with the remark where there is one."""
    columns, side, text = 10, 128, 48
    page = Image.new("RGB", (columns * side, -(-len(pictures) // columns) * (side + text)), (250, 250, 250))
    pen = ImageDraw.Draw(page)
    for number, (caption, picture, remark) in enumerate(zip(captions, pictures, remarks, strict=True)):
        left, top = number % columns * side, number // columns * (side + text)
        page.paste(picture, (left, top))
        lines = [caption[at : at + 24] for at in range(0, min(len(caption), 48), 24)]
        for row, line in enumerate(lines):
            color = (190, 40, 30) if remark else (20, 120, 60)
            pen.text((left + 3, top + side + 14 * row), line, fill=color, font=font(10))
        pen.text((left + 3, top + side + 30), remark[:24], fill=(120, 120, 120), font=font(10))
    return page


def drawn(host: StudioHost, scenes: Sequence[Scene | Pair], options: argparse.Namespace) -> list[Image.Image]:
    """Render every scene's caption, each with its own seed."""
    how: dict[str, Any] = {"steps": options.steps, "cfg_scale": options.cfg}
    asked = [lib_lora.GenerateRequest(scene.caption, seed=number, **how) for number, scene in enumerate(scenes)]
    return [host.generate(request).images[0] for request in asked]


def acting(host: StudioHost, lora: Path, steps: int) -> dict[str, float]:
    """Return each block's change of the demo's first picture in percent."""
    prompt = f"{demo.PROMPTS[0][1]} <lora:{lora.stem}:1:XYZ>"
    request = lib_lora.GenerateRequest(prompt, seed=demo.SEEDS[0], steps=steps, cfg_scale=demo.CFG)
    return {row.name: row.mean for row in lib_lora.analyze(host, request, seeds=1).ranking()}


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Measure everything, and save the sheets."""
    options.sheets.mkdir(parents=True, exist_ok=True)
    host, bank = StudioHost.open(options.model, lora_folders=[options.lora.parent]), Bank.drawn()
    kept, pairs = autoencoder(host.model.vae)
    pairs.save(options.sheets / "autoencoder.png")
    scenes, began = random_scenes(options.count, options.seed), time.process_time()
    pictures = drawn(host, scenes, options)
    seconds = (time.process_time() - began) / len(scenes)
    nearest = [bank.nearest(picture).name for picture in pictures]
    remarks = ["" if scene.name == near else f"seen: {near}" for scene, near in zip(scenes, nearest, strict=True)]
    sheet([scene.caption for scene in scenes], pictures, remarks).save(options.sheets / "recall.png")
    asked = held_out_scenes(options.compositions)
    shown = drawn(host, asked, options)
    composed = [is_composed(scene, picture, bank) for scene, picture in zip(asked, shown, strict=True)]
    words = ["" if right else "not so" for right in composed]
    sheet([scene.caption for scene in asked], shown, words).save(options.sheets / "composition.png")
    blocks = acting(host, options.lora, options.steps)
    return {
        "recall": remarks.count("") / len(scenes),
        "captions": len(scenes),
        "composition": sum(composed) / len(asked),
        "compositions": len(asked),
        **kept,
        "blocks_acting": sum(value > ACTS for value in blocks.values()),
        "blocks": {name: round(value, 3) for name, value in blocks.items()},
        "cpu_seconds_per_picture": round(seconds, 2),
        "sheets": str(options.sheets),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="another checkpoint than the shipped one")
    parser.add_argument("--lora", type=Path, default=LORA, help="a LoRA of the demo's character for that model")
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--compositions", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cfg", type=float, default=4.0)
    parser.add_argument("--sheets", type=Path, default=Path("pocket-sheets"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not FONT.is_file():
        sys.exit(
            f"Noto Color Emoji is missing: {FONT}. It draws the pictures that answers are compared with. "
            "On Debian or Ubuntu: sudo apt install fonts-noto-color-emoji; then start again."
        )
    result = measured(options)
    print(json.dumps(result) if options.json else "\n".join(f"{key}: {value}" for key, value in result.items()))


if __name__ == "__main__":
    main()
