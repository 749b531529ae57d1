"""A checkpoint in diffusers' modules, seen as a `LoadedModel`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from lib_lora.architectures.registry import architecture_of
from lib_lora.formats.adapters.layer import is_norm
from lib_lora.formats.keys import to_ldm
from lib_lora.host.base import Conditioning, is_small, native_side
from lib_lora.host.caption_layout import AS_WRITTEN, CaptionLayout
from lib_lora.host.noise_schedule import Schedule
from lib_lora.host.studio.checkpoint import Checkpoint
from lib_lora.host.studio.text import caption_tokens, encode, encode_prompts


class DiffusersModel:
    """The studio's loaded model: UNet, text encoders and autoencoder of one checkpoint on one device."""

    def __init__(self, checkpoint: Checkpoint, *, device: torch.device, dtype: torch.dtype) -> None:
        self.name = checkpoint.path.stem
        self.path = checkpoint.path
        self.family = checkpoint.family
        self.prediction_type = checkpoint.prediction_type
        self.latent_scale = checkpoint.latent_scale
        self.tokenizer = checkpoint.tokenizer
        self.device, self.dtype = device, dtype
        self.loss_scale = 2.0**15 if dtype is torch.float16 else 1.0
        # nn.Module's own `to`: diffusers' one warns of modules to keep in fp32 even where there are none.
        self.unet = nn.Module.to(checkpoint.unet, device, dtype)
        self.vae = checkpoint.vae.to(device)  # fp32: SDXL's autoencoder overflows in fp16
        self.text_encoders = tuple(encoder.to(device, dtype) for encoder in checkpoint.text_encoders)
        start, end = checkpoint.betas
        plain = {
            "num_train_timesteps": 1000,
            "beta_start": start,
            "beta_end": end,
            "beta_schedule": "scaled_linear",
        }
        self.schedule = Schedule.of(
            DDPMScheduler(**plain).alphas_cumprod, self.prediction_type, marked=checkpoint.marks.zero_terminal
        )
        self.noise = self.schedule.for_sampling(plain)
        self.alphas_cumprod = self.schedule.alphas_cumprod
        self.pixels_per_latent = 2 ** (len(self.vae.config.block_out_channels) - 1)
        width = checkpoint.unet.config.block_out_channels[0]
        self.native_side = native_side(self.family, width, self.prediction_type)
        self.text_layers = self.text_encoders[0].config.num_hidden_layers
        self.layers: Mapping[str, nn.Module] = _layers(self.unet, self.text_encoders, self.family)
        self.own_weights = True
        self.side_by_side = device.type == "cpu" and is_small(self.native_side)
        self.norms: Mapping[str, nn.Module] = _layers(self.unet, self.text_encoders, self.family, wanted=is_norm)

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """The UNet, and after it the text encoders."""
        return (self.unet, *self.text_encoders)

    def predict(self, latents: Tensor, timesteps: Tensor, cond: Conditioning) -> Tensor:
        """Return the UNet's output ``(B, 4, h, w)`` for noisy latents at integer timesteps ``(B,)``."""
        extra = None
        if cond.pooled is not None:
            # In fp32: half precision knows no odd number above 2048. The UNet makes waves of them and rounds those.
            sizes = cond.sizes_for(latents, self.pixels_per_latent).float()
            extra = {"text_embeds": cond.pooled, "time_ids": sizes}
        return self.unet(latents, timesteps, cond.tokens, added_cond_kwargs=extra).sample

    def encode_text(
        self, captions: Sequence[str], clip_skip: int = 1, layout: CaptionLayout = AS_WRITTEN
    ) -> Conditioning:
        """Return the conditioning of ``captions``; differentiable where gradients are on."""
        return encode(
            self.text_encoders, self.tokenizer, captions, family=self.family, clip_skip=clip_skip, layout=layout
        )

    def count_tokens(self, captions: Sequence[str], layout: CaptionLayout = AS_WRITTEN) -> list[int]:
        """Return how many places the tokens of each caption need, without start and end."""
        return caption_tokens(self.tokenizer, captions, layout).places

    def caption_ids(self, caption: str, layout: CaptionLayout = AS_WRITTEN) -> list[Any]:
        """Return what the text encoders are given of a caption."""
        tokenizer = self.tokenizer
        tokens = caption_tokens(tokenizer, [caption], layout)
        return tokens.listed(start=tokenizer.bos_token_id, end=tokenizer.eos_token_id)

    def encode_prompts(
        self, texts: Sequence[str], counts: Sequence[int], *, clip_skip: int = 1, copies: int = 1
    ) -> list[Conditioning]:
        """Return the conditioning of the texts of one prompt, with emphasis; see `text.encode_prompts`."""
        return encode_prompts(
            self.text_encoders,
            self.tokenizer,
            texts,
            counts=counts,
            family=self.family,
            clip_skip=clip_skip,
            copies=copies,
        )

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Return scaled latents ``(B, 4, H/8, W/8)`` of pixels ``(B, 3, H, W)`` in [-1, 1]."""
        with torch.no_grad():
            posterior = self.vae.encode(pixels.to(self.device, torch.float32)).latent_dist
            return posterior.mode() * self.latent_scale

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels in [-1, 1] of scaled latents."""
        with torch.no_grad():
            return self.vae.decode(latents.float() / self.latent_scale).sample.clamp(-1, 1)


def _is_matrix(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear | nn.Conv2d)


def _layers(
    unet: nn.Module,
    text_encoders: Sequence[nn.Module],
    family: str,
    *,
    wanted: Callable[[nn.Module], bool] = _is_matrix,
) -> dict[str, nn.Module]:
    """Return every Linear and Conv2d (or what is ``wanted``) by its kohya name; SDXL's UNet under both spellings."""
    found: dict[str, nn.Module] = {}
    known = architecture_of(family)
    for path, module in unet.named_modules():
        if wanted(module):
            found["lora_unet_" + path.replace(".", "_")] = module
            if known.required_unet.ldm_keys:
                found["lora_unet_" + to_ldm(path, family).replace(".", "_")] = module
    for named, encoder in zip(known.text_encoders, text_encoders, strict=True):
        for path, module in encoder.named_modules():
            if wanted(module) and not isinstance(module, nn.Conv2d):
                inner = path if path.startswith("text_") else f"text_model.{path}"
                found[named.prefix + inner.replace(".", "_")] = module
    return found
