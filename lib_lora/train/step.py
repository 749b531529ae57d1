"""One optimizer step: a batch, its loss, its gradients."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lib_lora.errors import AtelierError
from lib_lora.sentences import say
from lib_lora.train.batch import draw
from lib_lora.train.gradients import backward
from lib_lora.train.rates import warmup_steps
from lib_lora.train.training import Training

BAD_STEPS = 5
"""After so many steps in a row without usable gradients a run ends: it has gone astray."""
LEFT_OUT = "left out"
"""What the remark on steps that taught nothing is about: there is one, with their number."""
START_STEPS = 100
"""So many steps after the warmup an optimizer that finds the step size itself has long begun to."""


def one_step(training: Training) -> dict[str, Any]:
    """Make one optimizer step and return its log row; everything random depends on seed and step alone."""
    options = training.options
    generator = torch.Generator().manual_seed(options.seed * 1_000_003 + training.step)
    training.optimizer.zero_grad()
    parameters = [p for adapter in training.lora.adapters.values() for p in adapter.parameters() if p.requires_grad]
    loss, usable = _gradients(training, parameters, generator)
    if usable:
        if options.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(parameters, options.max_grad_norm)
        training.updating = True
        training.optimizer.step(training.rate_factor())
        training.hold_norms()
        training.updating = False
        if training.average is not None:
            training.average.follow()
        training.bad_steps = 0
        training.recent = [*training.recent[-99:], loss]
    elif not math.isfinite(loss) or training.scale.value == 1.0:  # else the next one fits a smaller scale
        _left_out(training)
    training.step += 1
    if training.step == START_STEPS + warmup_steps(options, training.total) and training.optimizer.has_not_started:
        training.remark(
            say(
                "{optimizer} has not found a step size yet and learns next to nothing: give it d0=1e-5, or d_coef=2 "
                "where it takes that, or an alpha nearer to dim",
                optimizer=options.optimizer,
            )
        )
    mean = sum(training.recent) / max(1, len(training.recent))
    row = {
        "step": training.step,
        "epoch": training.epoch + 1,
        "loss": loss,
        "mean": mean,
        "rate": training.optimizer.effective_rate,
    }
    if training.norms is not None:
        row |= {
            "keys_scaled": training.norms.scaled,
            "norm": training.norms.mean,
            "largest_norm": training.norms.largest,
        }
    return row if usable else row | {"left_out": True}


def _gradients(training: Training, parameters: list[Tensor], generator: torch.Generator) -> tuple[float, bool]:
    """Leave the gradients of the step's batches on ``parameters``; return the loss, and whether they can be used.

    Of several batches the mean counts, of an epoch's last few too: each batch weighs alike within its step.
    """
    batches = training.next_batches()
    losses = []
    for batch in batches:
        losses.append(backward(training, draw(training, batch, generator), parameters, share=1 / len(batches)))
    mean = losses[0] if len(losses) == 1 else torch.stack(losses).mean()
    return training.scale.settled(training.team.add_up(parameters, mean), parameters)


def _left_out(training: Training) -> None:
    """Count a step that teaches nothing.

    Raises:
        AtelierError: it is one too many.
    """
    training.bad_steps += 1
    training.left_out += 1
    training.remark(
        say(
            "steps left out, because the loss or its gradients were no finite numbers (see log.jsonl): {n}",
            n=training.left_out,
        ),
        about=LEFT_OUT,
    )
    if training.bad_steps >= BAD_STEPS:
        raise AtelierError(
            "The loss or its gradients are no finite numbers five times in a row",
            where=say("step {n}", n=training.step),
            cure=training.cure(),
        )
