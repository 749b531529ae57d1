"""AUTOMATIC1111's live model (and, for its layers, the models of reForge and classic, which are built the same way)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor

from lib_lora.architectures.base import UNKNOWN
from lib_lora.architectures.registry import architecture_of
from lib_lora.architectures.stable_diffusion import REFINER_WIDTH
from lib_lora.host.noise_schedule import NOISE, VELOCITY
from lib_lora.host.webui import a1111_lend
from lib_lora.host.webui.layers import clip_layers, context_width, open_clip_layers
from lib_lora.host.webui.parts import Parts, flagged, is_ours
from lib_lora.host.webui.text import TextEncoder, clip_pass, open_clip_pass


class A1111Parts(Parts):
    """``shared.sd_model`` of AUTOMATIC1111 1.10."""

    def __init__(self, live: Any, *, with_text: bool = True) -> None:
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
        return next(self.unet.parameters()).device.type != self.device.type

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
        return self.unet(x, timesteps, context=context, **extra)

    def check(self, *, trains_text: bool) -> None:
        """Refuse what cannot be trained, in one sentence."""
        a1111_lend.check_model(self.live, self.unet, self.family, texts=len(self.texts))
        a1111_lend.check_setup(self.live, self.unet, self.device, trains_text=trains_text)

    def prepared(self) -> AbstractContextManager[None]:
        """Have the model as training wants it, and as it was afterwards."""
        return a1111_lend.prepared(self.live, self.unet)

    def settle(self) -> None:
        """Clear what a tag in a sample's prompt left."""
        if a1111_lend.unsettled():
            a1111_lend.settle(self.live)


def key_of(live: Any) -> tuple[object, ...]:
    """Return what tells this checkpoint in this object from another: the host puts new weights into old objects."""
    embedders = getattr(getattr(live, "conditioner", None), "embedders", None) or (live.cond_stage_model,)
    return (live.sd_checkpoint_info.filename, id(live.model), *(id(one) for one in embedders))


def family_of(live: Any) -> str:
    """Return the family by the host's flags; a refiner and others that only look like one of ours are ``unknown``."""
    family = flagged(live)
    refines = is_ours(family) and context_width(live.model.diffusion_model) == REFINER_WIDTH
    return UNKNOWN if refines else family


def text_encoders(live: Any, family: str) -> tuple[TextEncoder, ...]:
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


def _clip(wrapper: Any, prefix: str, *, layer: int | None) -> TextEncoder:
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


def _open_clip(wrapper: Any, prefix: str) -> TextEncoder:
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


def _forget(wrapper: Any) -> Callable[[], None]:
    """Return what drops the textual inversions that the last prompt left for the next pass."""

    def forget() -> None:
        if wrapper.hijack is not None:
            wrapper.hijack.fixes = None

    return forget
