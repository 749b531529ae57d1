"""The pocket model's three networks, in the layout of Stable Diffusion 1 but small."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from transformers import CLIPTextConfig, CLIPTextModel

CONTEXT = 128
"""Width of the text encoder and of the cross-attention."""

VAE_CHANNELS, VAE_BLOCKS = 96, 1
"""Channels at every level; ResNet blocks a level (the decoder has one more). The shipped one has none."""

UNET_CHANNELS, UNET_WIDER, UNET_BLOCKS = 64, (1, 2, 2, 2), 2
"""Channels, their multiples level by level, ResNet blocks a level: with the autoencoder 34 MB in fp16. A wider middle,
(1, 2, 2, 3), would make 42."""

BETAS = (0.00085, 0.024)
"""First and last β of the scaled-linear noise schedule.

Stable Diffusion's own end, 0.012, leaves 7 % of the picture at the last step. In 64 × 64 latents that hardly matters;
in 16 × 16 the model can read the picture's mean color out of it, and every seed would tint its picture.
"""

PREDICTION = "v_prediction"
"""What the UNet predicts (arXiv:2202.00512). Where nearly all is noise, the picture that follows from a predicted noise
is its error many times over, again as a tint; the velocity is then the picture itself."""


def new_vae(blocks: int = VAE_BLOCKS) -> AutoencoderKL:
    """Return the autoencoder: factor 8, 4 latent channels, starting as a plain 8-fold shrink and enlarge.

    LDM fixes GroupNorm to 32 groups, and a group of one or two channels cannot carry the brightness of a flat area:
    normalizing takes it away. 96 channels make groups of three, enough for ``(value, +R, -R)``.
    """
    vae = AutoencoderKL(
        block_out_channels=(VAE_CHANNELS,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=blocks,
        latent_channels=4,
        sample_size=128,
    )
    _start_as_shrink_and_enlarge(vae)
    return vae


def load_vae(path: Path) -> AutoencoderKL:
    """Return the autoencoder that `train_vae` or `shipped` wrote, with as many ResNet blocks a level as it has."""
    state = torch.load(path, weights_only=True)
    blocks = len({name.split(".")[4] for name in state if name.startswith("encoder.down_blocks.0.resnets")})
    vae = new_vae(blocks)
    vae.load_state_dict(state)
    return vae


def _start_as_shrink_and_enlarge(vae: AutoencoderKL, reference: float = 2.0) -> None:
    """Initialize ``vae`` so that color passes from end to end; what is left to learn are the edges.

    Each group of three channels holds a signed color and two constants that keep its scale through GroupNorm;
    ``silu(x) - silu(-x) = x`` makes the last convolutions exactly linear.
    """
    with torch.no_grad():
        for block in (m for m in vae.modules() if isinstance(m, ResnetBlock2D)):
            block.conv2.weight.mul_(0.02)
        for block in (m for m in vae.modules() if isinstance(m, Attention)):
            block.to_out[0].weight.mul_(0.02)
        for down in (b.downsamplers[0].conv for b in vae.encoder.down_blocks if b.downsamplers):
            _pass_through(down, taps=((0, 0), (0, 1), (1, 0), (1, 1)))
        for up in (b.upsamplers[0].conv for b in vae.decoder.up_blocks if b.upsamplers):
            _pass_through(up, taps=((1, 1),))
        # GroupNorm divides by sqrt(2/3) R; 16 pairs of groups share three colors.
        gain = reference * (2 / 3) ** 0.5 / (VAE_CHANNELS / 3 / 2 / 3)
        for half in (vae.encoder, vae.decoder):
            half.conv_in.weight.mul_(0.05)
            half.conv_out.weight.mul_(0.05)
            half.conv_in.bias.zero_()
            for group in range(VAE_CHANNELS // 3):
                sign, color = (1 if group % 2 == 0 else -1), group // 2 % 3
                half.conv_in.weight[3 * group, color, 1, 1] += sign
                half.conv_in.bias[3 * group + 1 : 3 * group + 3] = torch.tensor([reference, -reference])
                half.conv_out.weight[color, 3 * group, 1, 1] += sign * gain
        for small in (vae.quant_conv, vae.post_quant_conv):
            small.weight.mul_(0.05).add_(torch.eye(small.weight.shape[0])[..., None, None])
            small.bias.zero_()
        vae.encoder.conv_out.bias[4:] = -6.0  # log-variance: nearly no sampling noise at the start


def _pass_through(conv: torch.nn.Conv2d, taps: tuple[tuple[int, int], ...]) -> None:
    """Make ``conv`` hand each channel on (the mean over ``taps``), with a little of its random start left."""
    conv.weight.mul_(0.05)
    conv.bias.zero_()
    for row, column in taps:
        conv.weight[:, :, row, column] += torch.eye(conv.weight.shape[0]) / len(taps)


def new_unet() -> UNet2DConditionModel:
    """Return the UNet: 12 input blocks, middle, 12 output blocks, attention where SD1 has it."""
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=tuple(UNET_CHANNELS * times for times in UNET_WIDER),
        layers_per_block=UNET_BLOCKS,
        cross_attention_dim=CONTEXT,
        attention_head_dim=4,  # diffusers' name for the number of heads in SD1
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    )


def new_text_encoder(vocab_size: int) -> CLIPTextModel:
    """Return the CLIP text model; the two last tokens of the vocabulary are start and end."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocab_size,
            hidden_size=CONTEXT,
            intermediate_size=4 * CONTEXT,
            projection_dim=CONTEXT,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=77,
            hidden_act="quick_gelu",
            bos_token_id=vocab_size - 2,
            eos_token_id=vocab_size - 1,
            pad_token_id=vocab_size - 1,
        )
    )
