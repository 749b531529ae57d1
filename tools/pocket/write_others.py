"""Write the pictures on which the demo measures what a LoRA makes the model forget: scenes of the pocket set.

python tools/pocket/write_others.py --out lib_lora/demo/others

Beside the model go the captions of other scenes, ``kept.txt``, of which demo and make draw regularization pictures.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from pictures import all_scenes, draw

MODEL = Path(__file__).resolve().parents[2] / "lib_lora" / "host" / "pocket"
COUNT, SEED = 24, 3
KEPT = 110
"""Captions of which the demo lets the model draw regularization pictures; none of them is measured."""


def main() -> None:
    """Draw the scenes and write each with its caption beside it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    scenes = random.Random(SEED).sample(all_scenes(), COUNT + 3 * KEPT)
    measured = {scene.name for scene in scenes[:COUNT]}
    kept = [scene.caption for scene in scenes[COUNT:] if scene.name not in measured][:KEPT]
    (MODEL / "kept.txt").write_text("\n".join(kept) + "\n", encoding="utf-8")
    for number, scene in enumerate(scenes[:COUNT]):
        draw(scene).save(folder / f"{number:02d}.png", optimize=True)
        (folder / f"{number:02d}.txt").write_text(scene.caption + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
