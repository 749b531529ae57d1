"""One batch: what is random in it, and its weighted loss."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lib_lora.errors import AtelierError
from lib_lora.host.base import Conditioning
from lib_lora.host.clip_chunks import CHUNK
from lib_lora.train.captions import encode_captions, layout_of
from lib_lora.train.loss import Noised, distance, noised, step_weight
from lib_lora.train.noise import draw_noise, perturbation
from lib_lora.train.training import Training
from lib_lora.train.training_set import Sample
from lib_lora.train.varied import still_there

ENCODING = threading.Lock()
"""Of the parts of a batch one encodes its captions at a time: a tokenizer and a text encoder note down what they do."""


@dataclass(frozen=True)
class Drawn:
    """A batch with all that is random in it; the tensors have a row for each sample.

    ``cond`` are the captions, encoded: None where the text encoder learns. ``rows`` are those of the whole batch that
    stand here, and ``every`` are all its captions. ``prior`` is what the model itself says of regularization pictures.
    """

    samples: Sequence[Sample]
    captions: Sequence[str]
    clean: Tensor
    sizes: Tensor
    noise: Tensor
    timesteps: Tensor
    disturbed: Tensor | None
    masks: Tensor | None
    dropout: int
    cond: Conditioning | None
    every: Sequence[str]
    rows: slice
    prior: Tensor | None = None

    def of(self, rows: slice) -> Drawn:
        """Return some rows of a whole batch."""

        def some(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor[rows]

        return replace(
            self,
            samples=self.samples[rows],
            captions=self.captions[rows],
            clean=self.clean[rows],
            sizes=self.sizes[rows],
            noise=self.noise[rows],
            timesteps=self.timesteps[rows],
            disturbed=some(self.disturbed),
            masks=some(self.masks),
            cond=None if self.cond is None else self.cond.of(rows),
            rows=rows,
            prior=some(self.prior),
        )


def draw(training: Training, batch: Sequence[Sample], generator: torch.Generator) -> Drawn:
    """Draw orientations, noise, timesteps and captions of a whole batch, always in this order.

    For the whole of it, so that those who compute some of its rows see what one who computes all would; but of pictures
    that vary only the rows of this process are encoded.
    """
    options = training.options
    orientations = [int(torch.randint(len(item.latents), (1,), generator=generator)) for item in batch]
    seeds = [int(torch.randint(2**62, (1,), generator=generator)) if item.varied else 0 for item in batch]
    mine = range(len(batch))[training.team.rows(len(batch))]
    rows = enumerate(zip(batch, orientations, seeds, strict=True))
    pictures = [_picture(training, *row, anew=number in mine) for number, row in rows]
    clean = torch.stack([latents for latents, _ in pictures])
    sizes = torch.tensor([item.sizes[orientation] for item, orientation in zip(batch, orientations, strict=True)])
    noise = draw_noise(clean, options, generator)
    timesteps = torch.randint(options.min_timestep, options.max_timestep, (len(batch),), generator=generator)
    disturbed = perturbation(clean.shape, options, generator)
    rng = random.Random(int(torch.randint(2**62, (1,), generator=generator)))
    now = {"step": training.step, "epoch": training.epoch + 1, "total_steps": training.total}
    captions = [item.rules.apply(item.caption, rng, **now) for item in batch]
    masks = None
    if any(item.masks is not None for item in batch):
        masks = torch.stack([mask for _, mask in pictures])
    dropout = int(torch.randint(2**62, (1,), generator=generator)) if training.dropout.active else 0
    cond = None if training.trains_text else training.captions.encode(captions)  # as long as its longest
    tensors = (clean, sizes, noise, timesteps, disturbed, masks)
    return Drawn(batch, captions, *tensors, dropout, cond, captions, slice(0, len(batch)))


def _picture(training: Training, item: Sample, orientation: int, seed: int, *, anew: bool) -> tuple[Tensor, Tensor]:
    """Return a picture's latents ``(4, h, w)`` and how much each counts ``(1, h, w)``; of one that varies, ``anew``."""
    if item.varied is not None and anew:
        try:
            latents, mask = item.varied.encode(random.Random(seed), mirrored=bool(orientation))
        except AtelierError as error:  # taken away or changed meanwhile: what was encoded at the start is as good
            training.remark(still_there(error), about=str(item.picture.path))
        else:
            return latents, torch.ones(1, *latents.shape[-2:]) if mask is None else mask[None]
    return item.latents[orientation], item.mask(orientation)


def noised_of(training: Training, drawn: Drawn) -> Noised:
    """Return what the model sees of a batch, and what it should say."""
    model, disturbed = training.model, drawn.disturbed
    return noised(
        drawn.clean.to(model.device),
        drawn.noise.to(model.device),
        drawn.timesteps.to(model.device),
        alphas_cumprod=training.alphas_cumprod,
        prediction_type=model.prediction_type,
        disturbed=None if disturbed is None else disturbed.to(model.device),
    )


def loss_of(training: Training, whole: Drawn, rows: slice) -> Tensor:
    """Return what some rows of a batch add to its weighted loss, the mean of all rows."""
    model, options = training.model, training.options
    if training.dropout.active:
        training.dropout.begin(whole.dropout, whole.timesteps, rows)
    drawn = whole.of(rows)
    if not drawn.samples:
        return torch.zeros((), device=model.device, requires_grad=True)
    seen = noised_of(training, drawn)
    weights = torch.tensor([item.weight for item in drawn.samples], device=model.device)
    snr = step_weight(seen.snr, options, model.prediction_type)
    reg = torch.tensor([item.picture.is_reg for item in drawn.samples], device=model.device)
    if drawn.prior is not None:
        seen = replace(seen, target=torch.where(reg[:, None, None, None], drawn.prior.to(seen.target), seen.target))
        snr = torch.where(reg, 1.0, snr)  # nothing is noisy in what the model itself says: every step counts alike
    cond = _encoded(training, drawn) if drawn.cond is None else drawn.cond
    predicted = model.predict(seen.latents.to(model.dtype), seen.timesteps, replace(cond, sizes=drawn.sizes))
    error = distance(predicted, seen, options)
    if drawn.masks is not None:  # the mean stays that of all latents, as in sd-scripts: a small subject teaches gently
        error = error * drawn.masks.to(error)
    each = error.mean(dim=(1, 2, 3)) * weights * snr
    return each.mean() if len(each) == len(whole.samples) else each.sum() / len(whole.samples)


def _encoded(training: Training, drawn: Drawn) -> Conditioning:
    """Return the captions by a text encoder that learns, as long as the longest of the whole batch's."""
    model, options = training.model, training.options
    with ENCODING:
        if len(drawn.captions) < len(drawn.every):
            places = model.count_tokens(drawn.every, layout_of(options))
            if len({max(1, -(-count // CHUNK)) for count in places}) > 1:
                return encode_captions(model, options, drawn.every).of(drawn.rows)
        return encode_captions(model, options, drawn.captions)
