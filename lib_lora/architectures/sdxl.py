"""Stable Diffusion XL (and what was trained from it: Pony, Illustrious, NoobAI)."""

from __future__ import annotations

from lib_lora.architectures.base import Architecture, Labels, TextEncoder
from lib_lora.architectures.stable_diffusion import BETAS, blocks_of, detect, layouts_of
from lib_lora.architectures.unet import Unet

UNET = Unet(depths=(0, 2, 10), channels=(1, 2, 4), cross_widths=(2048,), ldm_keys=True)
_SECOND = "conditioner.embedders.1.model."

SDXL = Architecture(
    name="sdxl",
    title="SDXL",
    sd_scripts="sdxl_train_network.py",
    detect=detect,
    layouts=layouts_of("sdxl", UNET),
    blocks=blocks_of(UNET),
    text_encoders=(
        TextEncoder("te1", "clip_l", width=768, layers=12, root="conditioner.embedders.0.transformer."),
        TextEncoder("te2", "clip_g", width=1280, layers=32, root=_SECOND, open_clip=True),
    ),
    unet=UNET,
    latent_scale=0.13025,
    native_side=1024,
    betas=BETAS,
    labels=Labels(
        "sdxl_base_v1-0",
        "stable-diffusion-xl-v1-base",
        "1024x1024",
        "https://github.com/Stability-AI/generative-models",
        card="SDXL",
    ),
    checkpoint_signs=("conditioner.embedders.0.transformer.",),
)
ARCHITECTURES = (SDXL,)
