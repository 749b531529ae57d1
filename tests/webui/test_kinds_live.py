"""Kinds without low rank in the real host: our block weights give the pictures of its own loader's plain tag."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lib_lora.formats.files import write_tensors
from lib_lora.host.infotext import PROBLEMS
from tests.webui.live import LiveHost
from tests.webui.material import Layers, make_lora

PROMPT = "a red apple"
HALF = ",".join(["0.5"] * 26)
NEAR = 2
"""Of 255: the host merges, we add."""
ONE_BLOCK = f"0,0,1{',0' * 23}"  # IN01

Parts = Callable[[Tensor, Tensor], dict[str, Tensor]]


def dora(up: Tensor, down: Tensor) -> dict[str, Tensor]:
    """Return a DoRA whose columns all have the length 1 (magnitudes over the inputs, as LyCORIS wrote them)."""
    scale = torch.ones(1, *down.shape[1:])
    return {"lora_up.weight": up, "lora_down.weight": down, "dora_scale": scale}


def full(up: Tensor, down: Tensor) -> dict[str, Tensor]:
    """Return the same change as a full difference."""
    return {"diff": (up.flatten(1) @ down.flatten(1)).reshape(up.shape[0], *down.shape[1:])}


@pytest.mark.parametrize("parts", [dora, full])
def test_weights_act_block_by_block_as_the_plain_tag_does_whole(
    webui: LiveHost, live_layers: Layers, parts: Parts
) -> None:
    name = parts.__name__
    tensors = {
        f"{key}.{part}": tensor.contiguous()
        for key, adapter in make_lora(live_layers, seed=11).adapters.items()
        for part, tensor in parts(adapter.up, adapter.down).items()
    }
    write_tensors(webui.loras / f"{name}.safetensors", tensors, {}, overwrite=True)
    assert name in webui.refresh_loras()

    def made(tag: str) -> tuple[bytes, str]:
        one = webui.txt2img(prompt=f"{PROMPT} {tag}".strip())
        return one.image.tobytes(), one.infotext

    def furthest(one: bytes, two: bytes) -> int:
        return max(abs(a - b) for a, b in zip(one, two, strict=True))

    none, _ = made("")
    plain, _ = made(f"<lora:{name}:0.4>")
    equal, told = made(f"<lora:{name}:0.8:{HALF}>")
    assert furthest(equal, plain) <= NEAR < furthest(plain, none)
    assert PROBLEMS not in told
    uneven, told = made(f"<lora:{name}:0.8:{ONE_BLOCK}>")
    assert PROBLEMS not in told
    assert uneven not in (none, equal)
    assert made("")[0] == none
