"""What is attached to the live UNet for the generation that is being sampled; nobody else touches its layers.

Attached at the first call of the denoiser for a ``p`` and off again at the first call for another one, at the next
activation, at the end of the generation, and when ``p`` is gone: what is on the layers never outlives the pictures.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Sequence

import torch
from torch import nn

from lib_lora.errors import AtelierError
from lib_lora.host.prompt.read import window_of
from lib_lora.host.webui.kind import HostKind, detect
from lib_lora.host.webui.model.live_model import WebuiModel, current_model
from lib_lora.host.webui.options import host_setting
from lib_lora.host.webui.prompt.plan import Ours
from lib_lora.host.webui.protocols import Denoiser, Processing
from lib_lora.live.attach import CHEAP, Attached
from lib_lora.live.swap import Swap
from lib_lora.live.targets import Target, find_targets

Failed = Callable[[AtelierError], None]
"""Told of a LoRA that does not fit the model any more (a refiner took over); the picture goes on without it."""


class Attachments:
    """The LoRAs of one generation at a time."""

    def __init__(self) -> None:
        self._owner: weakref.ref[Processing] | None = None
        self._ours: tuple[Ours, ...] = ()
        self._failed: Failed = _ignore
        self._model: WebuiModel | None = None
        self._total = 0
        self._live: list[Attached] = []

    def expect(self, p: Processing, ours: Sequence[Ours], failed: Failed) -> None:
        """Forget what was, and attach ``ours`` as soon as ``p`` is sampled; the last call before sampling counts."""
        self.release()
        if ours:
            self._owner = weakref.ref(p, lambda _: self.release())
            self._ours, self._failed = tuple(ours), failed

    def release(self, p: Processing | None = None) -> None:
        """Take everything off the layers and expect nothing more; with a ``p`` only where it is that one's."""
        if p is not None and not self._is_owner(p):
            return
        self.take_off()
        self._owner, self._ours, self._failed = None, (), _ignore

    def take_off(self) -> None:
        """Take everything off the layers; the generation it belongs to gets it back at its next step."""
        while self._live:
            self._live.pop().detach()
        self._model = None

    def before_step(self, denoiser: Denoiser) -> None:
        """Bring the layers to what the coming call of the denoiser needs.

        Args:
            denoiser: the host's `CFGDenoiser`: ``p``, ``step`` (its calls so far), ``steps`` and ``sampler`` are read.
        """
        if not self._is_owner(getattr(denoiser, "p", None)):
            self.take_off()
            return
        model = current_model()
        step, total = position(denoiser)
        if model is None or model is not self._model or total != self._total:
            self._put_on(model, total)
        for attached in self._live:
            attached.at_step(step)

    def _is_owner(self, p: Processing | None) -> bool:
        return p is not None and self._owner is not None and self._owner() is p

    def _put_on(self, model: WebuiModel | None, total: int) -> None:
        self.take_off()
        if model is None:
            return
        strategy, swap = _strategy(), Swap(_settle)
        for one in self._ours:
            try:
                targets, _ = find_targets(model, one.lora)
            except AtelierError as error:
                self._failed(error)
                continue
            attached = Attached(
                targets,
                strategy=strategy if _room_for_sums(targets) else "factors",
                window=window_of(one.tag, total),
                elements=one.tag.elements,
                strengths={"te": one.tag.te, "unet": one.tag.unet},
                folding=swap,
            )
            self._live.append(attached)  # before it touches a layer: whatever happens, it can be taken off
            attached.set_weights(one.multipliers)
        self._model, self._total = model, total


def position(denoiser: Denoiser) -> tuple[int, int]:
    """Return the 0-based step that the coming call belongs to, and the steps of this pass.

    A second-order sampler calls twice a step; the host counts them so for prompt editing too (`SamplerData`).
    """
    total: int = getattr(denoiser, "steps", None) or getattr(denoiser.p, "steps", None) or 1
    config = getattr(getattr(denoiser, "sampler", None), "config", None)
    twice = bool(getattr(config, "options", {}).get("second_order", False))
    step = denoiser.step // 2 if twice else denoiser.step
    return max(0, min(step, total - 1)), total


def _strategy() -> str:
    """Return how to attach: folded only where the layer's weight is an ordinary tensor that stays where it is."""
    from modules import devices, shared

    if detect() is not HostKind.A1111:
        return "factors"
    functional = host_setting("lora_functional", False)  # restores weights in the middle of the layer's call
    moved = getattr(shared.sd_model, "lowvram", False)  # every move would mean another sum
    rounded = getattr(devices, "fp8", False)  # a sum in fp8 loses most of a LoRA
    return "factors" if functional or moved or rounded or torch.is_inference_mode_enabled() else "auto"


def _room_for_sums(targets: Sequence[Target]) -> bool:
    """Tell whether the GPU has room for the sums of the layers that would be folded, and as much for the picture."""
    folded = [one.layer.weight for one in targets if one.adapter.cheap_work(one.layer) > CHEAP]
    if not folded or folded[0].device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(folded[0].device)
    return free > 2 * sum(weight.nbytes for weight in folded)


def _settle(layer: nn.Module) -> None:
    """Let A1111 finish its own LoRAs on a layer, as it would at the beginning of the layer's call."""
    networks = sys.modules.get("networks")
    if networks is not None and hasattr(networks, "network_apply_weights"):
        networks.network_apply_weights(layer)


def _ignore(error: AtelierError) -> None:
    """Nobody is there to be told."""
