"""Load a Stable Diffusion checkpoint (``.safetensors`` in LDM names) into diffusers' modules, without a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from lib_lora.architectures.registry import architecture_of
from lib_lora.errors import FileError
from lib_lora.formats.files import read_tensors
from lib_lora.host.noise_schedule import NOISE, VELOCITY, Marks, marks_of
from lib_lora.host.studio import ldm_config
from lib_lora.host.studio.ldm_config import LdmConfig, Shapes
from lib_lora.host.studio.tokenizer import find_tokenizer
from lib_lora.sentences import say


@dataclass
class Checkpoint:
    """The networks of one checkpoint, in evaluation mode, and what its config says."""

    path: Path
    family: str
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoders: tuple[nn.Module, ...]
    tokenizer: CLIPTokenizer
    prediction_type: str
    latent_scale: float
    betas: tuple[float, float]
    marks: Marks


def load_checkpoint(path: Path, *, tokenizer: Path | None = None) -> Checkpoint:
    """Load ``path``; everything in fp32 on the CPU, gradients off.

    Raises:
        FileError: not a safetensors file, not SD1/SD2/SDXL, or tensors are missing.
    """
    if path.suffix != ".safetensors":
        raise FileError(
            "The studio loads .safetensors checkpoints only",
            where=str(path),
            cure="Convert the file first; a pickle can run programs.",
        )
    tensors, metadata = read_tensors(path)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    family = ldm_config.family_of_checkpoint(shapes, where=str(path))
    config = LdmConfig.beside(path)
    floats = {n: t.float() if t.is_floating_point() else t for n, t in tensors.items()}
    try:
        unet_arguments = ldm_config.unet_config(shapes, family, config.heads, where=str(path))
        unet = UNet2DConditionModel(**unet_arguments)
        _fill(unet, convert_ldm_unet_checkpoint(floats, unet.config), part="UNet", where=path)
        scale = config.latent_scale or architecture_of(family).latent_scale
        vae = AutoencoderKL(**ldm_config.vae_config(shapes), scaling_factor=scale)
        _fill(vae, convert_ldm_vae_checkpoint(floats, vae.config), part="VAE", where=path)
        text_encoders = _text_encoders(floats, shapes, family, config, where=path)
    except (KeyError, StopIteration, ValueError) as error:
        raise FileError(
            "A part of the checkpoint is missing ({reason})",
            reason=error,
            where=str(path),
            cure="Download the file again.",
        ) from error
    marks = marks_of(tensors, metadata)
    prediction = config.prediction_type or (VELOCITY if marks.velocity else NOISE)
    for module in (unet, vae, *text_encoders):
        module.requires_grad_(False).eval()
    words = find_tokenizer(tokenizer or config.text_folder, family=family)
    betas = config.betas or architecture_of(family).betas
    if betas is None:
        raise LookupError(f"{family} has no noise schedule of betas")
    return Checkpoint(path, family, unet, vae, text_encoders, words, prediction, scale, betas, marks)


def _fill(module: nn.Module, tensors: Mapping[str, Tensor], *, part: str, where: Path) -> None:
    """Load ``tensors`` into ``module``; every parameter must get its value."""
    missing = [name for name in module.state_dict() if name not in tensors and not name.endswith("position_ids")]
    if missing:
        raise FileError(
            "{n} {n:tensor|tensors} of the {part} {n:is|are} missing, the first is {name}",
            n=len(missing),
            part=part,
            name=missing[0],
            where=str(where),
            cure="The file is cut or of an unknown kind; get it again.",
        )
    try:
        module.load_state_dict(dict(tensors), strict=False)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise FileError(
            "A tensor of the {part} has another size: {name}", part=part, name=first, where=str(where)
        ) from error


def _renamed(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return text-model tensors under the names of the installed transformers (with or without ``text_model.``)."""
    has_prefix = any(name.startswith("text_model.") for name in module.state_dict())
    bare = {name.removeprefix("text_model."): tensor for name, tensor in tensors.items()}
    if not has_prefix:
        return bare
    return {n if n.startswith("text_projection") else f"text_model.{n}": t for n, t in bare.items()}


def _text_encoders(
    tensors: Mapping[str, Tensor], shapes: Shapes, family: str, config: LdmConfig, *, where: Path
) -> tuple[nn.Module, ...]:
    """Return the text encoder, or SDXL's two, of which the second has a projection and all its layers."""
    known = architecture_of(family)
    return tuple(
        _open_clip(tensors, shapes, encoder.root, pooled=known.pooled, where=where)
        if encoder.open_clip
        else _clip(tensors, shapes, encoder.root + "text_model.", config, where=where)
        for encoder in known.text_encoders
    )


def _clip(tensors: Mapping[str, Tensor], shapes: Shapes, prefix: str, config: LdmConfig, *, where: Path) -> nn.Module:
    """Return a text model that the checkpoint has in transformers' own names."""
    if config.text_folder is not None and (config.text_folder / "config.json").is_file():
        settings = CLIPTextConfig.from_pretrained(config.text_folder)
    else:
        settings = CLIPTextConfig(**ldm_config.clip_config(shapes, prefix))
    model = CLIPTextModel(settings)
    own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    _fill(model, _renamed(model, own), part=say("text encoder"), where=where)
    return model


def _open_clip(tensors: Mapping[str, Tensor], shapes: Shapes, prefix: str, *, pooled: bool, where: Path) -> nn.Module:
    """Return an open_clip text model as transformers' CLIP."""
    kind = CLIPTextModelWithProjection if pooled else CLIPTextModel
    model = kind(CLIPTextConfig(**ldm_config.open_clip_config(shapes, prefix, drop_last=not pooled)))
    converted = convert_open_clip_checkpoint(model, dict(tensors), prefix=prefix)
    _fill(model, _renamed(model, converted), part=say("text encoder"), where=where)
    return model
