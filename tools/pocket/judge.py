"""How well a pocket model draws what captions ask for, and how well its autoencoder keeps a picture; as numbers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from compose import held_out_pictures, split_glyphs
from pictures import BACKGROUNDS, PLACES, SMALL, Scene, all_scenes, concepts
from PIL import Image
from scenes import Pair, draw
from torch import Tensor
from train_vae import measure

SIDE = 32


def features(picture: Image.Image, box: tuple[int, int, int, int] | None = None) -> np.ndarray:
    """Return a picture, or the box of it, as a vector of ``3·32·32`` color levels."""
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX, box=box), dtype=np.float32).reshape(-1)


def random_scenes(count: int, seed: int) -> list[Scene]:
    """Return ``count`` single scenes of as many different concepts as there are."""
    rng = random.Random(seed)
    names = [name for _, name, _ in concepts()]
    rng.shuffle(names)
    scenes = all_scenes()
    return [rng.choice([s for s in scenes if s.name == names[n % len(names)]]) for n in range(count)]


@dataclass(frozen=True)
class Bank:
    """Every single scene with its features ``(N, 3·32·32)``."""

    scenes: Sequence[Scene]
    rows: np.ndarray

    @classmethod
    def drawn(cls) -> Bank:
        """Draw all of them."""
        scenes = all_scenes()
        return cls(scenes, np.stack([features(draw(scene)) for scene in scenes]))

    def nearest(self, picture: Image.Image) -> Scene:
        """Return the scene whose picture differs least (squared difference of colors at 32 x 32 px)."""
        return self.scenes[int(np.square(self.rows - features(picture)).sum(axis=1).argmin())]


def is_composed(scene: Scene | Pair, picture: Image.Image, bank: Bank) -> bool:
    """Return whether a picture shows what the caption asks for.

    Of a single scene the nearest of all scenes must be itself: thing, size, place and background. Of a pair each half
    must be nearest to that half of the right thing, among all things and backgrounds.
    """
    if isinstance(scene, Scene):
        return bank.nearest(picture) == scene
    return all(_half(one, picture) for one in (scene.left, scene.right))


def _half(scene: Scene, picture: Image.Image) -> bool:
    x = PLACES[scene.place][0]
    width, height = picture.size
    box = (0, 0, width // 2, height) if x < 64 else (width // 2, 0, width, height)
    seen = features(picture, box)
    distance = {
        (name, back): np.square(seen - features(draw(Scene(text, name, back, SMALL, scene.place)), box)).sum()
        for text, name, _ in concepts()
        for back in BACKGROUNDS
    }
    return min(distance, key=distance.__getitem__) == (scene.name, scene.background)


def autoencoder(vae: torch.nn.Module) -> tuple[dict[str, float], Image.Image]:
    """Return L1 and SSIM on held-out glyphs, and a sheet of originals and reconstructions, three times enlarged."""
    pictures = held_out_pictures(split_glyphs()[1])
    with torch.no_grad():
        shown = pictures[:6]
        made = vae.decode(vae.encode(shown).latent_dist.mode()).sample
    return measure(vae, pictures), _rows([shown, made], times=3)


def _rows(rows: Sequence[Tensor], times: int) -> Image.Image:
    """Return pictures ``(N, 3, H, W)`` in [-1, 1], a row for each tensor."""
    lines = [torch.cat(list(row), dim=2) for row in rows]
    levels = ((torch.cat(lines, dim=1).clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    sheet = Image.fromarray(levels)
    return sheet.resize((sheet.width * times, sheet.height * times), Image.Resampling.NEAREST)
