"""Endless pictures for the autoencoder: glyphs and plain shapes of any size, place and color, drawn as tensors.

Drawing with Pillow takes milliseconds a picture, which a GPU would wait for.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch
from pictures import BACKGROUNDS, BIG, SIZE, concepts, font_glyphs, glyph, to_array
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

HELD_OUT = 64
"""Glyphs that no training picture shows."""


def split_glyphs(seed: int = 5) -> tuple[list[str], list[str]]:
    """Return the glyphs to learn from, every concept among them, and the held-out ones."""
    named = [text for text, _, _ in concepts()]
    others = [text for text in font_glyphs() if text not in set(named)]
    random.Random(seed).shuffle(others)
    return named + others[HELD_OUT:], others[:HELD_OUT]


def held_out_pictures(glyphs: list[str], seed: int = 5) -> Tensor:
    """Draw each glyph big on a background of the set; return ``(N, 3, 128, 128)`` in [-1, 1]."""
    rng, rows = random.Random(seed), []
    for text in glyphs:
        picture, drawn = Image.new("RGB", (SIZE, SIZE), rng.choice(list(BACKGROUNDS.values()))), glyph(text, BIG)
        picture.paste(drawn, ((SIZE - drawn.width) // 2, (SIZE - drawn.height) // 2), drawn)
        rows.append(to_array(picture))
    return torch.from_numpy(np.stack(rows)).float() / 127.5 - 1


def _stamp(text: str) -> np.ndarray:
    """Return a glyph in the middle of a clear square, colors times alpha: ``(4, 128, 128)``, uint8."""
    drawn, square = glyph(text, BIG), Image.new("RGBA", (SIZE, SIZE))
    square.paste(drawn, ((SIZE - drawn.width) // 2, (SIZE - drawn.height) // 2))
    rows = np.asarray(square, dtype=np.float32).transpose(2, 0, 1).copy()
    rows[:3] *= rows[3:] / 255
    return rows.round().astype(np.uint8)


@dataclass(frozen=True)
class Composer:
    """Draws batches from ``stamps`` ``(N, 4, 128, 128)`` and their halves in size ``(N, 4, 64, 64)``, uint8."""

    stamps: Tensor
    halves: Tensor
    named: Tensor

    @classmethod
    def of(cls, glyphs: list[str], device: torch.device) -> Composer:
        """Draw every glyph once."""
        stamps = torch.from_numpy(np.stack([_stamp(text) for text in glyphs]))
        halves = torch.cat([F.avg_pool2d(part.float(), 2).round().byte() for part in stamps.split(64)])
        colors = torch.tensor(list(BACKGROUNDS.values()), dtype=torch.float32) / 127.5 - 1
        return cls(stamps.to(device), halves.to(device), colors.to(device))

    def __call__(self, count: int, side: int) -> Tensor:
        """Return ``(count, 3, side, side)`` in [-1, 1]; a side under 128 is a crop of a larger picture."""
        x = self._background(count, side)
        for _ in range(3):
            x = torch.lerp(x, self._color(count)[..., None, None], self._shape(count, side) * self._chance(count, 0.3))
        for share in (0.85, 0.25):
            pasted = self._glyphs(count, side) * self._chance(count, share)
            # Pasted colors are 0 to 1, already times alpha.
            x = x * (1 - pasted[:, 3:]) + 2 * pasted[:, :3] - pasted[:, 3:]
        return x

    def _rand(self, *shape: int) -> Tensor:
        return torch.rand(*shape, device=self.stamps.device)

    def _chance(self, count: int, share: float) -> Tensor:
        return (self._rand(count, 1, 1, 1) < share).float()

    def _color(self, count: int) -> Tensor:
        """Return ``(count, 3)``: half of them named ones."""
        picked = self.named[torch.randint(len(self.named), (count,), device=self.stamps.device)]
        return torch.where(self._rand(count, 1) < 0.5, picked, self._rand(count, 3) * 2 - 1)

    def _background(self, count: int, side: int) -> Tensor:
        """Return one color each, or for one in five a slope between two."""
        one, other = (self._color(count)[..., None, None] for _ in range(2))
        along, across = self._turned(count, side)
        slope = ((along + 1) / 2).clamp(0, 1)
        return torch.lerp(one, other, slope * self._chance(count, 0.2)) + 0 * across

    def _turned(self, count: int, side: int) -> tuple[Tensor, Tensor]:
        """Return two coordinates ``(count, 1, side, side)`` of a 128 px picture, -1 to 1, turned by any angle."""
        axis = (torch.arange(side, device=self.stamps.device) + 0.5) / (SIZE / 2) - side / SIZE
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        angle = self._rand(count, 1, 1, 1) * 2 * torch.pi
        return x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()

    def _shape(self, count: int, side: int) -> Tensor:
        """Return soft-edged masks ``(count, 1, side, side)`` of ellipses and boxes, filled or as outlines."""
        along, across = self._turned(count, side)
        middle, half = self._rand(2, count, 1, 1, 1) * 2 - 1, self._rand(2, count, 1, 1, 1) * 0.8 + 0.03
        a, b = (along - middle[0]).abs() / half[0], (across - middle[1]).abs() / half[1]
        distance = torch.where(self._chance(count, 0.5) > 0, (a * a + b * b).sqrt(), torch.maximum(a, b))
        pixels = (1 - distance) * half.amin(0) * SIZE / 2  # from the edge, inside positive
        filled = (pixels + 0.5).clamp(0, 1)
        width = 1 + self._rand(count, 1, 1, 1) * 4
        outline = (width / 2 - (pixels - width / 2).abs() + 0.5).clamp(0, 1)
        return torch.where(self._chance(count, 0.3) > 0, outline, filled)

    def _glyphs(self, count: int, side: int) -> Tensor:
        """Return one glyph each, somewhere, 0.35 to 1.1 of its size: ``(count, 4, side, side)`` in 0 to 1."""
        device = self.stamps.device
        picked = torch.randint(len(self.stamps), (count,), device=device)
        small = torch.rand(()) < 0.5  # one size class a batch: no second set has to be read
        bank = self.halves if small else self.stamps
        scale = self._rand(count) * (0.3 if small else 0.45) + (0.35 if small else 0.65)
        flip = 1 - 2 * (self._rand(count) < 0.5).float()
        reach = max(0.15, side / SIZE - 0.2)
        shift = (self._rand(count, 2) * 2 - 1) * reach / scale[:, None]
        theta = torch.zeros(count, 2, 3, device=device)
        theta[:, 0, 0], theta[:, 1, 1] = flip * side / SIZE / scale, side / SIZE / scale
        theta[:, :, 2] = shift
        grid = F.affine_grid(theta, [count, 4, side, side], align_corners=False)
        return F.grid_sample(bank[picked].float() / 255, grid, align_corners=False)
