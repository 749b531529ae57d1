"""The guided prediction of a picture's prompts: what each call of the sampler is given, and how it is put together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from lib_lora.host.base import Conditioning
from lib_lora.host.prompt.schedule import Moment, parts_of, schedule_of, text_at
from lib_lora.process import side_by_side

Encode = Callable[[Sequence[str], Sequence[int]], Sequence[Conditioning]]
"""From the texts of one prompt and how often each comes to their conditioning."""

Predict = Callable[[Tensor, Tensor, Conditioning], Tensor]
"""The UNet: ``(latents (n, 4, h, w), timesteps (n,), conditioning of n rows) -> (n, 4, h, w)``."""


@dataclass(frozen=True)
class Scheduled:
    """A prompt in the course of a picture: its texts, encoded, and how much the prompt counts."""

    moments: tuple[Moment, ...]
    conditions: tuple[Conditioning, ...]
    weight: float = 1.0

    @classmethod
    def of(cls, text: str, calls: int, encode: Encode, *, weight: float = 1.0) -> Scheduled:
        """Return the prompt ``text`` for ``calls`` calls of the denoiser; each of its texts is encoded once."""
        moments = schedule_of(text, calls)
        counts = Counter(moment.text for moment in moments)
        made = dict(zip(counts, encode(tuple(counts), tuple(counts.values())), strict=True))
        return cls(moments, tuple(made[moment.text] for moment in moments), weight)

    def at(self, call: int) -> Conditioning:
        """Return what the denoiser's call number ``call`` is given."""
        return self.conditions[text_at(self.moments, call)]


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance (arXiv:2207.12598) with any number of prompts (arXiv:2206.01714).

    The result is ``u + scale · Σ w_i (c_i - u)``: ``u`` is the prediction with the negative prompt, ``c_i`` that with
    the i-th of the prompts between which stands ``AND``, ``w_i`` its weight.
    """

    predict: Predict
    negative: Scheduled
    prompts: tuple[Scheduled, ...]
    scale: float
    apart: bool = False
    """Whether the predictions of one call are made side by side in threads, each for all pictures."""

    @classmethod
    def of(
        cls, prompt: str, negative: str, calls: int, encode: Encode, *, predict: Predict, scale: float, apart: bool
    ) -> Guidance:
        """Return the guidance of two prompts without LoRA tags; ``AND`` is a word in the negative one."""
        against = Scheduled.of(negative, calls, encode)
        wanted = tuple(Scheduled.of(part.text, calls, encode, weight=part.weight) for part in parts_of(prompt))
        return cls(predict, against, wanted, scale, apart)

    def __call__(self, latents: Tensor, timestep: Tensor, call: int) -> Tensor:
        """Return the guided prediction ``(n, 4, h, w)`` at a timestep, in fp32."""
        pictures = latents.shape[0]
        against, wanted = self.negative.at(call), [prompt.at(call) for prompt in self.prompts]
        without, with_ = _rows([against], pictures), _rows(wanted, pictures)
        if self.apart:
            each = [without, *(with_.of(slice(n, n + pictures)) for n in range(0, pictures * len(wanted), pictures))]
            output = torch.cat(side_by_side([partial(self._predict, latents, timestep, one) for one in each]))
        elif without.tokens.shape[1] == with_.tokens.shape[1]:
            output = self._predict(latents, timestep, _together(without, with_))
        else:  # as the WebUI does: no prompt is padded to the other's length
            passes = [self._predict(latents, timestep, each) for each in (without, with_)]
            output = torch.cat(passes)
        base, *others = output.chunk(1 + len(self.prompts))
        guided = base
        for prompt, other in zip(self.prompts, others, strict=True):
            guided = guided + self.scale * prompt.weight * (other - base)
        return guided

    def _predict(self, latents: Tensor, timestep: Tensor, cond: Conditioning) -> Tensor:
        copies = cond.tokens.shape[0] // latents.shape[0]
        several = torch.cat([latents] * copies).to(cond.tokens.dtype)
        return self.predict(several, timestep.expand(several.shape[0]).to(several.device), cond).float()


def _rows(conditions: Sequence[Conditioning], pictures: int) -> Conditioning:
    """Return conditions of 1 or ``pictures`` rows under each other; shorter ones repeat their last vector."""
    longest = max(cond.tokens.shape[1] for cond in conditions)
    tokens, pooled = [], []
    for cond in conditions:
        rest = longest - cond.tokens.shape[1]
        whole = torch.cat([cond.tokens, cond.tokens[:, -1:].expand(-1, rest, -1)], dim=1) if rest else cond.tokens
        tokens.append(whole.expand(pictures, -1, -1))
        if cond.pooled is not None:
            pooled.append(cond.pooled.expand(pictures, -1))
    return Conditioning(torch.cat(tokens), torch.cat(pooled) if pooled else None)


def _together(first: Conditioning, second: Conditioning) -> Conditioning:
    pooled = None if first.pooled is None or second.pooled is None else torch.cat([first.pooled, second.pooled])
    return Conditioning(torch.cat([first.tokens, second.tokens]), pooled)
