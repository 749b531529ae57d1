"""The host's live model as a `LoadedModel`: no copy of it, the same layers that its own pictures run through."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from lib_lora.architectures.registry import first
from lib_lora.errors import AtelierError, InputError
from lib_lora.host.base import Conditioning, LoadedModel, native_side
from lib_lora.host.caption_layout import AS_WRITTEN, CaptionLayout
from lib_lora.host.noise_schedule import Schedule
from lib_lora.host.webui.kind import HostKind, detect
from lib_lora.host.webui.model import a1111
from lib_lora.host.webui.model.host_model import MODEL, HostModel, conditioning
from lib_lora.host.webui.model.layers import size_embedding, unet_layers, unet_norms

ATTRIBUTE = "_lora_atelier_model"
_LAYER = re.compile(r"_layers_(\d+)_")


class WebuiModel:
    """The model that the host has loaded.

    ``dtype`` is what `predict` is given: fp32, since on a GPU with 16-bit weights it runs under autocast.
    """

    def __init__(self, host: HostModel) -> None:
        self.host = host
        self.name, self.family, self.device = host.name, host.family, host.device
        self.path = Path(host.path)
        self.prediction_type = host.prediction_type
        self.dtype = torch.float32
        self.before_use: Callable[[], None] | None = None
        """Called before each use while the model is lent; a training puts its checks here."""
        self.pixels_per_latent, self.native_side = 8, 512
        self.text_layers = _text_layers(host)
        self.layers: Mapping[str, nn.Module] = {}
        self.norms: Mapping[str, nn.Module] = {}
        self.own_weights = False  # the host may have its own LoRAs in them
        self.side_by_side = False  # what a host hooks into its model is the host's business
        if host.unet is not None:
            self.layers = unet_layers(host.unet, host.family)
            self.norms = unet_norms(host.unet, host.family)
            for text in host.texts:
                self.layers.update(text.layers)
            self.pixels_per_latent = 8 if host.vae is None else 2 ** (_levels(host.vae) - 1)
            first = self.layers.get("lora_unet_conv_in")
            width = None if first is None else first.weight.shape[0]
            self.native_side = native_side(host.family, width, host.prediction_type)

    @property
    def schedule(self) -> Schedule:
        """The noise schedule, as the host is set now."""
        return self.host.schedule

    @property
    def alphas_cumprod(self) -> Tensor:
        """The schedule's ᾱ ``(1000,)``."""
        return self.schedule.alphas_cumprod

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """The host's UNet, and after it its text encoders."""
        return () if self.host.unet is None else (self.host.unet, *(text.module for text in self.host.texts))

    @property
    def vae(self) -> nn.Module | None:
        """The host's autoencoder."""
        return self.host.vae

    def predict(self, latents: Tensor, timesteps: Tensor, cond: Conditioning) -> Tensor:
        """Return the UNet's output ``(B, 4, h, w)`` for noisy latents at integer timesteps ``(B,)``.

        Raises:
            AtelierError: the host has meanwhile another model.
        """
        self._check()
        y = None
        if cond.pooled is not None:
            sizes = size_embedding(cond.sizes_for(latents, self.pixels_per_latent))
            y = torch.cat([cond.pooled.float(), sizes], dim=1)
        self.host.bring("unet")
        with self.precision(self.host.unet):
            return self.host.run_unet(latents, timesteps, cond.tokens, y)

    def encode_text(
        self, captions: Sequence[str], clip_skip: int = 1, layout: CaptionLayout = AS_WRITTEN
    ) -> Conditioning:
        """Return the conditioning of ``captions``; differentiable where gradients are on."""
        self._check()
        self.host.bring("text")
        with self.precision(self.host.texts[0].module):
            return conditioning(self.host.texts, captions, clip_skip, layout, device=self.device)

    def count_tokens(self, captions: Sequence[str], layout: CaptionLayout = AS_WRITTEN) -> list[int]:
        """Return how many places the tokens of each caption need; 0 where no text encoder is loaded."""
        if not self.host.texts:
            return [0] * len(captions)
        return self.host.texts[0].tokens(captions, layout).places

    def caption_ids(self, caption: str, layout: CaptionLayout = AS_WRITTEN) -> list[Any]:
        """Return what each text encoder is given of a caption; empty where none is loaded."""
        texts = self.host.texts
        return [[*one.tokens([caption], layout).listed(start=one.start, end=one.end), one.pad] for one in texts]

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Return scaled latents ``(B, 4, H/8, W/8)`` of pixels ``(B, 3, H, W)`` in [-1, 1]: the posterior's mean."""
        self._check()
        self.host.bring("vae")
        vae = self.host.required_vae
        with torch.no_grad():
            latents = self._mean(vae, pixels)
            if not torch.isfinite(latents).all() and _dtype(vae) is not torch.float32:
                with _in_fp32(vae):  # SDXL's autoencoder overflows in 16 bits
                    latents = self._mean(vae, pixels)
        return latents.to(self.device) * self.host.latent_scale

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels in [-1, 1] of scaled latents."""
        self._check()
        self.host.bring("vae")
        vae = self.host.required_vae
        with torch.no_grad():
            z = (latents.float() / self.host.latent_scale).to(next(vae.parameters()))
            z = z if getattr(vae, "post_quant_conv", None) is None else vae.post_quant_conv(z)
            return vae.decoder(z).float().clamp(-1, 1)

    @property
    def loss_scale(self) -> float:
        """What a training multiplies its loss with: fp16 has no room for small gradients."""
        half = self.device.type == "cuda" and _dtype(self.host.unet) is torch.float16
        return 2.0**15 if half else 1.0

    def precision(self, network: nn.Module) -> AbstractContextManager[Any]:
        """Return autocast where the network's weights have 16 bits and a GPU computes, else nothing."""
        if self.device.type != "cuda" or _dtype(network) is torch.float32:
            return nullcontext()
        return torch.autocast("cuda", dtype=_dtype(network))

    def _mean(self, vae: nn.Module, pixels: Tensor) -> Tensor:
        moments = vae.encoder(pixels.to(next(vae.parameters())))
        if getattr(vae, "quant_conv", None) is not None:
            moments = vae.quant_conv(moments)
        return moments.chunk(2, dim=1)[0].float()

    def _check(self) -> None:
        if self.before_use is not None:
            self.before_use()


class NoModel:
    """Stands in while the host has no checkpoint in memory: panels can be drawn, work says what is missing."""

    name, path, family, prediction_type = "", Path(), first().name, "epsilon"
    layers: Mapping[str, nn.Module] = {}
    norms: Mapping[str, nn.Module] = {}
    networks: tuple[nn.Module, ...] = ()
    own_weights = side_by_side = False
    pixels_per_latent, native_side, text_layers = 8, 512, 12
    dtype = torch.float32
    loss_scale, vae = 1.0, None
    schedule = Schedule(torch.ones(1))
    device = torch.device("cpu")

    def count_tokens(self, captions: Sequence[str], layout: CaptionLayout = AS_WRITTEN) -> list[int]:
        """Return 0 for each caption: there is no model that could tell."""
        return [0] * len(captions)

    def caption_ids(self, caption: str, layout: CaptionLayout = AS_WRITTEN) -> list[Any]:
        """Return nothing, likewise."""
        return []

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        """Raise: there is no model."""
        raise no_model()

    alphas_cumprod = property(_refuse)
    predict = encode_text = encode_images = decode = _refuse


NO_MODEL: LoadedModel = NoModel()


def no_model() -> AtelierError:
    """Return the error of work that needs a checkpoint while none is loaded."""
    return InputError(
        "The WebUI has no checkpoint loaded", where=MODEL, cure="Choose one at the top of the page and wait."
    )


def live_object() -> Any | None:
    """Return the host's model object where a checkpoint is in it; never loads one."""
    from modules import sd_models

    live = sd_models.model_data.sd_model
    return live if getattr(live, "sd_checkpoint_info", None) is not None else None


def current_model() -> WebuiModel | None:
    """Return the model that the host has in memory, or None; the same object until the host changes it."""
    live = live_object()
    if live is None:
        return None
    key, build = _recipe(live)
    known_key, known = getattr(live, ATTRIBUTE, (None, None))
    if known is None or known_key != key:
        known = WebuiModel(build())
        # On the host's own object, so that it goes away with it: ours holds its layers.
        object.__setattr__(live, ATTRIBUTE, (key, known))
    return known


def loaded_model() -> WebuiModel:
    """Return the host's model, and have the host load its chosen checkpoint where it has none yet.

    Raises:
        InputError: it has none, and loading one failed.
    """
    return current_model() or chosen_model()


def chosen_model() -> WebuiModel:
    """Have the host load the checkpoint that is chosen in its page, as it does before each picture, and return it.

    Also after a picture with a refiner, which leaves the refiner in the model's place.

    Raises:
        InputError: loading it failed.
    """
    from modules import sd_models, shared

    if detect() in (HostKind.FORGE, HostKind.NEO):
        sd_models.forge_model_reload()
    elif shared.sd_model is not None:  # reading it loads the first one
        sd_models.reload_model_weights()
    model = current_model()
    if model is None:
        raise no_model()
    return model


def _recipe(live: Any) -> tuple[tuple[object, ...], Callable[[], HostModel]]:
    """Return what tells the checkpoint in the host's object from another, and how to take it apart."""
    kind = detect()
    if kind in (HostKind.FORGE, HostKind.NEO):
        from lib_lora.host.webui.model import forge

        return forge.key_of(live), lambda: forge.ForgeHostModel(live)
    return a1111.key_of(live), lambda: a1111.A1111HostModel(live, with_text=kind is HostKind.A1111)


def _dtype(network: nn.Module) -> torch.dtype:
    return next(network.parameters()).dtype


@contextmanager
def _in_fp32(network: nn.Module) -> Iterator[None]:
    """Have a 16-bit network in fp32 for a while; back in 16 bits its numbers are the same."""
    first = next(network.parameters())
    before = first.dtype
    # Weights that a host made in inference mode may be changed in that mode only.
    with torch.inference_mode(first.is_inference()):
        network.float()
    try:
        yield
    finally:
        with torch.inference_mode(first.is_inference()):
            network.to(before)


def _levels(vae: nn.Module) -> int:
    """Return how many resolutions the autoencoder has."""
    known = getattr(vae.encoder, "num_resolutions", None)
    return known if known is not None else len(vae.encoder.down)


def _text_layers(host: HostModel) -> int:
    """Return how many layers the text encoder that obeys clip skip has; CLIP's 12 where none is known."""
    names = host.texts[0].layers if host.texts else ()
    return max((int(found[1]) + 1 for name in names if (found := _LAYER.search(name))), default=12)
