"""What of a LoRA takes part in a step: dropout of three kinds, and ranks by timestep.

Masks act where gradients are recorded: samples, and every prediction that only looks on, see the whole LoRA. They
follow from the step's number and the layer alone: a forward pass that is repeated for its gradients draws the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lib_lora.formats.adapters.around import Around
from lib_lora.formats.adapters.base import Adapter
from lib_lora.formats.adapters.dora import DoraAdapter
from lib_lora.formats.adapters.lora import LoraAdapter
from lib_lora.formats.lora import LoraFile
from lib_lora.train.options import TrainOptions


class Masks:
    """The masks of one run; `begin` says which step it is."""

    def __init__(self, options: TrainOptions, *, timesteps: int) -> None:
        self.options = options
        self._timesteps = timesteps
        self._count = 0
        self._seed = 0
        self._now: Tensor | None = None
        self._all, self._rows = 0, slice(0, 0)
        self._skipped: Tensor = torch.zeros(0, dtype=torch.bool)

    @property
    def active(self) -> bool:
        """Whether anything is ever masked."""
        options = self.options
        drops = options.network_dropout or options.rank_dropout or options.module_dropout
        return bool(drops or options.timestep_rank)

    def around(self, lora: LoraFile) -> LoraFile:
        """Return ``lora`` as it is to be attached: the same parameters, seen through the masks."""
        if not self.active:
            return lora
        self._count = len(lora.adapters)
        seen: dict[str, Adapter] = {
            key: Masked(key, adapter, self, number) if any(p.requires_grad for p in adapter.parameters()) else adapter
            for number, (key, adapter) in enumerate(lora.adapters.items())
        }
        return replace(lora, adapters=seen)

    def begin(self, seed: int, timesteps: Tensor, rows: slice | None = None) -> None:
        """Say that a forward pass begins.

        Args:
            seed: a number of its own.
            timesteps: of each sample ``(n,)`` of the batch.
            rows: those of the batch that this process computes; None is all.
        """
        self._seed, self._all = seed, len(timesteps)
        self._rows = slice(0, len(timesteps)) if rows is None else rows
        self._now = timesteps[self._rows]
        if self.options.module_dropout:
            generator = torch.Generator().manual_seed(seed)
            self._skipped = torch.rand(self._count, generator=generator) < self.options.module_dropout
            if self._skipped.all():  # a step that trains nothing would have no gradient at all
                self._skipped[int(torch.randint(self._count, (1,), generator=generator))] = False

    def skips(self, number: int) -> bool:
        """Whether a layer is left out of this step."""
        return bool(self.options.module_dropout) and bool(self._skipped[number])

    def hidden(self, hidden: Tensor, number: int, *, by_timestep: bool, rank_axis: int) -> Tensor:
        """Return a LoRA's numbers between down and up, masked, with the first axis one sample each.

        Element dropout is torch's; rank dropout keeps an entry with probability 1 - p and divides by it, as sd-scripts.
        """
        options, generator = self.options, self._generator(number, hidden.device)
        if options.network_dropout:
            kept = self._rand(hidden.shape, generator) >= options.network_dropout
            hidden = hidden * kept / (1 - options.network_dropout)
        shape = [1] * hidden.ndim
        shape[0], shape[rank_axis] = hidden.shape[0], hidden.shape[rank_axis]
        if options.rank_dropout:
            hidden = hidden * (self._rand(shape, generator) > options.rank_dropout) / (1 - options.rank_dropout)
        if by_timestep and options.timestep_rank and self._now is not None:
            rank = hidden.shape[rank_axis]
            ranks = allowed_ranks(self._now, rank, least=options.timestep_rank_min, timesteps_in_all=self._timesteps)
            if hidden.shape[0] % len(ranks):
                ranks = ranks.min().reshape(1)
            ranks = ranks.to(hidden.device).repeat(hidden.shape[0] // len(ranks))
            mask = torch.arange(rank, device=hidden.device) < ranks[:, None]
            hidden = hidden * mask.reshape(shape)
        return hidden

    def _rand(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """Draw for all samples of the batch and return those of this process, so that several draw what one would."""
        own = self._now is not None and shape[0] == len(self._now)
        drawn = torch.rand((self._all if own else shape[0], *shape[1:]), generator=generator, device=generator.device)
        return drawn[self._rows] if own else drawn

    def rows(self, count: int, number: int, device: torch.device) -> Tensor:
        """Return which output rows of a change take part ``(count,)``: the rank dropout of LyCORIS, not rescaled."""
        drawn = torch.rand(count, generator=self._generator(number, device), device=device)
        return drawn > self.options.rank_dropout

    def _generator(self, number: int, device: torch.device) -> torch.Generator:
        return torch.Generator(device).manual_seed((self._seed * 1_000_003 + number) % 2**63)


def allowed_ranks(timesteps: Tensor, rank: int, *, least: int, timesteps_in_all: int) -> Tensor:
    """Return how many ranks each sample may use: the fewer, the noisier it is (T-LoRA, arXiv:2507.05964, equation 5).

    Args:
        timesteps: of each sample ``(n,)``, 0 to ``timesteps_in_all`` - 1.
        rank: of the layer.
        least: ranks that are left at the noisiest step; 0 is half of them.
        timesteps_in_all: of the noise schedule.
    """
    least = min(rank, least or max(1, rank // 2))
    share = (timesteps_in_all - timesteps.detach().double().cpu()) / timesteps_in_all
    return (share * (rank - least)).long() + least


@dataclass(frozen=True, eq=False)
class Seen(Around):
    """Another adapter with the same parameters; what is not said here is that one's."""

    kind = title = signs = names = ""

    @property
    def needs_weight(self) -> bool:  # type: ignore[override]  # of what is inside, in place of a constant
        """Whether what is inside needs the weight."""
        return self.inner.needs_weight

    @classmethod
    def read(cls, key: str, parts: Mapping[str, Tensor]) -> Seen:
        """Never asked for: no file holds one."""
        raise NotImplementedError

    def delta(self, weight: Tensor | None = None) -> Tensor:
        """Return the whole change."""
        return self.inner.delta(weight)

    def tensors(self) -> dict[str, Tensor]:
        """Return the parts of what is inside."""
        return self.inner.tensors()

    def parameters(self) -> list[Tensor]:
        """Return the parameters of what is inside."""
        return self.inner.parameters()

    def with_parameters(self, tensors: list[Tensor]) -> Seen:
        """Return the same with other tensors."""
        return replace(self, inner=self.inner.with_parameters(tensors))


@dataclass(frozen=True, eq=False)
class Rows(Seen):
    """Some output rows of a change: ``kept`` (out,)."""

    kept: Tensor

    def delta(self, weight: Tensor | None = None) -> Tensor:
        """Return the change, 0 in the rows that are left out."""
        whole = self.inner.delta(weight)
        return whole * self.kept.to(whole).reshape(-1, *[1] * (whole.ndim - 1))


@dataclass(frozen=True, eq=False)
class Masked(Seen):
    """An adapter as the step that is going on sees it."""

    masks: Masks
    number: int

    def apply(self, x: Tensor, layer: nn.Module, *, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """Return what is added, masked where gradients are recorded."""
        if not torch.is_grad_enabled():
            return self.inner.apply(x, layer, weight=weight, bias=bias)
        if self.masks.skips(self.number):
            return x.new_zeros(())
        if isinstance(self.inner, LoraAdapter):
            axis, by_timestep = 1 if isinstance(layer, nn.Conv2d) else -1, not self.key.startswith("lora_te")
            return self.inner.apply_hidden(
                x, layer, lambda h: self.masks.hidden(h, self.number, by_timestep=by_timestep, rank_axis=axis)
            )
        return self._some_rows(x.device).apply(x, layer, weight=weight, bias=bias)

    def _some_rows(self, device: torch.device) -> Adapter:
        """Return what is inside with the rows of this step; of a DoRA those of what is added before its lengths act."""
        if not self.masks.options.rank_dropout:
            return self.inner
        kept = self.masks.rows(self.shape[0], self.number, device)
        if isinstance(self.inner, DoraAdapter):
            return replace(self.inner, inner=Rows(self.key, self.inner.inner, kept))
        return Rows(self.key, self.inner, kept)
