"""Forge's live model: patchers around the networks, weights made in inference mode, layers of Forge's own classes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch
from torch import Tensor, nn

from lib_lora.architectures.base import UNKNOWN
from lib_lora.architectures.registry import architecture_of, architectures
from lib_lora.errors import InputError
from lib_lora.host.webui.model.host_model import (
    MODEL,
    SETTINGS,
    HostModel,
    TextEncoder,
    check_channels,
    flagged,
    is_ours,
    named_family,
)
from lib_lora.host.webui.model.layers import clip_layers
from lib_lora.host.webui.protocols import ForgeEngine, ModelPatcher, TextEngine
from lib_lora.host.webui.session.restore import attributes_kept
from lib_lora.sentences import say

_NORM = re.compile(r"transformer_blocks\.\d+\.norm(\d|_in)$")
EMPTY = str([])
"""How Forge writes that no LoRA is wanted, or merged."""
_WHOLE = (torch.float32, torch.float16, torch.bfloat16)


class ForgeHostModel(HostModel):
    """The engine in ``sd_models.model_data.sd_model`` of Forge."""

    def __init__(self, live: ForgeEngine) -> None:
        from backend import memory_management

        self.live = live
        info = live.sd_checkpoint_info
        self.name, self.path = info.name_for_extra, info.filename
        self.device = memory_management.get_torch_device()
        objects = live.forge_objects_original
        model = objects.unet.model
        self.family = family_of(live, model.diffusion_model)
        self.prediction_type = self._predicts(getattr(model.predictor, "prediction_type", "unknown"))
        self.plain_alphas_cumprod = getattr(model.predictor, "alphas_cumprod", torch.ones(1)).detach().clone().float()
        if not is_ours(self.family):
            return
        self.unet, self.vae = model.diffusion_model, getattr(objects.vae, "first_stage_model", None)
        self.latent_scale = float(getattr(self.vae, "scaling_factor", 1.0))
        wanted = _engines(self.family)
        engines = [(getattr(live, name), prefix) for name, prefix in wanted if getattr(live, name, None) is not None]
        if len(engines) == len(wanted):
            self.texts = tuple(_encoder(engine, prefix) for engine, prefix in engines)

    def host_rescales(self) -> bool:
        """Whether the host found the checkpoint's mark: it then rescales the sigmas for each picture."""
        return bool(getattr(getattr(self.live, "model_config", None), "ztsnr", False))

    def lost(self) -> bool:
        """Whether the host switched the model; Forge moves its parts by itself, which `bring` takes care of."""
        from modules import sd_models

        live = self.live
        return sd_models.model_data.sd_model is not live or live.sd_checkpoint_info.filename != self.path

    def bring(self, part: str) -> None:
        """Let Forge's memory management load the part; weights that it moved in inference mode are made anew."""
        from backend import memory_management

        objects = self.live.forge_objects_original
        patcher = {"unet": objects.unet, "vae": objects.vae.patcher, "text": objects.clip.patcher}[part]
        memory_management.load_model_gpu(patcher)
        if part == "unet":
            make_trainable(self.unet)
        elif part == "text" and torch.is_grad_enabled():
            for text in self.texts:
                make_trainable(text.module)

    def run_unet(self, x: Tensor, timesteps: Tensor, context: Tensor, y: Tensor | None) -> Tensor:
        """Return the UNet's raw output; with options of its own, because Forge writes into the default ones."""
        return self.required_unet(x, timesteps, context=context, y=y, transformer_options={})

    def check(self, *, trains_text: bool) -> None:
        """Refuse what cannot be trained, in one sentence."""
        cure = say("Choose a checkpoint of SD1, SD2 or SDXL.")
        if self.unet is None:
            raise InputError(
                "A model of the kind {family} cannot be trained here", family=self.family, where=MODEL, cure=cure
            )
        check_channels(self.unet)
        if not self.texts:
            what = say("This model's text encoder is of a kind that cannot be trained with")
            raise InputError(what, where=MODEL, cure=cure)
        if self.prediction_type not in ("epsilon", "v_prediction"):
            what = say("A model that predicts in the way {kind} cannot be trained here", kind=self.prediction_type)
            raise InputError(what, where=MODEL, cure=cure)
        model = self.live.forge_objects_original.unet.model
        stored = {parameter.dtype for parameter in self.unet.parameters()} | {model.storage_dtype}
        if not stored <= set(_WHOLE):
            cure = say("Choose Diffusion in Low Bits: Automatic.")
            raise InputError("Weights stored in 8 bits or less cannot be trained through", where=SETTINGS, cure=cure)
        if self.device.type != "cuda" and model.computation_dtype is not torch.float32:
            cure = say("Start the WebUI with {flag}.", flag="--all-in-fp32")
            raise InputError("On this device 16-bit weights cannot be trained through", where=SETTINGS, cure=cure)

    def prepared(self) -> AbstractContextManager[None]:
        """Have the UNet as training wants it, and as it was afterwards."""
        return _prepared(self)

    def settle(self) -> None:
        """Clear the LoRAs of a prompt: they are merged into the weights until another patcher is loaded."""
        patcher = self.live.forge_objects_original.unet
        if self.live.current_lora_hash != EMPTY or _is_merged(patcher):
            settle(self.live)


def key_of(live: ForgeEngine) -> tuple[object, ...]:
    """Return what tells this checkpoint from another."""
    return (live.sd_checkpoint_info.filename, id(live.forge_objects_original.unet.model))


def family_of(live: ForgeEngine, network: nn.Module) -> str:
    """Return the family by the engine's flags; engines of other families by their name."""
    family = flagged(live)
    if is_ours(family):
        return named_family(family, network)
    engine = type(live).__name__.lower()
    named = (one.name for one in architectures() if one.unet is None and one.name in engine)
    return family if family != UNKNOWN else next(named, UNKNOWN)


def _engines(family: str) -> list[tuple[str, str]]:
    """Return the attribute of the engine of each text encoder, and the prefix of its modules."""
    encoders = architecture_of(family).text_encoders
    last = [f"_{one.short[-1]}" if len(encoders) > 1 else "" for one in encoders]  # clip_l, clip_g
    return [(f"text_processing_engine{end}", one.prefix) for end, one in zip(last, encoders, strict=True)]


def settle(live: ForgeEngine) -> None:
    """Bring the model back to its own weights, as an empty prompt would."""
    from backend import memory_management

    live.forge_objects = live.forge_objects_original.shallow_copy()
    live.forge_objects_after_applying_lora = live.forge_objects_original.shallow_copy()
    live.current_lora_hash = EMPTY
    for patcher in (live.forge_objects.clip.patcher, live.forge_objects.unet):
        memory_management.load_model_gpu(patcher)
        if hasattr(patcher, "refresh_loras"):  # Neo merges, and unmerges, as it loads
            patcher.refresh_loras()


def _is_merged(patcher: ModelPatcher) -> bool:
    """Whether the weights hold a prompt's LoRAs; ``patcher`` is the one without any."""
    loader = getattr(patcher, "lora_loader", None)
    if loader is not None:
        return bool(loader.loaded_hash != EMPTY)
    held = getattr(patcher.model, "current_weight_patches_uuid", None)
    return held is not None and held != patcher.patches_uuid


def make_trainable(network: nn.Module) -> None:
    """Replace weights that were made in inference mode: autograd cannot keep those for a backward pass.

    A new Parameter with the same bytes stands in the old one's place for good, layer by layer; writing into the old
    one's ``data`` would leave a tensor that raises in every later picture. Parameters that two modules share stay so.
    """
    made: dict[int, nn.Parameter] = {}
    for module in network.modules():
        for name, parameter in module._parameters.items():
            if parameter is None or not parameter.is_inference():
                continue
            if id(parameter) not in made:
                made[id(parameter)] = nn.Parameter(parameter.detach().clone(), requires_grad=False)
            module._parameters[name] = made[id(parameter)]


@contextmanager
def _prepared(host: ForgeHostModel) -> Iterator[None]:
    """Own weights, PyTorch's attention, and norms that keep what they normalized."""
    import backend.attention
    import backend.nn.unet

    settle(host.live)
    host.bring("unet")
    with ExitStack() as stack:
        stack.enter_context(attributes_kept((backend.nn.unet, "attention_function")))
        backend.nn.unet.attention_function = backend.attention.attention_pytorch
        for path, norm in host.required_unet.named_modules():
            if _NORM.search(path):
                handle = norm.register_forward_pre_hook(_apart)
                stack.callback(handle.remove)
        try:
            yield
        finally:
            settle(host.live)


def _apart(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Give a norm a copy of its input: Forge's blocks add to the original in place, and backward needs it as it was."""
    return (inputs[0].clone(), *inputs[1:]) if torch.is_grad_enabled() else inputs


def _encoder(engine: TextEngine, prefix: str) -> TextEncoder:
    transformer = engine.text_encoder.transformer
    return TextEncoder(
        transformer,
        clip_layers(transformer, prefix),
        engine.tokenize,
        engine.id_start,
        engine.id_end,
        engine.id_pad,
        _pass(engine, transformer),
    )


def _pass(engine: TextEngine, transformer: nn.Module) -> Callable[[Tensor, int], tuple[Tensor, Tensor | None]]:
    """Return one pass as the engine makes it, without its emphasis and its textual inversions."""

    def encode(ids: Tensor, clip_skip: int) -> tuple[Tensor, Tensor | None]:
        engine.embeddings.fixes = None
        out = transformer(ids, output_hidden_states=True)
        hidden = out.hidden_states[-max(clip_skip, engine.minimal_clip_skip)]
        if engine.final_layer_norm:
            hidden = transformer.text_model.final_layer_norm(hidden)
        if not engine.return_pooled:
            return hidden, None
        pooled = out.pooler_output
        projected = engine.text_projection and engine.embedding_key != "clip_l"
        return hidden, transformer.text_projection(pooled) if projected else pooled

    return encode
