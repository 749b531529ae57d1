"""Stable Diffusion 3: a LoRA of it is told by name; nobody has agreed on names for its blocks."""

from __future__ import annotations

from lib_lora.architectures.base import Architecture, signature

SD3 = Architecture(
    name="sd3",
    title="SD3",
    detect=signature("sd3", r"joint_blocks|lora_transformer_transformer_blocks_\d+_attn_(?:to|add)_"),
    latent_channels=16,
    latent_scale=1.5305,
    checkpoint_signs=("model.diffusion_model.joint_blocks.",),
)
ARCHITECTURES = (SD3,)
