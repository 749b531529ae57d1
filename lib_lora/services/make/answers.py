"""What is measured of a LoRA file: how it knows pictures, and how far it moves the model's answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from lib_lora.analysis.fit.ask import neutral_questions
from lib_lora.analysis.fit.samples import Question
from lib_lora.host.base import LoadedModel
from lib_lora.progress import Progress
from lib_lora.sentences import say
from lib_lora.train.options import from_mapping
from lib_lora.train.recipes import facts_of
from lib_lora.train.training_set import prepare

LEVELS = 3


def pictures_of(model: LoadedModel, folder: Path, trigger: str, progress: Progress) -> tuple[list[Tensor], list[str]]:
    """Return a folder's pictures as latents ``(4, h, w)`` and their captions, read as a training reads them."""
    values = {"images": str(folder.resolve()), "name": "measured", "trigger": trigger}
    samples = prepare(model, from_mapping(values, where="make", model=facts_of(model)), progress).samples
    return [one.latents[0] for one in samples], [one.caption for one in samples]


def others_asked(model: LoadedModel, captions: Sequence[str], seed: int, progress: Progress) -> list[Question]:
    """Return latents on the model's own way to pictures of other things, see `neutral_questions`."""
    return neutral_questions(model, captions, levels=LEVELS, seed=seed, progress=progress)


def answers(model: LoadedModel, questions: Sequence[Question], progress: Progress) -> Tensor:
    """Return what the model, with what is attached to it, says to all questions, one vector of float64.

    Raises:
        StoppedError: somebody asked to stop.
    """
    said, known = [], {}
    with torch.no_grad():
        for number, one in enumerate(questions):
            if one.caption not in known:
                known[one.caption] = model.encode_text([one.caption])
            step = torch.full((1,), one.step, device=model.device)
            said.append(model.predict(one.latents.to(model.device), step, known[one.caption]).double().cpu().flatten())
            progress.passed(number + 1, len(questions), say("measuring"))
    return torch.cat(said)


def apart(one: Tensor, other: Tensor) -> float:
    """Return how far answers are from others, as a share of the size of these."""
    return float((one - other).norm() / other.norm())
