"""Kinds without low rank get block weights in a WebUI: ours on the UNet, the text encoder's part where the host can."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from lib_lora.formats.files import write_tensors
from lib_lora.host.webui.prompt import hooks
from tests.webui.fakes.tiny_model import WIDTH
from tests.webui.tagging import BLOCKS, ONES, ZEROS, furthest, picture, put_in, trace

HALF = ",".join(["0.5"] * 26)


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


LORA = {"lora_up.weight": numbers(WIDTH, 2), "lora_down.weight": numbers(2, WIDTH), "alpha": torch.tensor(2.0)}
KINDS: dict[str, dict[str, Tensor]] = {
    "DoRA": {**LORA, "dora_scale": 3 * torch.ones(1, WIDTH)},
    "outputs": {**LORA, "dora_scale": 3 * torch.ones(WIDTH, 1)},
    "IA3": {"weight": numbers(WIDTH), "on_input": torch.tensor(1)},
    "OFT": {"oft_blocks": numbers(2, WIDTH // 2, WIDTH // 2), "alpha": torch.tensor(0.0)},
    "OFT v2": {"oft_R.weight": numbers(2, 6)},
    "GLoRA": {
        "a1.weight": numbers(WIDTH, 2),
        "a2.weight": numbers(2, WIDTH),
        "b1.weight": numbers(WIDTH, 2),
        "b2.weight": numbers(2, WIDTH),
    },
    "full": {"diff": numbers(WIDTH, WIDTH), "diff_b": numbers(WIDTH)},
    "T-LoRA": {"q_layer.weight": numbers(2, WIDTH), "p_layer.weight": numbers(WIDTH, 2), "lambda_layer": numbers(1, 2)},
    "old OFT": {"oft_diag": torch.eye(WIDTH // 2) + numbers(2, WIDTH // 2, WIDTH // 2)},
    "BOFT of PEFT": {"boft_R": numbers(2, 4, WIDTH // 4, WIDTH // 4), "boft_s": 2 * torch.ones(WIDTH, 1)},
    "whole weight": {"set_weight": numbers(WIDTH, WIDTH)},
    "sparse bias": {
        **LORA,
        "bias_indices": torch.arange(4, dtype=torch.int16).repeat(2, 1),
        "bias_values": numbers(4),
        "bias_size": torch.tensor([WIDTH, WIDTH], dtype=torch.int16),
    },
}
LEFT_OUT = {
    "outputs": "DoRA",
    "OFT v2": "OFT v2",
    "GLoRA": "GLoRA",
    "T-LoRA": "T-LoRA",
    "BOFT of PEFT": "BOFT",
    "whole weight": "whole weight",
    "sparse bias": "sparse bias",
}
"""What A1111's own loader does not apply, by the kinds above, and how that is called."""


@pytest.fixture
def host(a1111: Any) -> Iterator[Any]:
    for name, parts in KINDS.items():
        for end, blocks in (("", "IN01 OUT05"), (" text", "IN01 BASE")):
            tensors = {f"{BLOCKS[block]}.{part}": tensor for block in blocks.split() for part, tensor in parts.items()}
            write_tensors(a1111.loras / f"{name}{end}.safetensors", tensors, {})
    a1111.networks.list_available_networks()
    with put_in(a1111):
        yield a1111


@pytest.mark.parametrize("kind", KINDS)
def test_block_weights_act_block_by_block_and_leave_no_trace(host: Any, kind: str) -> None:
    before, plain = trace(host), picture(host, "cat")
    assert picture(host, f"cat <lora:{kind}:1:{ZEROS}>") == plain
    whole, face = picture(host, f"cat <lora:{kind}:1:{ONES}>"), picture(host, f"cat <lora:{kind}:1:FACE>")
    assert furthest(whole, plain) > 8
    assert whole != face
    assert furthest(picture(host, f"cat <lora:{kind}:0.5:{ONES}>"), picture(host, f"cat <lora:{kind}:1:{HALF}>")) <= 1
    assert trace(host) == before


class Processing:
    """What the activator needs of the host's `p`."""

    def __init__(self, prompt: str) -> None:
        self.prompts, self.seeds, self.comments, self.extra_generation_params = [prompt], [1], {}, {}
        self.batch_size, self.iteration, self.extra_network_data = 1, 0, {}
        self.said: list[str] = []
        self.comment = self.said.append


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_encoders_part_is_the_hosts_or_told_to_be_left_out(
    host: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[list[Any]] = []
    monkeypatch.setattr(hooks.installed().inner, "activate", lambda p, params: got.append(list(params)))
    prompt = f"cat <lora:{kind} text:0.8:{HALF}>"
    p = Processing(prompt)
    _, p.extra_network_data = host.extra_networks.parse_prompt(prompt)
    hooks.installed().activate(p, list(p.extra_network_data["lora"]))
    hooks.installed().attachments.release()
    handed, said = [":".join(map(str, one.items)) for one in got[-1]], " ".join(p.said)
    if kind in LEFT_OUT:
        assert handed == []
        assert f"does not apply {LEFT_OUT[kind]}, so the text encoder's part is left out" in said
    else:
        assert handed == [f"{kind} text:0.4:0"]
        assert "left out" not in said
