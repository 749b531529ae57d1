"""AUTOMATIC1111's live model, what training needs of it, and putting it back.

reForge and classic build theirs the same way, so the layers of those are found here too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from lib_lora.architectures.registry import architecture_of
from lib_lora.errors import InputError
from lib_lora.host.noise_schedule import NOISE, VELOCITY
from lib_lora.host.webui.lora_list import host_networks
from lib_lora.host.webui.model.host_model import (
    MODEL,
    SETTINGS,
    START,
    HostModel,
    TextEncoder,
    check_channels,
    clip_pass,
    flagged,
    is_ours,
    named_family,
    open_clip_pass,
)
from lib_lora.host.webui.model.layers import clip_layers, open_clip_layers
from lib_lora.host.webui.options import host_setting
from lib_lora.host.webui.protocols import A1111Networks, SdModel, TextWrapper
from lib_lora.host.webui.session.restore import attributes_kept, flags_off
from lib_lora.sentences import say


class A1111HostModel(HostModel):
    """``shared.sd_model`` of AUTOMATIC1111 1.10."""

    def __init__(self, live: SdModel, *, with_text: bool = True) -> None:
        from modules import devices

        self.live = live
        info = live.sd_checkpoint_info
        self.name, self.path = info.name_for_extra, info.filename
        self.device = devices.device
        self.family = family_of(live)
        self.prediction_type = self._predicts(VELOCITY if getattr(live, "parameterization", "eps") == "v" else NOISE)
        schedule = getattr(live, "alphas_cumprod_original", None)
        self.plain_alphas_cumprod = (live.alphas_cumprod if schedule is None else schedule).detach().float()
        if not is_ours(self.family):
            return
        self.unet, self.vae = live.model.diffusion_model, live.first_stage_model
        self.latent_scale = float(live.scale_factor)
        self.texts = text_encoders(live, self.family) if with_text else ()

    def host_rescales(self) -> bool:
        """Whether the host knows the checkpoint's mark; AUTOMATIC1111 1.10 has only its setting."""
        return bool(getattr(self.live, "ztsnr", False))

    def lost(self) -> bool:
        """Whether the host switched, unloaded or moved the model."""
        from modules import sd_models

        live = self.live
        if sd_models.model_data.sd_model is not live or live.sd_checkpoint_info.filename != self.path:
            return True
        if getattr(live, "lowvram", False):
            return False  # the host moves it in and out all the time
        return next(self.required_unet.parameters()).device.type != self.device.type

    def bring(self, part: str) -> None:
        """Let the host's own pre-hooks move the part; without medvram there are none and all parts are in place."""
        owner = {"unet": self.live.model, "vae": self.vae}.get(part)
        if owner is None or not getattr(self.live, "lowvram", False):
            return  # text encoders are called as modules, so their own pre-hooks run
        for hook in list(owner._forward_pre_hooks.values()):
            hook(owner, ())

    def run_unet(self, x: Tensor, timesteps: Tensor, context: Tensor, y: Tensor | None) -> Tensor:
        """Return the UNet's raw output."""
        extra = {} if y is None else {"y": y}
        return self.required_unet(x, timesteps, context=context, **extra)

    def check(self, *, trains_text: bool) -> None:
        """Refuse what cannot be trained, in one sentence."""
        check_model(self.live, self.unet, self.family, texts=len(self.texts))
        check_setup(self.live, self.unet, self.device, trains_text=trains_text)

    def prepared(self) -> AbstractContextManager[None]:
        """Have the model as training wants it, and as it was afterwards."""
        return prepared(self.live, self.unet)

    def settle(self) -> None:
        """Clear what a tag in a sample's prompt left."""
        if unsettled():
            settle(self.live)


def key_of(live: SdModel) -> tuple[object, ...]:
    """Return what tells this checkpoint in this object from another: the host puts new weights into old objects."""
    embedders = getattr(getattr(live, "conditioner", None), "embedders", None) or (live.cond_stage_model,)
    return (live.sd_checkpoint_info.filename, id(live.model), *(id(one) for one in embedders))


def family_of(live: SdModel) -> str:
    """Return the family by the host's flags; what only looks like one of ours is ``unknown``."""
    return named_family(flagged(live), live.model.diffusion_model)


def text_encoders(live: SdModel, family: str) -> tuple[TextEncoder, ...]:
    """Return the text encoders behind the host's wrappers; none while the host is still wrapping them."""
    known = architecture_of(family)
    if known.pooled:
        wrappers = [one for one in live.conditioner.embedders if hasattr(one, "wrapped") and hasattr(one, "tokenize")]
        if len(wrappers) != 2:
            return ()
        (first, second), (one, other) = wrappers, known.text_encoders
        return (_clip(first, one.prefix, layer=first.wrapped.layer_idx), _open_clip(second, other.prefix))
    wrapper = live.cond_stage_model
    if not hasattr(wrapper, "wrapped"):
        return ()
    (only,) = known.text_encoders
    return (_open_clip(wrapper, only.prefix) if only.open_clip else _clip(wrapper, only.prefix, layer=None),)


def _clip(wrapper: TextWrapper, prefix: str, *, layer: int | None) -> TextEncoder:
    transformer = wrapper.wrapped.transformer
    return TextEncoder(
        transformer,
        clip_layers(transformer, prefix),
        wrapper.tokenize,
        wrapper.id_start,
        wrapper.id_end,
        wrapper.id_pad,
        clip_pass(transformer, layer=layer, forget=_forget(wrapper)),
    )


def _open_clip(wrapper: TextWrapper, prefix: str) -> TextEncoder:
    wrapped = wrapper.wrapped
    # SDXL's pooled vector comes from the last block; SD2 stops `layer_idx` blocks before the end.
    unused = 0 if getattr(wrapped, "return_pooled", False) else int(wrapped.layer_idx)
    return TextEncoder(
        wrapped.model,
        open_clip_layers(wrapped.model, prefix, unused=unused),
        wrapper.tokenize,
        wrapper.id_start,
        wrapper.id_end,
        wrapper.id_pad,
        open_clip_pass(wrapped, forget=_forget(wrapper)),
    )


def _forget(wrapper: TextWrapper) -> Callable[[], None]:
    """Return what drops the textual inversions that the last prompt left for the next pass."""

    def forget() -> None:
        if wrapper.hijack is not None:
            wrapper.hijack.fixes = None

    return forget


def check_model(live: SdModel, unet: nn.Module | None, family: str, *, texts: int) -> None:
    """Refuse a model that no LoRA can be trained on.

    Raises:
        InputError: in one sentence.
    """
    cure = say("Choose a checkpoint of SD1, SD2 or SDXL.")
    if unet is None:
        raise InputError("A model of the kind {family} cannot be trained here", family=family, where=MODEL, cure=cure)
    check_channels(unet)
    if getattr(live, "is_ssd", False):
        raise InputError("A reduced SDXL model (SSD-1B) cannot be trained", where=MODEL, cure=cure)
    if not texts:
        raise InputError("This model's text encoder is of a kind that cannot be trained with", where=MODEL, cure=cure)


def check_setup(live: SdModel, unet: nn.Module, device: torch.device, *, trains_text: bool) -> None:
    """Refuse a setup of the host in which its model cannot be trained.

    Raises:
        InputError: in one sentence, with what to change.
    """
    from modules import devices, sd_unet, shared

    if getattr(live, "lowvram", False):
        if shared.cmd_opts.lowvram:
            cure = say("Start it with {flag}, or without either.", flag="--medvram")
            raise InputError(
                "With {flag} the UNet is never in one piece, so it cannot be trained",
                flag="--lowvram",
                where=START,
                cure=cure,
            )
        if trains_text:
            cure = say("Set the text encoder's ratio to 0, or start without {flag}.", flag="--medvram")
            raise InputError("With {flag} only the UNet can be trained", flag="--medvram", where=START, cure=cure)
    types = {parameter.dtype for parameter in unet.parameters()}
    if devices.fp8 or any(one.itemsize == 1 for one in types if one.is_floating_point):
        cure = say("Settings, Optimizations: FP8 weight Disable.")
        raise InputError("Weights stored in 8 bits (fp8) cannot be trained through", where=SETTINGS, cure=cure)
    half = types & {torch.float16, torch.bfloat16}
    if half and (device.type != "cuda" or devices.cuda_no_autocast()):
        cure = say("Start the WebUI with {flag}.", flag="--no-half")
        raise InputError("On this device 16-bit weights cannot be trained through", where=START, cure=cure)
    if sd_unet.current_unet is not None:
        cure = say("Settings: SD Unet None.")
        raise InputError(
            "Another UNet (such as TensorRT) stands in for the checkpoint's own", where=SETTINGS, cure=cure
        )
    if "forward" in vars(unet):
        cure = say("Make one picture without it, or switch that extension off.")
        raise InputError("Another extension (such as ControlNet) holds the UNet", where=MODEL, cure=cure)
    if host_setting("sd_hypernetwork", "None") not in ("None", ""):
        cure = say("Settings: Add hypernetwork to prompt None.")
        raise InputError("A hypernetwork is added to every prompt", where=SETTINGS, cure=cure)


def settle(live: SdModel) -> None:
    """Clear what the last prompt left in the model: LoRAs merged into the weights, hypernetworks, token merging."""
    from modules import sd_models, shared
    from modules.hypernetworks import hypernetwork

    if shared.loaded_hypernetworks:
        hypernetwork.load_hypernetworks([])
    if getattr(live, "applied_token_merged_ratio", 0):
        sd_models.apply_token_merging(live, 0)
    networks = cast("A1111Networks | None", host_networks())
    if networks is None:
        return
    if networks.loaded_networks:
        networks.load_networks([])
    # The host restores a layer's own weights when it runs next; under gradients that would fail.
    with torch.no_grad():
        for layer in getattr(live, "network_layer_mapping", {}).values():
            if getattr(layer, "network_current_names", ()):
                networks.network_apply_weights(layer)


def unsettled() -> bool:
    """Whether a prompt has meanwhile put something into the model, as a tag in a sample prompt does."""
    from modules import shared

    networks = host_networks()
    return bool(shared.loaded_hypernetworks or (networks is not None and networks.loaded_networks))


@contextmanager
def prepared(live: SdModel, unet: nn.Module) -> Iterator[None]:
    """Have the host's model as training wants it: PyTorch's own attention, no checkpointing, no tiling."""
    from modules import sd_hijack

    hijack, schedule = sd_hijack.model_hijack, live.alphas_cumprod
    tiling = hijack.circular_enabled
    settle(live)
    hijack.apply_circular(False)
    try:
        with flags_off(unet, "checkpoint", "use_checkpoint"), _pytorch_attention():
            yield
    finally:
        settle(live)
        hijack.apply_circular(tiling)
        live.alphas_cumprod = schedule  # sampling replaces it by the settings' variant


@contextmanager
def _pytorch_attention() -> Iterator[None]:
    """Attend with PyTorch's scaled dot product: it has a backward pass for every size and writes nothing in place."""
    import ldm.modules.attention as ldm_attention
    import ldm.modules.diffusionmodules.model as ldm_model
    import sgm.modules.attention as sgm_attention
    import sgm.modules.diffusionmodules.model as sgm_model
    from modules import sd_hijack

    option = next((one for one in sd_hijack.optimizers if one.name == "sdp"), None)
    users = (ldm_attention.CrossAttention, sgm_attention.CrossAttention, ldm_model.AttnBlock, sgm_model.AttnBlock)
    with attributes_kept(*[(user, "forward") for user in users]):
        if option is not None:
            option.apply()
        yield
