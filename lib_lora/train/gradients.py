"""The loss of a batch, and its gradients."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from lib_lora.process import side_by_side
from lib_lora.train.batch import Drawn, draw, loss_of
from lib_lora.train.parts import can_be_parted, parted
from lib_lora.train.prior import with_prior
from lib_lora.train.training import Training
from lib_lora.train.training_set import Sample


def batch_loss(training: Training, batch: Sequence[Sample], generator: torch.Generator) -> Tensor:
    """Return the weighted loss of one batch; of several processes each returns what its rows add to it."""
    rows = training.team.rows(len(batch))
    return loss_of(training, with_prior(training, draw(training, batch, generator), [rows]), rows)


def backward(training: Training, drawn: Drawn, parameters: Sequence[Tensor], *, share: float) -> Tensor:
    """Add the gradients of ``share`` of a batch's loss to ``parameters``; return the loss.

    Of several processes each does so for its rows.
    """
    rows = training.team.rows(len(drawn.samples))
    parts = parted(rows) if can_be_parted(training) else [rows]
    drawn = with_prior(training, drawn, parts)
    if len(parts) == 1:
        with training.computing():
            loss = loss_of(training, drawn, rows)
        training.scale.backward(loss, share=share)
        return loss.detach()
    made = side_by_side([partial(_of_part, training, drawn, part, parameters, share) for part in parts])
    for _, gradients in made:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
    return torch.stack([loss for loss, _ in made]).sum()


def _of_part(
    training: Training, drawn: Drawn, part: slice, parameters: Sequence[Tensor], share: float
) -> tuple[Tensor, Sequence[Tensor | None]]:
    """Return what a part of a batch adds to the loss, and to each gradient."""
    with training.computing():
        loss = loss_of(training, drawn, part)
    scaled = loss * (training.scale.value * share)
    return loss.detach(), torch.autograd.grad(scaled, parameters, allow_unused=True)
