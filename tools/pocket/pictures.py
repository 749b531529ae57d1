"""Draw the pictures that the pocket model learns from, with captions that compose.

Every picture shows one glyph of Noto Color Emoji (SIL Open Font License 1.1, Debian package
``fonts-noto-color-emoji``) on a plain background. Its caption says the glyph's CLDR short name, its size, its place
and the color of the background, so that a caption never seen in training still means something.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIZE = 128
"""Width and height of every picture in pixels."""

FONT = Path(os.environ.get("POCKET_FONT", "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"))
STRIKE = 109  # the only size that this bitmap font has

BACKGROUNDS = {
    "white": (250, 250, 250),
    "black": (16, 16, 20),
    "gray": (128, 128, 128),
    "red": (214, 62, 62),
    "yellow": (245, 214, 84),
    "green": (84, 168, 92),
    "blue": (66, 112, 214),
    "pink": (244, 160, 196),
}
BIG, SMALL = 112, 60  # glyph width in pixels
PLACES = {
    "": (64, 64),
    "on the left": (34, 64),
    "on the right": (94, 64),
    "at the top": (64, 34),
    "at the bottom": (64, 94),
}


@dataclass(frozen=True)
class Scene:
    """One picture of the set: which glyph, how large, where, on what; how often it is learned, next to the others."""

    glyph: str
    name: str
    background: str
    width: int = BIG
    place: str = ""
    share: int = 1

    @property
    def caption(self) -> str:
        """The caption, in comma separated phrases."""
        size = "small " if self.width == SMALL else ""
        where = f" {self.place}" if self.place else ""
        return f"{size}{self.name}{where}, {self.background} background"


def concepts() -> list[tuple[str, str, int]]:
    """Return ``(glyph, CLDR short name, share)`` of every concept; a glyph may be a sequence of codepoints."""
    rows = Path(__file__).with_name("concepts.tsv").read_text(encoding="utf-8").splitlines()[1:]
    columns = (row.split("\t") for row in rows)
    return [("".join(chr(int(code, 16)) for code in codes.split()), name, int(share)) for codes, name, share in columns]


def all_scenes() -> list[Scene]:
    """Return every scene: each concept on each background, big, and small in five places."""
    scenes = []
    for drawn, name, share in concepts():
        for background in BACKGROUNDS:
            scenes.append(Scene(drawn, name, background, share=share))
            scenes += [Scene(drawn, name, background, SMALL, place, share) for place in PLACES]
    return scenes


@lru_cache(maxsize=4096)
def glyph(text: str, width: int) -> Image.Image:
    """Return one glyph as an RGBA picture of ``width`` pixels, cropped to what is drawn.

    Sequences (skin tones) need Pillow's Raqm layout.
    """
    font = ImageFont.truetype(str(FONT), STRIKE)
    canvas = Image.new("RGBA", (160, 160), (0, 0, 0, 0))
    ImageDraw.Draw(canvas).text((12, 16), text, font=font, embedded_color=True)
    box = canvas.getbbox()
    if box is None:
        raise ValueError(f"{FONT} has no glyph for {text!r}")
    cut = canvas.crop(box)
    scale = width / max(cut.size)
    return cut.resize((max(1, round(cut.width * scale)), max(1, round(cut.height * scale))), Image.LANCZOS)


def draw(scene: Scene) -> Image.Image:
    """Draw one scene as an RGB picture of SIZE x SIZE."""
    picture = Image.new("RGB", (SIZE, SIZE), BACKGROUNDS[scene.background])
    drawn = glyph(scene.glyph, scene.width)
    x, y = PLACES[scene.place]
    picture.paste(drawn, (x - drawn.width // 2, y - drawn.height // 2), drawn)
    return picture


def font_glyphs() -> list[str]:
    """Return every pictorial glyph that the font can draw (more than the concepts: for the autoencoder)."""
    blocks = [(0x1F300, 0x1F5FF), (0x1F600, 0x1F64F), (0x1F680, 0x1F6FF), (0x1F900, 0x1F9FF), (0x1FA70, 0x1FAFF)]
    found = []
    for first, last in blocks:
        for drawn in map(chr, range(first, last + 1)):
            try:
                if max(glyph(drawn, BIG).size) == BIG and len(set(glyph(drawn, 24).convert("RGB").getdata())) > 8:
                    found.append(drawn)
            except ValueError:
                continue
    return found


def anything(rng: random.Random, glyphs: list[str]) -> Image.Image:
    """Draw a picture for the autoencoder: glyphs and plain shapes of any size, place and color."""

    def color() -> tuple[int, int, int]:
        named = rng.choice(list(BACKGROUNDS.values()))
        return named if rng.random() < 0.5 else tuple(rng.randrange(256) for _ in range(3))

    picture = Image.new("RGB", (SIZE, SIZE), color())
    pen = ImageDraw.Draw(picture)
    for _ in range(rng.randrange(0, 5)):
        corners = [rng.randrange(-20, SIZE + 20) for _ in range(6)]
        box = [
            min(corners[0], corners[2]),
            min(corners[1], corners[3]),
            max(corners[0], corners[2]) + 1,
            max(corners[1], corners[3]) + 1,
        ]
        edge = {"fill": color(), "outline": color(), "width": rng.randrange(1, 5)}
        shape = rng.randrange(4)
        if shape == 0:
            pen.ellipse(box, **edge)
        elif shape == 1:
            pen.rectangle(box, **edge)
        elif shape == 2:
            pen.polygon(corners, fill=edge["fill"])
        else:
            pen.line(corners, fill=edge["fill"], width=rng.randrange(1, 9))
    for _ in range(rng.choice([0, 1, 1, 1, 2])):
        drawn = glyph(rng.choice(glyphs), rng.choice([SMALL, 80, BIG]))
        picture.paste(drawn, (rng.randrange(-20, SIZE - 40), rng.randrange(-20, SIZE - 40)), drawn)
    return picture


def to_array(picture: Image.Image) -> np.ndarray:
    """Return a picture as uint8, channels first."""
    return np.asarray(picture, dtype=np.uint8).transpose(2, 0, 1)
