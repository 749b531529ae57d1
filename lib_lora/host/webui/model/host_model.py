"""The parts of a host's live model as we use them, whatever the host calls them; one subclass for each kind of host.

Captions go word for word through its text encoders. The host's own path parses emphasis, expands embeddings and may cut
gradients; training wants the words as they are and gradients through the encoders, so the token ids go straight into
the encoder that the host wraps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lib_lora.architectures.base import UNKNOWN
from lib_lora.architectures.registry import architectures
from lib_lora.architectures.stable_diffusion import REFINER_WIDTH
from lib_lora.errors import InputError
from lib_lora.formats.keys import has_module_table
from lib_lora.host.base import Conditioning
from lib_lora.host.caption_layout import CaptionLayout, CaptionTokens, laid_out, weighed
from lib_lora.host.clip_chunks import BACKTRACK, in_batch_order, side_by_side, zero_padded
from lib_lora.host.noise_schedule import NOISE, VELOCITY, Schedule, marks_in
from lib_lora.host.webui.model.layers import context_width
from lib_lora.host.webui.options import host_setting
from lib_lora.sentences import say

MODEL = say("the loaded checkpoint")
START = say("how the WebUI was started")
SETTINGS = say("the WebUI's settings")
ZERO_TERMINAL = "Zero Terminal SNR"
"""The host's choice of a noise schedule for such models."""
NOT_RESCALED = say(
    "the checkpoint was made with zero terminal SNR and is trained so, but the WebUI samples "
    "without it: choose the noise schedule Zero Terminal SNR in its settings for right pictures"
)
NOT_VELOCITY = say(
    "the checkpoint predicts the velocity (v_pred) and is trained so, but the WebUI takes its "
    "output for noise: its pictures and samples will be wrong until a config (.yaml) with "
    "parameterization: v lies beside the checkpoint"
)
_CHANNELS = {9: "inpainting", 8: "instruct-pix2pix", 5: "depth"}

Encode = Callable[[Tensor, int], tuple[Tensor, "Tensor | None"]]
"""Token ids ``(n, 77)`` and clip skip to hidden states ``(n, 77, width)`` and the pooled vector ``(n, width)``."""


class HostModel(ABC):
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
    def required_unet(self) -> nn.Module:
        """The UNet, for what is only asked of families that are ours.

        Raises:
            LookupError: there is none.
        """
        if self.unet is None:
            raise LookupError(f"no UNet of {self.family} is known here")
        return self.unet

    @property
    def required_vae(self) -> nn.Module:
        """The autoencoder, likewise.

        Raises:
            LookupError: there is none.
        """
        if self.vae is None:
            raise LookupError(f"no autoencoder of {self.family} is known here")
        return self.vae

    @property
    def schedule(self) -> Schedule:
        """The noise schedule that the model was made on, by its file's marks and by what the host is set to now."""
        marks = marks_in(Path(self.path))
        chosen = host_setting("sd_noise_schedule", "") == ZERO_TERMINAL
        used = chosen or self.host_rescales()
        notes = []
        if marks.zero_terminal and not used:
            notes.append(NOT_RESCALED)
        if marks.velocity and not self.host_says_velocity:
            notes.append(NOT_VELOCITY)
        marked = marks.zero_terminal or used
        return Schedule.of(self.plain_alphas_cumprod, self.prediction_type, marked=marked, notes=notes)

    @abstractmethod
    def host_rescales(self) -> bool:
        """Whether the host samples this model with zero terminal SNR by itself."""

    def _predicts(self, host: str) -> str:
        """Return what the model predicts: the velocity where the host or the file says so, else what the host says."""
        self.host_says_velocity = host == VELOCITY
        return VELOCITY if host == NOISE and marks_in(Path(self.path)).velocity else host

    @abstractmethod
    def lost(self) -> bool:
        """Whether the host has meanwhile another model, or has put this one away."""

    @abstractmethod
    def bring(self, part: str) -> None:
        """Have ``unet``, ``text`` or ``vae`` where the host computes, as the host itself would move it."""

    @abstractmethod
    def run_unet(self, x: Tensor, timesteps: Tensor, context: Tensor, y: Tensor | None) -> Tensor:
        """Return the UNet's raw output."""

    @abstractmethod
    def check(self, *, trains_text: bool) -> None:
        """Refuse a model, or a setup of the host, in which no LoRA can be trained.

        Raises:
            InputError: in one sentence, with what to change.
        """

    @abstractmethod
    def prepared(self) -> AbstractContextManager[None]:
        """Have the model as training wants it, cleared of what the last prompt left; leaving puts it back."""

    @abstractmethod
    def settle(self) -> None:
        """Clear what a prompt has meanwhile left in the model; costs nothing where it left nothing."""


def is_ours(family: str) -> bool:
    """Whether the layers of a family's models are known, so that a LoRA can be attached and trained."""
    return has_module_table(family)


def named_family(family: str, unet: nn.Module) -> str:
    """Return the family that a host's flags name; ``unknown`` for SDXL's refiner, which the flags take for SDXL."""
    refines = is_ours(family) and context_width(unet) == REFINER_WIDTH
    return UNKNOWN if refines else family


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
        cure = say("Choose a checkpoint of SD1, SD2 or SDXL.")
        raise InputError("A model for {purpose} cannot be trained", purpose=purpose, where=MODEL, cure=cure)


@dataclass(frozen=True)
class TextEncoder:
    """One text encoder of the live model.

    Attributes:
        module: the network itself.
        layers: its layers by kohya name.
        tokenize: captions to token ids without specials.
        start, end, pad: ids of the specials; ``pad`` follows the first end.
        encode: one pass.
    """

    module: nn.Module
    layers: dict[str, nn.Module]
    tokenize: Callable[[Sequence[str]], list[list[int]]]
    start: int
    end: int
    pad: int
    encode: Encode

    def tokens(self, captions: Sequence[str], layout: CaptionLayout) -> CaptionTokens:
        """Return the tokens of captions in chunks that end as the host's setting says.

        Raises:
            PromptError: weights are read, and one is no number.
        """
        backtrack = host_setting("comma_padding_backtrack", BACKTRACK)
        return laid_out(captions, self.tokenize, layout, backtrack=backtrack)


def conditioning(
    encoders: Sequence[TextEncoder],
    captions: Sequence[str],
    clip_skip: int,
    layout: CaptionLayout,
    *,
    device: torch.device,
) -> Conditioning:
    """Return the conditioning of ``captions``: the encoders' states side by side, the last pooled vector if any."""
    states, pooled = [], None
    for encoder in encoders:
        ids, weights = encoder.tokens(captions, layout).ids(start=encoder.start, end=encoder.end)
        if encoder.pad != encoder.end:
            ids = zero_padded(ids, encoder.end, pad=encoder.pad)
        hidden, vector = encoder.encode(in_batch_order(ids).to(device), clip_skip)
        states.append(side_by_side(weighed(hidden, weights), ids.shape[1]))
        pooled = vector[: len(captions)] if vector is not None else pooled
    return Conditioning(torch.cat(states, dim=-1) if len(states) > 1 else states[0], pooled)


def clip_pass(transformer: nn.Module, *, layer: int | None, forget: Callable[[], None]) -> Encode:
    """Return the pass of a CLIP text model of transformers.

    Args:
        layer: the hidden state that is taken as it is (SDXL's first encoder); None takes the one ``clip_skip`` from
            the end, through the final LayerNorm.
        forget: drops the embeddings that the host's last prompt wanted put in.
    """

    def encode(ids: Tensor, clip_skip: int) -> tuple[Tensor, Tensor | None]:
        forget()
        out = transformer(input_ids=ids, output_hidden_states=True)
        if layer is not None:
            return out.hidden_states[layer], None
        if clip_skip <= 1:
            return out.last_hidden_state, None
        return transformer.text_model.final_layer_norm(out.hidden_states[-clip_skip]), None

    return encode


def open_clip_pass(wrapped: Any, *, forget: Callable[[], None]) -> Encode:
    """Return the pass of an OpenCLIP embedder; it takes the layer that the model was built for, as the host does."""

    def encode(ids: Tensor, clip_skip: int) -> tuple[Tensor, Tensor | None]:
        forget()
        out = wrapped.encode_with_transformer(ids)
        return (out[wrapped.layer], out.get("pooled")) if isinstance(out, dict) else (out, None)

    return encode
