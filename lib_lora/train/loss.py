"""The weighted loss of one batch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lib_lora.train.captions import encode_captions
from lib_lora.train.noise import draw_noise, perturbation
from lib_lora.train.objective import Noised, distance, noised, step_weight
from lib_lora.train.training import Training
from lib_lora.train.training_set import Sample


@dataclass(frozen=True)
class _Drawn:
    """A batch with all that is random in it; the tensors have a row for each sample, and lie in main memory."""

    samples: Sequence[Sample]
    captions: Sequence[str]
    clean: Tensor
    sizes: Tensor
    noise: Tensor
    timesteps: Tensor
    disturbed: Tensor | None
    masks: Tensor | None
    dropout: int

    def of(self, rows: slice) -> _Drawn:
        """Return some of its rows."""
        disturbed, masks = (None if one is None else one[rows] for one in (self.disturbed, self.masks))
        tensors = (self.clean[rows], self.sizes[rows], self.noise[rows], self.timesteps[rows], disturbed, masks)
        return _Drawn(self.samples[rows], self.captions[rows], *tensors, self.dropout)


def _draw(training: Training, batch: list[Sample], generator: torch.Generator) -> _Drawn:
    """Draw orientations, noise, timesteps and captions of a batch, always in this order."""
    options = training.options
    orientations = [int(torch.randint(len(item.latents), (1,), generator=generator)) for item in batch]
    clean = torch.stack([item.latents[orientation] for item, orientation in zip(batch, orientations, strict=True)])
    sizes = torch.tensor([item.sizes[orientation] for item, orientation in zip(batch, orientations, strict=True)])
    noise = draw_noise(clean, options, generator)
    timesteps = torch.randint(options.min_timestep, options.max_timestep, (len(batch),), generator=generator)
    disturbed = perturbation(clean.shape, options, generator)
    rng = random.Random(int(torch.randint(2**62, (1,), generator=generator)))
    now = {"step": training.step, "epoch": training.epoch + 1, "total_steps": training.total}
    captions = [item.rules.apply(item.caption, rng, **now) for item in batch]
    masks = None
    if any(item.masks is not None for item in batch):
        masks = torch.stack([item.mask(orientation) for item, orientation in zip(batch, orientations, strict=True)])
    dropout = int(torch.randint(2**62, (1,), generator=generator)) if training.dropout.active else 0
    return _Drawn(batch, captions, clean, sizes, noise, timesteps, disturbed, masks, dropout)


def batch_loss(training: Training, batch: list[Sample], generator: torch.Generator) -> Tensor:
    """Return the weighted loss of one batch; of several processes each returns the part of its rows, and they add up.

    All is drawn for the whole batch first, so that several processes see what one would.
    """
    model, options = training.model, training.options
    drawn, rows = _draw(training, batch, generator), training.team.rows(len(batch))
    if training.dropout.active:
        training.dropout.begin(drawn.dropout, drawn.timesteps, rows)
    every, drawn = drawn.captions, drawn.of(rows)
    if not drawn.samples:
        return torch.zeros((), device=model.device, requires_grad=True)
    captions, sizes, disturbed = list(drawn.captions), drawn.sizes, drawn.disturbed
    seen = noised(
        drawn.clean.to(model.device),
        drawn.noise.to(model.device),
        drawn.timesteps.to(model.device),
        alphas_cumprod=training.alphas_cumprod,
        prediction_type=model.prediction_type,
        disturbed=None if disturbed is None else disturbed.to(model.device),
    )
    weights = torch.tensor([item.weight for item in drawn.samples], device=model.device)
    snr = step_weight(seen.snr, options, model.prediction_type)
    reg = torch.tensor([item.picture.is_reg for item in drawn.samples], device=model.device)
    if options.prior_from_model and reg.any():
        seen = replace(seen, target=_prior_target(training, seen, captions, sizes, reg))
        snr = torch.where(reg, 1.0, snr)  # nothing is noisy in what the model itself says: every step counts alike
    if training.trains_text:
        cond = encode_captions(model, options, captions)
    else:
        cond = training.captions.encode(every).of(rows)  # as long as the whole batch's longest
    predicted = model.predict(seen.latents.to(model.dtype), seen.timesteps, replace(cond, sizes=sizes))
    error = distance(predicted, seen, options)
    if drawn.masks is not None:  # the mean stays that of all latents, as in sd-scripts: a small subject teaches gently
        error = error * drawn.masks.to(error)
    each = error.mean(dim=(1, 2, 3)) * weights * snr
    return each.mean() if training.team.alone else each.sum() / len(batch)


def _prior_target(training: Training, seen: Noised, captions: list[str], sizes: Tensor, reg: Tensor) -> Tensor:
    """Return the target with the model's own prediction, LoRA off, in the rows of regularization pictures.

    Prior preservation (arXiv:2208.12242) with the model's output in place of the picture: what it knew is held at every
    noise level, and the pictures need not be perfect.
    """
    rows = reg.nonzero().flatten()
    chosen = Noised(seen.latents[rows], seen.timesteps[rows], seen.target[rows], seen.snr[rows])
    with torch.no_grad(), _without_lora(training):
        cond = training.captions.encode([captions[row] for row in rows.tolist()])  # of the model without the LoRA
        cond = replace(cond, sizes=sizes[rows.cpu()])
        before = training.model.predict(chosen.latents.to(training.model.dtype), chosen.timesteps, cond)
    return seen.target.index_copy(0, rows, before.to(seen.target.dtype))


def _without_lora(training: Training) -> AbstractContextManager[None]:
    """Let the model be what it is without the LoRA, where that is attached."""
    return nullcontext() if training.attached is None else training.attached.paused()
