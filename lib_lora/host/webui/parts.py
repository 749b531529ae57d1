"""The parts of a host's live model as we use them, whatever the host calls them; one subclass for each kind of host."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lib_lora.architectures.base import UNKNOWN
from lib_lora.architectures.registry import architectures
from lib_lora.errors import InputError
from lib_lora.formats.keys import has_module_table
from lib_lora.host.noise_schedule import NOISE, VELOCITY, Schedule, marks_in
from lib_lora.host.webui.text import TextEncoder

MODEL = "the loaded checkpoint"
START = "how the WebUI was started"
SETTINGS = "the WebUI's settings"
ZERO_TERMINAL = "Zero Terminal SNR"
"""The host's choice of a noise schedule for such models."""
NOT_RESCALED = (
    "the checkpoint was made with zero terminal SNR and is trained so, but the WebUI samples without it: "
    "choose the noise schedule Zero Terminal SNR in its settings for right pictures"
)
NOT_VELOCITY = (
    "the checkpoint predicts the velocity (v_pred) and is trained so, but the WebUI takes its output for noise: "
    "its pictures and samples will be wrong until a config (.yaml) with parameterization: v lies beside the checkpoint"
)
_CHANNELS = {9: "inpainting", 8: "instruct-pix2pix", 5: "depth"}


class Parts:
    """A live model taken apart.

    Attributes:
        live: the host's own object.
        name: the checkpoint's name without folder and extension.
        path: its file.
        family: ``sd1``, ``sd2``, ``sdxl``, or what it is where we know no layers of it.
        unet, vae: the networks; None where the family is not ours.
        texts: the text encoders.
        prediction_type: ``epsilon`` or ``v_prediction``, as the host has it or as the file says.
        host_says_velocity: whether the host runs it as a model that predicts the velocity.
        plain_alphas_cumprod: ᾱ ``(1000,)`` of the model's betas, whatever schedule a picture was sampled with.
        latent_scale: what latents are multiplied with.
        device: where the host computes.
    """

    live: Any
    name: str = ""
    path: str = ""
    family: str = "unknown"
    unet: nn.Module | None = None
    vae: nn.Module | None = None
    texts: tuple[TextEncoder, ...] = ()
    prediction_type: str = NOISE
    host_says_velocity: bool = False
    plain_alphas_cumprod: Tensor
    latent_scale: float = 1.0
    device: torch.device

    @property
    def schedule(self) -> Schedule:
        """The noise schedule that the model was made on, by its file's marks and by what the host is set to now."""
        from modules import shared

        marks = marks_in(Path(self.path))
        chosen = getattr(shared.opts, "sd_noise_schedule", "") == ZERO_TERMINAL
        used = chosen or self.host_rescales()
        notes = []
        if marks.zero_terminal and not used:
            notes.append(NOT_RESCALED)
        if marks.velocity and not self.host_says_velocity:
            notes.append(NOT_VELOCITY)
        marked = marks.zero_terminal or used
        return Schedule.of(self.plain_alphas_cumprod, self.prediction_type, marked=marked, notes=notes)

    def host_rescales(self) -> bool:
        """Whether the host samples this model with zero terminal SNR by itself."""
        raise NotImplementedError

    def _predicts(self, host: str) -> str:
        """Return what the model predicts: the velocity where the host or the file says so, else what the host says."""
        self.host_says_velocity = host == VELOCITY
        return VELOCITY if host == NOISE and marks_in(Path(self.path)).velocity else host

    def lost(self) -> bool:
        """Whether the host has meanwhile another model, or has put this one away."""
        raise NotImplementedError

    def bring(self, part: str) -> None:
        """Have ``unet``, ``text`` or ``vae`` where the host computes, as the host itself would move it."""
        raise NotImplementedError

    def run_unet(self, x: Tensor, timesteps: Tensor, context: Tensor, y: Tensor | None) -> Tensor:
        """Return the UNet's raw output."""
        raise NotImplementedError

    def check(self, *, trains_text: bool) -> None:
        """Refuse a model, or a setup of the host, in which no LoRA can be trained.

        Raises:
            InputError: in one sentence, with what to change.
        """
        raise NotImplementedError

    def prepared(self) -> AbstractContextManager[None]:
        """Have the model as training wants it, cleared of what the last prompt left; leaving puts it back."""
        raise NotImplementedError

    def settle(self) -> None:
        """Clear what a prompt has meanwhile left in the model; costs nothing where it left nothing."""
        raise NotImplementedError


def is_ours(family: str) -> bool:
    """Whether the layers of a family's models are known, so that a LoRA can be attached and trained."""
    return has_module_table(family)


def flagged(live: Any) -> str:
    """Return the family that the host's own flags (``is_sd1``, ``is_sdxl``, …) say; ``unknown`` where none is set."""
    names = (one.name for one in reversed(architectures()))
    return next((name for name in names if getattr(live, f"is_{name}", False)), UNKNOWN)


def check_channels(unet: nn.Module) -> None:
    """Refuse a UNet that reads more than latents.

    Raises:
        InputError: it does.
    """
    channels = unet.state_dict()["input_blocks.0.0.weight"].shape[1]
    if channels != 4:
        purpose = _CHANNELS.get(channels, "another purpose")
        cure = "Choose a checkpoint of SD1, SD2 or SDXL."
        raise InputError(f"A model for {purpose} cannot be trained", where=MODEL, cure=cure)
