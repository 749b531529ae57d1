"""The host's live model, lent to a training: prepared for gradients, and given back byte for byte.

The weights themselves are never written: a LoRA in training acts through forward hooks, and what gradients need (frozen
parameters, another attention, no leftovers of the last prompt) is a context that puts everything back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from torch import nn

from lib_lora.data.images import load_picture
from lib_lora.errors import AtelierError, InputError
from lib_lora.host.base import Lease
from lib_lora.host.webui.kind import detect, why_not
from lib_lora.host.webui.model.layers import fused_attentions, split_forward
from lib_lora.host.webui.model.live_model import WebuiModel, chosen_model, current_model
from lib_lora.host.webui.prompt import hooks
from lib_lora.host.webui.session import progress
from lib_lora.host.webui.session.queue_lock import QueueLock
from lib_lora.host.webui.session.restore import attributes_kept, frozen, random_kept


class WebuiLease(Lease):
    """The lent model's link to the host's page: its progress bar, its live preview, its buttons."""

    def __init__(self, queue: QueueLock, model: WebuiModel) -> None:
        self._queue, self._model = queue, model

    def show(self, done: int, total: int, text: str = "") -> None:
        """Let the host's progress bar stand at ``done`` of ``total``."""
        progress.show(done, total, text)

    def preview(self, path: Path) -> None:
        """Show a sample as the host's live preview."""
        progress.preview(load_picture(path))

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for the host."""
        return self._queue.wanted

    @property
    def interrupted(self) -> bool:
        """Whether somebody pressed the host's Interrupt or Stop."""
        return progress.interrupted()

    @property
    def lost(self) -> bool:
        """Whether the host has put the model away."""
        return self._model.host.lost()

    def check(self) -> None:
        """Raise where the host has put the model away."""
        _check(self._model)


@contextmanager
def training_slice(queue: QueueLock, name: str, *, trains_text: bool) -> Iterator[Lease]:
    """Lend the host's model for one slice of the training ``name``, under its queue lock.

    Raises:
        InputError: this model, or this host as it is set up, cannot be trained on.
    """
    _check_kind()
    with queue.taken(f"LoRA Atelier: {name}"):
        model = chosen_model()
        with lent(model, trains_text=trains_text):
            yield WebuiLease(queue, model)


def check_training(*, trains_text: bool) -> None:
    """Refuse what cannot be trained, as far as it is known without loading a model.

    Raises:
        InputError: this kind of host, its model or its setup.
    """
    _check_kind()
    model = current_model()
    if model is not None:
        model.host.check(trains_text=trains_text)


def _check_kind() -> None:
    kind = detect()
    reason = why_not(kind, "train")
    if reason:
        raise InputError(reason, where=kind.value, cure="Train in the studio.")


@contextmanager
def lent(model: WebuiModel, *, trains_text: bool) -> Iterator[None]:
    """Prepare the live model for gradients through it; afterwards it is byte for byte what it was.

    Raises:
        InputError: it cannot be trained, or not in this setup of the host.
    """
    host = model.host
    host.check(trains_text=trains_text)
    hooks.release()  # a picture that ended in an error may have left something of ours
    networks: list[nn.Module] = [host.unet, host.vae, *(text.module for text in host.texts)]

    def before_use() -> None:
        _check(model)
        host.settle()

    with ExitStack() as stack:
        stack.enter_context(random_kept())
        stack.enter_context(_fresh_conditioning())
        stack.enter_context(host.prepared())
        stack.enter_context(frozen(networks))
        if trains_text:
            stack.enter_context(_split_attention(model))
        stack.enter_context(attributes_kept((model, "before_use")))
        model.before_use = before_use
        yield


@contextmanager
def _fresh_conditioning() -> Iterator[None]:
    """Give the host empty caches of conditioning for a while.

    A sample's conditioning is made with the LoRA in training; a later picture of the same prompt must not find it.
    """
    from modules import processing

    first, hires = processing.StableDiffusionProcessing, processing.StableDiffusionProcessingTxt2Img
    places = [(first, "cached_c"), (first, "cached_uc"), (hires, "cached_hr_c"), (hires, "cached_hr_uc")]
    with attributes_kept(*places):
        for owner, name in places:
            setattr(owner, name, [None] * len(getattr(owner, name)))
        yield


@contextmanager
def _split_attention(model: WebuiModel) -> Iterator[None]:
    """Have OpenCLIP's fused attentions call a layer for each of q, k and v, so that a LoRA on them is heard."""
    fused = list(fused_attentions(model.layers))
    with attributes_kept(*[(attention, "forward") for attention, _ in fused]):
        for attention, slices in fused:
            attention.forward = split_forward(attention, slices)
        yield


def _check(model: WebuiModel) -> None:
    if model.host.lost():
        raise AtelierError(
            "The WebUI switched or unloaded the checkpoint in the middle of the training",
            where=model.name,
            cure="Load the checkpoint again and resume the run; it goes on from its newest state, if it has one.",
        )
