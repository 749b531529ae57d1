"""Write the trained pocket model as one checkpoint in LDM names, with its config and tokenizer beside it.

python tools/pocket/export.py --work WORK --out lib_lora/host/pocket
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

import shipped
import torch
from architecture import (
    BETAS,
    CONTEXT,
    PREDICTION,
    UNET_BLOCKS,
    UNET_CHANNELS,
    UNET_WIDER,
    VAE_CHANNELS,
    load_vae,
    new_text_encoder,
    new_unet,
)
from pictures import concepts
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lib_lora.formats.files import write_tensors
from lib_lora.formats.keys import to_ldm

INSTALLED = "extensions/lora-atelier/lib_lora/host/pocket/text"
"""Where the WebUI finds the text encoder's files when this extension is installed in its usual place."""


def unet_tensors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a diffusers UNet's tensors under LDM names."""
    renamed = {}
    for name, tensor in state.items():
        path, _, leaf = name.rpartition(".")
        renamed[f"model.diffusion_model.{to_ldm(path, 'sd1')}.{leaf}"] = tensor
    return renamed


def vae_tensors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a diffusers autoencoder's tensors under LDM names; attention projections become 1×1 convolutions."""
    renamed = {}
    for name, tensor in state.items():
        levels = 4
        parts = name.split(".")
        if parts[1] == "down_blocks":
            level, kind = parts[2], parts[3]
            rest = ["block", parts[4], *parts[5:]] if kind == "resnets" else ["downsample", *parts[5:]]
            parts = [parts[0], "down", level, *rest]
        elif parts[1] == "up_blocks":
            level, kind = levels - 1 - int(parts[2]), parts[3]
            rest = ["block", parts[4], *parts[5:]] if kind == "resnets" else ["upsample", *parts[5:]]
            parts = [parts[0], "up", str(level), *rest]
        elif parts[1] == "mid_block":
            inner = {"attentions.0": "attn_1", "resnets.0": "block_1", "resnets.1": "block_2"}[".".join(parts[2:4])]
            parts = [parts[0], "mid", inner, *parts[4:]]
        ldm = "first_stage_model." + ".".join(parts)
        for ours, theirs in (
            ("conv_shortcut", "nin_shortcut"),
            ("conv_norm_out", "norm_out"),
            ("group_norm", "norm"),
            ("to_q", "q"),
            ("to_k", "k"),
            ("to_v", "v"),
            ("to_out.0", "proj_out"),
        ):
            ldm = ldm.replace(f".{ours}.", f".{theirs}.")
        is_projection = ".attn_1." in ldm and ldm.endswith("weight") and tensor.dim() == 2
        renamed[ldm] = tensor[:, :, None, None] if is_projection else tensor
    return renamed


def text_tensors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a CLIP text model's tensors under LDM names."""
    return {
        f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}": t for name, t in state.items()
    }


def config_yaml(scale: float, blocks: int) -> str:
    """Return the LDM config of the pocket model; ``blocks``: the autoencoder's ResNet blocks a level."""
    return f"""# LoRA Atelier pocket model. Installed elsewhere than extensions/lora-atelier? Then change `version`.
model:
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    linear_start: {BETAS[0]}
    linear_end: {BETAS[1]}
    num_timesteps_cond: 1
    log_every_t: 200
    timesteps: 1000
    first_stage_key: jpg
    cond_stage_key: txt
    image_size: 16
    channels: 4
    cond_stage_trainable: false
    conditioning_key: crossattn
    monitor: val/loss_simple_ema
    parameterization: {"v" if PREDICTION == "v_prediction" else "eps"}
    scale_factor: {scale}
    use_ema: false
    unet_config:
      target: ldm.modules.diffusionmodules.openaimodel.UNetModel
      params:
        image_size: 16
        in_channels: 4
        out_channels: 4
        model_channels: {UNET_CHANNELS}
        attention_resolutions: [4, 2, 1]
        num_res_blocks: {UNET_BLOCKS}
        channel_mult: {list(UNET_WIDER)}
        num_heads: 4
        use_spatial_transformer: true
        transformer_depth: 1
        context_dim: {CONTEXT}
        use_checkpoint: false
        legacy: false
    first_stage_config:
      target: ldm.models.autoencoder.AutoencoderKL
      params:
        embed_dim: 4
        monitor: val/rec_loss
        ddconfig:
          double_z: true
          z_channels: 4
          resolution: 128
          in_channels: 3
          out_ch: 3
          ch: {VAE_CHANNELS}
          ch_mult: [1, 1, 1, 1]
          num_res_blocks: {blocks}
          attn_resolutions: []
          dropout: 0.0
        lossconfig:
          target: torch.nn.Identity
    cond_stage_config:
      target: ldm.modules.encoders.modules.FrozenCLIPEmbedder
      params:
        version: {INSTALLED}
"""


def write(work: Path, out: Path) -> None:
    """Assemble the checkpoint from the work folder, with config, tokenizer and history beside it."""
    saved = torch.load(work / "model.pt", weights_only=True)
    unet, vae = new_unet(), load_vae(work / "vae.pt")
    unet.load_state_dict(saved["average_unet"])
    vocabulary = len(json.loads((work / "tokenizer" / "vocab.json").read_text(encoding="utf-8")))
    text = new_text_encoder(vocabulary)
    text.load_state_dict(saved["average_text"])
    tensors = unet_tensors(unet.state_dict()) | vae_tensors(vae.state_dict()) | text_tensors(text.state_dict())
    halves = {name: tensor.to("cpu", torch.float16).contiguous() for name, tensor in tensors.items()}
    out.mkdir(parents=True, exist_ok=True)
    write_tensors(out / "pocket.safetensors", halves, {"modelspec.title": "LoRA Atelier pocket model"}, overwrite=True)
    (out / "pocket.yaml").write_text(config_yaml(saved["scale"], vae.config.layers_per_block), encoding="utf-8")
    shutil.copytree(work / "tokenizer", out / "text", dirs_exist_ok=True)
    text.config.save_pretrained(out / "text")
    history = {
        "pictures": "Noto Color Emoji (Debian package fonts-noto-color-emoji) with CLDR short names",
        "licence": "glyphs: SIL Open Font License 1.1; names: Unicode License",
        "concepts": len(concepts()),
        "autoencoder": json.loads((work / "vae.json").read_text(encoding="utf-8")),
        "model": {key: saved[key] for key in ("seed", "step", "batch", "minutes", "scenes", "log")},
    }
    before = work / shipped.BEFORE
    if before.exists():
        history["model"]["before"] = json.loads(before.read_text(encoding="utf-8"))
    (out / "training.json").write_text(json.dumps(history, indent=1), encoding="utf-8")


def main() -> None:
    """Assemble the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    write(options.work, options.out)


if __name__ == "__main__":
    main()
