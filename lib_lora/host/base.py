"""What every host gives: a loaded model, pictures from prompts, LoRA files by name, the model for a training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from PIL import Image
from torch import Tensor, nn

from lib_lora.architectures.registry import architecture_of
from lib_lora.errors import AtelierError, InputError
from lib_lora.host.caption_layout import AS_WRITTEN, CaptionLayout
from lib_lora.host.noise_schedule import VELOCITY, Schedule
from lib_lora.host.request import GenerateRequest
from lib_lora.progress import Progress
from lib_lora.sentences import say

if TYPE_CHECKING:
    from lib_lora.blocks.presets import PresetFile
    from lib_lora.formats.lora import LoraFile
    from lib_lora.host.in_groups import Wish

_FULL_WIDTH = 320
"""First width of every full-size Stable Diffusion UNet; smaller ones are ours for tests and demos, at 128 px."""
SMALL_SIDE = 256
"""A model made for pictures with shorter sides than this is small; SD1's have 512 px."""


def is_small(native_side: int) -> bool:
    """Whether a model made for pictures of this side is too small for what is usual with SD1 and SDXL."""
    return native_side < SMALL_SIDE


@dataclass(frozen=True)
class Conditioning:
    """What the text encoders hand to the UNet.

    Attributes:
        tokens: hidden states, ``(batch, tokens, width)``.
        pooled: SDXL's pooled vector ``(batch, width)``, else None.
        sizes: SDXL's size conditions ``(batch, 6)`` in pixels, which are original height, width, crop top, left, target
            height, width; None is a whole picture of the latents' own size.
    """

    tokens: Tensor
    pooled: Tensor | None = None
    sizes: Tensor | None = None

    def of(self, rows: slice) -> Conditioning:
        """Return some rows of the batch."""
        pooled, sizes = (None if part is None else part[rows] for part in (self.pooled, self.sizes))
        return Conditioning(self.tokens[rows], pooled, sizes)

    def sizes_for(self, latents: Tensor, pixels_per_latent: int) -> Tensor:
        """Return the size conditions of ``latents`` ``(batch, 4, h, w)``: `sizes`, or those of whole pictures."""
        if self.sizes is not None:
            return self.sizes.to(latents.device)
        height, width = (side * pixels_per_latent for side in latents.shape[-2:])
        whole = torch.tensor([[height, width, 0, 0, height, width]], device=latents.device)
        return whole.expand(latents.shape[0], -1)


class LoadedModel(Protocol):
    """A diffusion model that a host has in memory; the core acts on nothing else.

    ``layers`` maps each kohya module name (``lora_unet_…``, ``lora_te_…``) to the live Linear or Conv2d. A family that
    is spelled in two ways (SDXL) has both spellings in it, with the same layer behind them. ``norms`` maps the names of
    normalizations alike: nothing trains them, but a file may change them.
    """

    name: str
    path: Path
    """The checkpoint's file."""
    family: str
    layers: Mapping[str, nn.Module]
    norms: Mapping[str, nn.Module]
    own_weights: bool
    """Whether the layers hold the checkpoint's weights, and never those of LoRAs that a host puts in."""
    side_by_side: bool
    """Whether `predict` may and should be called in several threads at once: a small model's on the CPU."""
    prediction_type: str
    device: torch.device
    dtype: torch.dtype
    pixels_per_latent: int
    native_side: int
    text_layers: int
    """Layers of the text encoder: what clip skip can be at most."""

    @property
    def schedule(self) -> Schedule:
        """The noise schedule that the model was made on."""
        ...

    @property
    def alphas_cumprod(self) -> Tensor:
        """The schedule's ᾱ."""
        ...

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """The UNet, and after it the text encoders; empty where there is no model of ours."""
        ...

    @property
    def vae(self) -> nn.Module | None:
        """The autoencoder; None where the host has none in memory."""
        ...

    @property
    def loss_scale(self) -> float:
        """What a training multiplies its loss with; 1 unless gradients pass through fp16."""
        ...

    def predict(self, latents: Tensor, timesteps: Tensor, cond: Conditioning) -> Tensor:
        """Return the UNet's output for noisy ``latents`` ``(B, 4, h, w)`` at integer ``timesteps`` ``(B,)``."""
        ...

    def encode_text(
        self, captions: Sequence[str], clip_skip: int = 1, layout: CaptionLayout = AS_WRITTEN
    ) -> Conditioning:
        """Return the conditioning of ``captions``; differentiable where gradients are on."""
        ...

    def count_tokens(self, captions: Sequence[str], layout: CaptionLayout = AS_WRITTEN) -> list[int]:
        """Return how many places the tokens of each caption need, without start and end; `CaptionTokens.places`."""
        ...

    def caption_ids(self, caption: str, layout: CaptionLayout = AS_WRITTEN) -> list[Any]:
        """Return what each text encoder is given of a caption, ids and weights; empty where none is loaded.

        With the encoders' weights this tells all that they make of it, whatever tokenizer and setting it came by.
        """
        ...

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Return scaled latents of ``pixels`` ``(B, 3, H, W)`` in [-1, 1]: the mean of the posterior."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels in [-1, 1] of scaled ``latents``."""
        ...


@dataclass(frozen=True)
class GenerateResult:
    """The pictures of one order, with the settings that make each again; ``problems`` are the tags left out."""

    images: tuple[Image.Image, ...]
    infotexts: tuple[str, ...]
    notes: tuple[str, ...] = ()
    problems: tuple[AtelierError, ...] = ()


def check_clip_skip(wanted: int, model: LoadedModel) -> None:
    """Refuse a clip skip that the model's text encoder has no layer for.

    Raises:
        InputError: below 1, or more than the encoder has layers.
    """
    layers = model.text_layers
    if 1 <= wanted <= layers:
        return
    raise InputError(
        "Clip skip {n} is out of range: this text encoder has {layers} layers",
        n=wanted,
        layers=layers,
        where="clip_skip",
        cure=say("Give a number from {low} to {high}.", low=1, high=layers),
    )


def native_side(family: str, first_width: int | None, prediction_type: str) -> int:
    """Return the side in pixels that a model was trained at: its family's, or 128 where its UNet is a small one.

    Args:
        family: of the model.
        first_width: channels of the UNet's first layer (320 in every full-size one); None where it is not known.
        prediction_type: SD2 has two sides, told by it.
    """
    if first_width is not None and first_width < _FULL_WIDTH:
        return 128
    return architecture_of(family).side(velocity=prediction_type == VELOCITY)


class Lease:
    """The model, lent for one slice of a training; this plain one is for a host that only we use."""

    def show(self, done: int, total: int, text: str = "") -> None:
        """Tell the host's own progress bar where the run stands."""

    def preview(self, path: Path) -> None:
        """Give the host a sample picture to show as its live preview."""

    @property
    def wanted(self) -> bool:
        """Whether somebody else waits for the model."""
        return False

    @property
    def interrupted(self) -> bool:
        """Whether somebody pressed the host's own button for stopping."""
        return False

    @property
    def lost(self) -> bool:
        """Whether the host has put away the model that was lent."""
        return False

    def check(self) -> None:
        """Raise an `AtelierError` where the model that was lent is lost."""


@dataclass(frozen=True)
class Lent(Progress):
    """The progress of work on a model that is lent: the host shows it too, and may stop it by its own button."""

    own: Progress
    lease: Lease

    def update(self, done: int, total: int, text: str = "") -> None:
        """Say how far it is, to whoever ordered it and to the host."""
        self.own.update(done, total, text)
        self.lease.show(done, total, text)

    @property
    def stopped(self) -> bool:
        """Whether somebody asked to stop, here or in the host, or the model is gone (see `Lease.check`)."""
        return self.own.stopped or self.lease.interrupted or self.lease.lost

    def stop(self) -> None:
        """Ask the work to stop."""
        self.own.stop()


class Host(Protocol):
    """The owner of the loaded model."""

    presets: PresetFile

    @property
    def model(self) -> LoadedModel:
        """What is loaded now."""
        ...

    @property
    def lora_folders(self) -> tuple[Path, ...]:
        """Where LoRA files are looked for."""
        ...

    @property
    def samplers(self) -> tuple[str, ...]:
        """The names of the samplers."""
        ...

    def list_loras(self) -> Mapping[str, Path]:
        """Return every LoRA file by the name that a tag calls it."""
        ...

    def find_lora(self, name: str) -> Path:
        """Return the file behind a name in a tag; InputError with the nearest names where there is none."""
        ...

    def read_lora(self, name: str) -> LoraFile:
        """Return the LoRA file of a name in a tag, on the model's device."""
        ...

    def generate(self, request: GenerateRequest, progress: Progress) -> GenerateResult:
        """Return the pictures of ``request``."""
        ...

    def generate_each(
        self, request: GenerateRequest, wishes: Sequence[Wish], progress: Progress
    ) -> Iterator[GenerateResult]:
        """Yield pictures that share all but prompt and seed in groups, as they are made; see `in_groups`."""
        ...

    def check_training(self, *, trains_text: bool) -> None:
        """Refuse in one sentence what cannot be trained, before a run is made; silent where nothing is loaded yet.

        Raises:
            InputError: this model, or this host as it is set up, cannot be trained on.
        """
        ...

    def training(self, name: str, *, trains_text: bool) -> AbstractContextManager[Lease]:
        """Lend the model to the run ``name`` for a slice of its training; on leaving the host has back what it lent.

        ``generate`` may be called meanwhile, by the same thread: its pictures are made with the LoRA as it is then.

        Raises:
            AtelierError: this model, or this host as it is set up, cannot be trained on.
        """
        ...

    def loras_changed(self) -> None:
        """Hear that a file was put into the folder of LoRAs."""
        ...
