"""The parts of a host's live model as we use them, whatever the host calls them; one subclass for each kind of host."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from lib_lora.errors import InputError
from lib_lora.host.webui.text import TextEncoder

OURS = ("sd1", "sd2", "sdxl")
REFINER_WIDTH = 1280
"""Width of the text that SDXL's refiner reads; by the host's flags it is an SDXL model."""
MODEL = "the loaded checkpoint"
START = "how the WebUI was started"
SETTINGS = "the WebUI's settings"
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
        prediction_type: ``epsilon`` or ``v_prediction``.
        alphas_cumprod: ``(1000,)``, as the model was trained, whatever schedule a picture was sampled with.
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
    prediction_type: str = "epsilon"
    alphas_cumprod: Tensor
    latent_scale: float = 1.0
    device: torch.device

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


def check_channels(unet: nn.Module) -> None:
    """Refuse a UNet that reads more than latents.

    Raises:
        InputError: it does.
    """
    channels = unet.state_dict()["input_blocks.0.0.weight"].shape[1]
    if channels != 4:
        purpose = _CHANNELS.get(channels, "another purpose")
        cure = "Choose a checkpoint of SD1, SD2 or SDXL."
        raise InputError(f"a model for {purpose} cannot be trained", where=MODEL, cure=cure)
