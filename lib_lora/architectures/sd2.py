"""Stable Diffusion 2.x: SD1's UNet and blocks with OpenCLIP's text encoder, whose last layer is left out."""

from __future__ import annotations

from dataclasses import replace

from lib_lora.architectures.base import Architecture, Labels, TextEncoder
from lib_lora.architectures.sd1 import SD1, UNET

_TEXT = TextEncoder("te", "clip_h", width=1024, layers=23, root="cond_stage_model.model.", open_clip=True)

SD2: Architecture = replace(
    SD1,
    name="sd2",
    title="SD2",
    text_encoders=(_TEXT,),
    unet=replace(UNET, cross_widths=(1024,), heads=None),
    velocity_side=768,
    labels=Labels("sd_v2", "stable-diffusion-v2-512", "512x512", "diffusers", v2=True, card="SD2"),
    checkpoint_signs=("cond_stage_model.model.transformer.",),
)
ARCHITECTURES = (SD2,)
