"""At which part of sampling a LoRA acts: ``start=`` and ``stop=`` of its tag, as parts of the noise levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lib_lora.analysis.fit.samples import Numbers, Predictor, Question, each_loss, text_alone


@dataclass(frozen=True)
class Window:
    """From part ``first`` of ``parts`` of sampling, the noisiest being 0, up to part ``last``, itself left out."""

    first: int = 0
    last: int = 1
    parts: int = 1

    @property
    def start(self) -> float:
        """The share of all steps before it; exact where timesteps are evenly spaced."""
        return round(self.first / self.parts, 2)

    @property
    def stop(self) -> float:
        """The share of all steps up to its end."""
        return round(self.last / self.parts, 2)

    @property
    def is_whole(self) -> bool:
        """Whether the LoRA acts in every step."""
        return self.first == 0 and self.last == self.parts

    def has(self, part: int) -> bool:
        """Whether it acts in a part."""
        return self.first <= part < self.last


WHOLE = Window()


def windows(parts: int) -> list[Window]:
    """Return every window of so many parts, the whole one first."""
    found = [Window(first, last, parts) for first in range(parts) for last in range(first + 1, parts + 1)]
    return sorted(found, key=lambda one: one.first - one.last)


def part_of(question: Question, timesteps: int, parts: int) -> int:
    """Return in which part of sampling a question's timestep lies."""
    return parts - 1 - question.step * parts // timesteps


def losses_through(
    predictor: Predictor, questions: Sequence[Question], settings: Sequence[tuple[Numbers, Window]]
) -> list[float]:
    """Return the mean loss over all questions for each setting, with the LoRA on in its window alone.

    In the other steps its text encoder stays: the text is encoded once for all of them.
    """
    cut = [numbers for numbers, window in settings if not window.is_whole]
    every = each_loss(predictor, questions, [*(numbers for numbers, _ in settings), *map(text_alone, cut)])
    off = iter(every.T[len(settings) :])
    timesteps, found = len(predictor.model.alphas_cumprod), []
    for (_, window), on in zip(settings, every.T, strict=False):
        if window.is_whole:
            found.append(float(on.mean()))
            continue
        acts = torch.tensor([window.has(part_of(one, timesteps, window.parts)) for one in questions])
        found.append(float(torch.where(acts.to(on.device), on, next(off)).mean()))
    return found
