"""What the model itself says of regularization pictures, as what they are to teach.

Prior preservation (arXiv:2208.12242) with the model's output in place of the picture: what it knew is held at every
noise level, and the pictures need not be perfect.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from lib_lora.host.base import Conditioning
from lib_lora.process import side_by_side
from lib_lora.train.batch import Drawn, noised_of
from lib_lora.train.loss import Noised
from lib_lora.train.training import Training


def with_prior(training: Training, drawn: Drawn, parts: Sequence[slice]) -> Drawn:
    """Return a batch with the model's own predictions, LoRA off, in those rows of ``parts`` that are regularization's.

    In the other rows they are 0, and nobody asks for them.
    """
    if not training.options.prior_from_model:
        return drawn
    rows = [[row for row in range(len(drawn.samples))[part] if drawn.samples[row].picture.is_reg] for part in parts]
    rows = [part for part in rows if part]
    if not rows:
        return drawn
    prior, seen = torch.zeros(drawn.clean.shape, device=training.model.device), noised_of(training, drawn)
    with _without_lora(training):  # captions too are those of the model itself, where its text encoder learns
        conds = [training.captions.encode([drawn.captions[row] for row in part]) for part in rows]
        conds = [replace(cond, sizes=drawn.sizes[part]) for cond, part in zip(conds, rows, strict=True)]
        work = [partial(_predicted, training, seen, *each) for each in zip(rows, conds, strict=True)]
        for part, said in zip(rows, side_by_side(work), strict=True):
            prior[part] = said.to(prior)
    return replace(drawn, prior=prior)


def _predicted(training: Training, seen: Noised, rows: list[int], cond: Conditioning) -> Tensor:
    """Return the model's predictions for some rows of a batch."""
    model = training.model
    with torch.no_grad(), training.computing():
        return model.predict(seen.latents[rows].to(model.dtype), seen.timesteps[rows], cond)


def _without_lora(training: Training) -> AbstractContextManager[None]:
    """Let the model be what it is without the LoRA, where that is attached."""
    return nullcontext() if training.attached is None else training.attached.paused()
