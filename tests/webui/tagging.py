"""What the tests of block weights on fake hosts share: small LoRAs, a host with our activator in it, pictures."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from lib_lora.blocks.presets import PresetFile
from lib_lora.formats.adapters.loha import LohaAdapter
from lib_lora.formats.adapters.lora import LoraAdapter
from lib_lora.formats.lora import LoraFile
from lib_lora.host.webui.host import WebuiHost
from lib_lora.host.webui.prompt import hooks
from lib_lora.host.webui.prompt.record import Notifier
from tests.webui.fakes.tiny_model import WIDTH

BLOCKS = {
    "IN01": "lora_unet_down_blocks_0_attentions_0_proj_out",
    "M00": "lora_unet_mid_block_attentions_0_proj_out",
    "OUT05": "lora_unet_up_blocks_1_attentions_2_proj_out",
    "OUT02": "lora_unet_up_blocks_0_resnets_2_time_emb_proj",
    "BASE": "lora_te_text_model_encoder_layers_0_self_attn_out_proj",
}
ONES, ZEROS = ",".join("1" * 26), ",".join("0" * 26)
PRESETS = "FACE:1,0,0,0,0,0,0,0,0,0,0,0,0,1,0,0,0,0,0,1,0,0,0,0,0,0\nUNET:0" + ",1" * 25 + "\n"


def lora(seed: int = 0, *, rank: int = 2, blocks: str = "IN01 M00 OUT05 BASE") -> LoraFile:
    draw = torch.Generator().manual_seed(seed)
    parts = {
        BLOCKS[name]: [torch.randn(s, generator=draw) for s in ((WIDTH, rank), (rank, WIDTH))]
        for name in blocks.split()
    }
    return LoraFile({key: LoraAdapter(key, up, down, None, float(rank)) for key, (up, down) in parts.items()})


def loha(seed: int = 0) -> LoraFile:
    draw = torch.Generator().manual_seed(seed)
    key = BLOCKS["IN01"]
    a, b, c, d = (torch.randn(s, generator=draw) for s in ((WIDTH, 2), (2, WIDTH), (WIDTH, 2), (2, WIDTH)))
    return LoraFile({key: LohaAdapter(key, a, b, c, d, None, None, 2.0)})


@contextlib.contextmanager
def put_in(host: Any, voice: Notifier | None = None) -> Iterator[WebuiHost]:
    """Have our activator in the fake's registry."""
    ours = WebuiHost(presets=PresetFile.parse(PRESETS))
    host.add_lora("one", lora())
    host.add_lora("two", lora(7))
    assert hooks.install(lambda: ours, voice)
    host.modules.script_callbacks.on_cfg_denoiser(hooks.on_cfg_denoiser)
    try:
        yield ours
    finally:
        hooks.uninstall()


def picture(host: Any, prompt: str, **order: Any) -> bytes:
    return host.txt2img(prompt, **order).images[0].tobytes()


def furthest(first: bytes, second: bytes) -> int:
    return max(abs(a - b) for a, b in zip(first, second, strict=True))


def trace(host: Any) -> str:
    """Return everything on the UNet that an attachment could leave behind."""
    unet = host.sd_model.model.diffusion_model
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in unet.modules()]
    ours = [name for m in unet.modules() for name in vars(m) if name.startswith("_lora_atelier")]
    return f"{hooks} {ours} {[(type(p), p.requires_grad) for p in unet.parameters()]}"
