"""Attach a LoRA to a live model; leaving the context removes every trace.

Two strategies, never visible in the result beyond rounding. *Factors*: a forward hook adds ``m · up(down(x))``; ``m``
may change every step or be one number per sample, and gradients reach the factors. *Folded*: the layer holds
``W + Σ m·Δ`` in a tensor of its own. The base weights' bytes are never altered, by neither.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from lib_lora.blocks.elements import ElementRules
from lib_lora.blocks.layouts import BASE
from lib_lora.errors import InputError
from lib_lora.formats.adapters.base import Adapter
from lib_lora.formats.lora import LoraFile
from lib_lora.live import fold
from lib_lora.live.compiled import notice_hooks
from lib_lora.live.summed import untouched
from lib_lora.live.swap import RECORD as SWAPPED
from lib_lora.live.targets import (
    HasLayers,
    Strength,
    Target,
    find_targets,
    strength_of,
    uniform_multipliers,
)
from lib_lora.sentences import say

STRATEGIES = ("auto", "factors", "folded")
CHEAP = 0.06
"""Factors are used while they add at most this share to the layer's own work, else the layer is folded."""


@dataclass(frozen=True)
class Window:
    """The steps in which the UNet's adapters act: ``start <= step < stop``, counted from 0; stop None is the end.

    ``weight`` gives the number that multiplies them at a step; None is 1 everywhere.
    """

    start: int = 0
    stop: int | None = None
    weight: Callable[[int], float] | None = None

    def holds(self, step: int) -> bool:
        """Whether ``step`` lies in the window."""
        return step >= self.start and (self.stop is None or step < self.stop)

    def factor(self, step: int) -> float:
        """Return what multiplies the UNet's adapters at ``step``; 0 outside of the window."""
        if not self.holds(step):
            return 0.0
        return 1.0 if self.weight is None else self.weight(step)


class Folding(Protocol):
    """How a layer gets ``W + Σ m·Δ``: the module `fold`, or a `swap.Swap` where the host changes weights in place."""

    def contribute(self, layer: nn.Module, owner: Hashable, adapter: Adapter, strength: float) -> None:
        """Add ``strength · delta``, in place of what ``owner`` added before."""
        ...

    def withdraw(self, layer: nn.Module, owner: Hashable) -> None:
        """Take away what ``owner`` added."""
        ...


class Attached:
    """One LoRA on one model: change its weights or its step at any time, `detach` once."""

    def __init__(
        self,
        targets: Iterable[Target],
        *,
        strategy: str = "auto",
        window: Window | None = None,
        elements: ElementRules | None = None,
        strengths: Mapping[str, float] | None = None,
        folding: Folding = fold,
    ) -> None:
        self.targets = tuple(targets)
        self._folding = folding
        self.window = window or Window()
        self.elements = elements
        self._unet_strength = (strengths or {}).get("unet", 1.0)
        self._text_strength = (strengths or {}).get("te", 1.0)
        self._strategy = strategy
        notice_hooks()
        self._strength: dict[int, Strength] = {}
        self._handles: dict[int, torch.utils.hooks.RemovableHandle] = {}
        self._folded: dict[int, float] = {}
        self._step = 0
        self._paused = False

    def set_weights(self, multipliers: Mapping[str, Strength]) -> None:
        """Set the multiplier of every block; only what changed is folded again.

        Args:
            multipliers: block name (with BASE and ``other``) to a number or to one number per sample ``(n,)``. A batch
                of ``k·n`` samples repeats them k times (classifier-free guidance).
        """
        for index, target in enumerate(self.targets):
            own = self._text_strength if target.block == BASE else self._unet_strength
            self._strength[index] = strength_of(target, multipliers, self.elements, own)
            self._refresh(index)

    def at_step(self, step: int) -> None:
        """Say which sampling step comes next, counted from 0; the text encoder's adapters know no steps."""
        was, self._step = self.window.factor(self._step), step
        if was != self.window.factor(step):
            self._refresh_all()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let the model be what it is without this LoRA for a while."""
        self._paused = True
        self._refresh_all()
        try:
            yield
        finally:
            self._paused = False
            self._refresh_all()

    def detach(self) -> None:
        """Take everything off; the layers are what they were, byte for byte. Safe to call twice."""
        notice_hooks()  # the model may have been compiled meanwhile
        for handle in self._handles.values():
            handle.remove()
        for index in list(self._folded):
            self._folding.withdraw(self.targets[index].layer, (id(self), index))
        self._handles.clear()
        self._folded.clear()

    def _refresh_all(self) -> None:
        for index in range(len(self.targets)):
            self._refresh(index)

    def _active(self, index: int) -> Strength:
        if self._paused:
            return 0.0
        factor = 1.0 if self.targets[index].block == BASE else self.window.factor(self._step)
        return self._strength[index] * factor if factor else 0.0

    def _refresh(self, index: int) -> None:
        """Bring one layer to its present multiplier, by the strategy that suits it."""
        target, strength = self.targets[index], self._active(index)
        if self._uses_factors(target, strength):
            if index in self._folded:
                self._folding.withdraw(target.layer, (id(self), index))
                del self._folded[index]
            if index not in self._handles:
                self._handles[index] = target.layer.register_forward_hook(self._hook(index))
            return
        if index in self._handles:
            self._handles.pop(index).remove()
        number = float(strength)
        if self._folded.get(index, 0.0) == number:
            return
        if number == 0.0:
            self._folding.withdraw(target.layer, (id(self), index))
            del self._folded[index]
        else:
            self._folding.contribute(target.layer, (id(self), index), target.adapter, number)
            self._folded[index] = number

    def _uses_factors(self, target: Target, strength: Strength) -> bool:
        """Whether this layer gets a hook; a per-sample strength and gradients need one."""
        if isinstance(strength, Tensor) or any(p.requires_grad for p in target.adapter.parameters()):
            return True
        if self._strategy == "auto" and self.window.weight is not None:
            return True  # another sum in every step would cost more
        if self._strategy != "auto":
            return self._strategy == "factors"
        return target.adapter.cheap_work(target.layer) <= CHEAP

    def _hook(self, index: int):
        adapter = self.targets[index].adapter

        def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            strength = self._active(index)
            if not isinstance(strength, Tensor):
                if strength == 0.0:
                    return None
                change = _change(adapter, layer, inputs[0])
                return output + (change if strength == 1.0 else change * strength)
            if not strength.any():
                return None
            return output + _change(adapter, layer, inputs[0]) * _per_sample(strength, output)

        return add


def _change(adapter: Adapter, layer: nn.Module, x: Tensor) -> Tensor:
    """Return what an adapter adds for an input, made from the weight that the layer has without us."""
    weight, bias = own_numbers(layer)
    return adapter.apply(x, layer, weight=weight, bias=bias)


def own_numbers(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
    """Return a live layer's weight and bias as they are without any LoRA of ours."""
    return untouched(layer, getattr(layer, fold.RECORD, None), getattr(layer, SWAPPED, None))


def _per_sample(strength: Tensor, output: Tensor) -> Tensor:
    """Return ``strength`` ``(n,)`` shaped to multiply ``output`` ``(k·n, …)``."""
    copies, rest = divmod(output.shape[0], strength.shape[0])
    if rest:
        raise ValueError(f"a batch of {output.shape[0]} is no multiple of the {strength.shape[0]} per-sample weights")
    spread = strength.to(device=output.device, dtype=output.dtype).repeat(copies)
    return spread.reshape(-1, *[1] * (output.dim() - 1))


@contextmanager
def attach(
    model: HasLayers,
    lora: LoraFile,
    weights: Mapping[str, Strength] | float = 1.0,
    *,
    strategy: str = "auto",
    window: Window | None = None,
    elements: ElementRules | None = None,
    strengths: Mapping[str, float] | None = None,
) -> Iterator[Attached]:
    """Attach ``lora`` to ``model`` while the context lasts.

    Args:
        model: a loaded model (its ``family`` and ``layers`` are used).
        lora: the file; layers that it does not match are left alone.
        weights: one number for all blocks, or block name to number or per-sample numbers ``(n,)``.
        strategy: ``auto`` (by cost), ``factors`` or ``folded``.
        window: the sampling steps in which the UNet's adapters act.
        elements: element rules; a ratio replaces a block's weight.
        strengths: ``te`` and ``unet`` strength that an element rule's ratio is multiplied with.

    Yields:
        The attachment, for changing weights and steps while it lasts.

    Raises:
        InputError: no layer matches, a layer has another size, or a number cannot be right.
    """
    if strategy not in STRATEGIES:
        cure = say("Choose one of: {names}.", names=STRATEGIES)
        raise InputError("“{value}” is unknown", value=strategy, where="strategy", cure=cure)
    targets, _ = find_targets(model, lora)
    multipliers = weights if isinstance(weights, Mapping) else uniform_multipliers(model.family, float(weights))
    attached = Attached(targets, strategy=strategy, window=window, elements=elements, strengths=strengths)
    try:
        attached.set_weights(multipliers)
        yield attached
    finally:
        attached.detach()


@contextmanager
def attach_all(ones: Iterable[AbstractContextManager[Attached]]) -> Iterator[tuple[Attached, ...]]:
    """Enter many attachments at once; each folded layer is summed once on the way in and restored once on the way out.

    Args:
        ones: what `attach` returns, not entered yet.
    """
    entered = ExitStack()
    try:
        with fold.together():
            attached = tuple(entered.enter_context(one) for one in ones)
        yield attached
    finally:
        with fold.together():
            entered.close()


def at_step(attached: Iterable[Attached], step: int) -> None:
    """Say to many attachments which sampling step comes next, counted from 0; each layer is summed once."""
    with fold.together():
        for one in attached:
            one.at_step(step)
