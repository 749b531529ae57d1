"""What the model is asked while weights are found, and its answers for many settings of the blocks at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from lib_lora.blocks.layouts import BASE, text_blocks
from lib_lora.host.base import Conditioning, LoadedModel
from lib_lora.live.attach import Attached
from lib_lora.process import side_by_side
from lib_lora.progress import Progress
from lib_lora.sentences import say

Numbers = Mapping[str, float]
"""A number for every block, BASE and `other` included."""


@dataclass(frozen=True)
class Question:
    """One prediction to be made.

    Attributes:
        latents: noised ``(1, 4, h, w)``.
        step: its timestep.
        caption: what it is told.
        target: what it should say ``(1, 4, h, w)``; None until it is known.
        counts: how much each latent counts ``(1, 1, h, w)``; None where all count 1.
    """

    latents: Tensor
    step: int
    caption: str
    target: Tensor | None = None
    counts: Tensor | None = None

    def errors(self, said: Tensor) -> Tensor:
        """Return what ``said`` ``(settings, 4, h, w)`` misses, ``(settings, n)``: its mean square is the loss."""
        assert self.target is not None
        away = (said - self.target.to(said)).double()
        return (away if self.counts is None else away * self.counts.to(away).sqrt()).flatten(1)


class Predictor:
    """A model with one LoRA on it, asked with many settings of its blocks in one batch; counts what it was asked."""

    def __init__(
        self, model: LoadedModel, attached: Attached, *, clip_skip: int, chunk: int, progress: Progress, total: int
    ) -> None:
        self.model, self.attached, self.clip_skip, self.chunk = model, attached, clip_skip, chunk
        self.progress, self.total, self.calls = progress, total, 0
        self._known: dict[tuple[str, tuple[float, ...]], Conditioning] = {}
        self._text = sorted({BASE, *text_blocks()})

    def said(self, questions: Sequence[Question], settings: Sequence[Numbers]) -> list[Tensor]:
        """Return the predictions ``(settings, 4, h, w)`` of each question."""
        parts = [
            self._some(questions, settings[start : start + self.chunk]) for start in range(0, len(settings), self.chunk)
        ]
        return [torch.cat(rows) for rows in zip(*parts, strict=True)]

    def _some(self, questions: Sequence[Question], settings: Sequence[Numbers]) -> list[Tensor]:
        conditions = [self._conditions(one.caption, settings) for one in questions]
        columns = {block: [numbers[block] for numbers in settings] for block in settings[0]}
        self.attached.set_weights(
            {block: each[0] if len(set(each)) == 1 else torch.tensor(each) for block, each in columns.items()}
        )
        count, device = len(settings), self.model.device
        work: list[Callable[[], Tensor]] = [
            partial(
                self.model.predict,
                one.latents.to(device).expand(count, -1, -1, -1),
                torch.full((count,), one.step, device=device),
                condition,
            )
            for one, condition in zip(questions, conditions, strict=True)
        ]
        found = []
        for start in range(0, len(work), 8):  # so that a stop is heard
            some = work[start : start + 8]
            found += side_by_side(some) if self.model.side_by_side else [each() for each in some]
            self.calls += count * len(some)
            self.progress.passed(self.calls, max(self.total, self.calls), say("finding weights"))
        return found

    def _conditions(self, caption: str, settings: Sequence[Numbers]) -> Conditioning:
        """Return the caption's conditioning, a row a setting; encoded once for each strength of the text encoder."""
        rows = []
        for numbers in settings:
            key = (caption, tuple(numbers.get(block, 0.0) for block in self._text))
            if key not in self._known:
                self.attached.set_weights(numbers)
                self._known[key] = self.model.encode_text([caption], self.clip_skip)
            rows.append(self._known[key])
        pooled = [row.pooled for row in rows if row.pooled is not None]
        return Conditioning(torch.cat([row.tokens for row in rows]), torch.cat(pooled) if pooled else None)


def each_loss(predictor: Predictor, questions: Sequence[Question], settings: Sequence[Numbers]) -> Tensor:
    """Return the loss of each question with each setting, ``(questions, settings)``."""
    answers = predictor.said(questions, settings)
    return torch.stack([one.errors(said).square().mean(dim=1) for one, said in zip(questions, answers, strict=True)])


def text_alone(numbers: Numbers) -> dict[str, float]:
    """Return what is left of a setting in steps in which the LoRA is off: the text is encoded once for all of them."""
    text = {BASE, *text_blocks()}
    return {block: value if block in text else 0.0 for block, value in numbers.items()}
