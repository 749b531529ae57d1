"""What training needs of AUTOMATIC1111, and putting it back: last prompt's leftovers, attention, checkpoint flags."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from lib_lora.errors import InputError
from lib_lora.host.webui.keep import attributes_kept, flags_off
from lib_lora.host.webui.lora_list import host_networks
from lib_lora.host.webui.parts import MODEL, SETTINGS, START, check_channels


def check_model(live: Any, unet: nn.Module | None, family: str, *, texts: int) -> None:
    """Refuse a model that no LoRA can be trained on.

    Raises:
        InputError: in one sentence.
    """
    cure = "Choose a checkpoint of SD1, SD2 or SDXL."
    if unet is None:
        raise InputError(f"A model of the kind {family} cannot be trained here", where=MODEL, cure=cure)
    check_channels(unet)
    if getattr(live, "is_ssd", False):
        raise InputError("A reduced SDXL model (SSD-1B) cannot be trained", where=MODEL, cure=cure)
    if not texts:
        raise InputError("This model's text encoder is of a kind that cannot be trained with", where=MODEL, cure=cure)


def check_setup(live: Any, unet: nn.Module, device: torch.device, *, trains_text: bool) -> None:
    """Refuse a setup of the host in which its model cannot be trained.

    Raises:
        InputError: in one sentence, with what to change.
    """
    from modules import devices, sd_unet, shared

    if getattr(live, "lowvram", False):
        if shared.cmd_opts.lowvram:
            cure = "Start it with --medvram, or without either."
            raise InputError(
                "With --lowvram the UNet is never in one piece, so it cannot be trained", where=START, cure=cure
            )
        if trains_text:
            cure = "Set the text encoder's ratio to 0, or start without --medvram."
            raise InputError("With --medvram only the UNet can be trained", where=START, cure=cure)
    types = {parameter.dtype for parameter in unet.parameters()}
    if devices.fp8 or any(one.itemsize == 1 for one in types if one.is_floating_point):
        cure = "Settings, Optimizations: FP8 weight Disable."
        raise InputError("Weights stored in 8 bits (fp8) cannot be trained through", where=SETTINGS, cure=cure)
    half = types & {torch.float16, torch.bfloat16}
    if half and (device.type != "cuda" or devices.cuda_no_autocast()):
        cure = "Start the WebUI with --no-half."
        raise InputError("On this device 16-bit weights cannot be trained through", where=START, cure=cure)
    if sd_unet.current_unet is not None:
        cure = "Settings: SD Unet None."
        raise InputError(
            "Another UNet (such as TensorRT) stands in for the checkpoint's own", where=SETTINGS, cure=cure
        )
    if "forward" in vars(unet):
        cure = "Make one picture without it, or switch that extension off."
        raise InputError("Another extension (such as ControlNet) holds the UNet", where=MODEL, cure=cure)
    if getattr(shared.opts, "sd_hypernetwork", "None") not in ("None", "", None):
        cure = "Settings: Add hypernetwork to prompt None."
        raise InputError("A hypernetwork is added to every prompt", where=SETTINGS, cure=cure)


def settle(live: Any) -> None:
    """Clear what the last prompt left in the model: LoRAs merged into the weights, hypernetworks, token merging."""
    from modules import sd_models, shared
    from modules.hypernetworks import hypernetwork

    if shared.loaded_hypernetworks:
        hypernetwork.load_hypernetworks([])
    if getattr(live, "applied_token_merged_ratio", 0):
        sd_models.apply_token_merging(live, 0)
    networks = host_networks()
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
def prepared(live: Any, unet: nn.Module) -> Iterator[None]:
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
