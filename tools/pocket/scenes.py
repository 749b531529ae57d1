"""What the pocket model's text encoder and UNet learn from, and the captions that they never see.

Single scenes and pairs, two small things side by side. A small, placed scene or a pair is held out by a hash of its
caption: each word of it is known from others, the composition is not.
"""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass

from pictures import BACKGROUNDS, BIG, PLACES, SIZE, SMALL, Scene, all_scenes, concepts, glyph
from pictures import draw as draw_scene
from PIL import Image

EVERY = 12
"""One in so many compositions is held out."""

PAIR_SHARE = 0.09
"""How often a pair is drawn in training, as a single small scene is; a big scene is drawn six times as often."""


@dataclass(frozen=True)
class Pair:
    """A picture of two small things on one background."""

    left: Scene
    right: Scene

    @property
    def caption(self) -> str:
        """The caption, in comma separated phrases."""
        parts = [f"small {scene.name} {scene.place}" for scene in (self.left, self.right)]
        return f"{', '.join(parts)}, {self.left.background} background"


def draw(scene: Scene | Pair) -> Image.Image:
    """Draw a single scene or a pair as an RGB picture of SIZE x SIZE."""
    if isinstance(scene, Scene):
        return draw_scene(scene)
    picture = Image.new("RGB", (SIZE, SIZE), BACKGROUNDS[scene.left.background])
    for one in (scene.left, scene.right):
        drawn = glyph(one.glyph, one.width)
        x, y = PLACES[one.place]
        picture.paste(drawn, (x - drawn.width // 2, y - drawn.height // 2), drawn)
    return picture


def is_held_out(scene: Scene | Pair) -> bool:
    """Return whether no training may see the scene."""
    placed = isinstance(scene, Pair) or (scene.width == SMALL and scene.place != "")
    return placed and zlib.crc32(scene.caption.encode()) % EVERY == 0


def random_pairs(count: int, rng: random.Random) -> list[Pair]:
    """Return pairs of different things, held-out ones among them."""
    found = []
    for _ in range(count):
        (a, name_a, _), (b, name_b, _) = rng.sample(concepts(), 2)
        back = rng.choice(list(BACKGROUNDS))
        left = Scene(a, name_a, back, SMALL, "on the left")
        found.append(Pair(left, Scene(b, name_b, back, SMALL, "on the right")))
    return found


def training_scenes(pairs: int, seed: int = 11) -> list[Scene | Pair]:
    """Return every single scene and ``pairs`` random pairs, without the held-out ones."""
    every = [*all_scenes(), *random_pairs(pairs, random.Random(seed))]
    return [scene for scene in every if not is_held_out(scene)]


def held_out_scenes(count: int, seed: int = 12) -> list[Scene | Pair]:
    """Return ``count`` held-out scenes, half of them pairs."""
    rng = random.Random(seed)
    singles = [scene for scene in all_scenes() if is_held_out(scene)]
    pairs = [pair for pair in random_pairs(count * EVERY * 2, rng) if is_held_out(pair)]
    return rng.sample(singles, count - count // 2) + pairs[: count // 2]


def weight_of(scene: Scene | Pair) -> float:
    """Return how often a scene is drawn, next to the others."""
    if isinstance(scene, Pair):
        return PAIR_SHARE
    return scene.share * (0.55 if scene.width == BIG else 0.09)
