"""Stable Diffusion 1.x, and the pocket model, which has its layout."""

from __future__ import annotations

from lib_lora.architectures.base import Architecture, Labels, TextEncoder
from lib_lora.architectures.stable_diffusion import BETAS, blocks_of, detect, layouts_of
from lib_lora.architectures.unet import Unet

UNET = Unet(depths=(1, 1, 1, 0), channels=(1, 2, 4, 4), cross_widths=(768, 128), heads=8)
"""The pocket model reads text of 128 numbers."""

SD1 = Architecture(
    name="sd1",
    title="SD1",
    detect=detect,
    layouts=layouts_of("sd1", UNET),
    blocks=blocks_of(UNET),
    text_encoders=(TextEncoder("te", "clip_l", width=768, layers=12, root="cond_stage_model.transformer."),),
    unet=UNET,
    latent_scale=0.18215,
    native_side=512,
    betas=BETAS,
    labels=Labels("sd_v1", "stable-diffusion-v1", "512x512", "diffusers", card="SD1"),
    checkpoint_signs=("cond_stage_model.transformer.",),
)
ARCHITECTURES = (SD1,)
