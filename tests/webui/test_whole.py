"""LoRAs of kinds that only the host's loader applies: it gets what two strengths can say, a sentence says the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lib_lora.formats.files import write_tensors
from lib_lora.host.webui.prompt import block_weights
from lib_lora.i18n.words import Words
from lib_lora.services.atelier import Atelier, Folders
from lib_lora.services.file_facts import FileFacts
from lib_lora.services.prompt_tags import view_of
from lib_lora.ui.block_weight.handlers import Handlers
from tests.webui.tagging import BLOCKS, ONES, ZEROS, put_in

LORA = {"lora_up.weight": (8, 2), "lora_down.weight": (2, 8)}
KINDS: Mapping[str, Mapping[str, tuple[int, ...]]] = {"old OFT": {"oft_diag": (2, 4, 4)}}
UNKNOWN_TO_HOST = {"whole weight": {"set_weight": (8, 8)}}
HALF = ",".join(["0.5"] * 26)
TEXT_TOO = f"0.25,{','.join(['0.5'] * 25)}"


def put(folder: Path, name: str, parts: Mapping[str, tuple[int, ...]], blocks: str = "IN01 OUT05 BASE") -> None:
    """Write a LoRA of a kind, together with a plain module that we could apply."""
    tensors = {
        f"{BLOCKS[block]}.{part}": torch.ones(shape) for block in blocks.split() for part, shape in parts.items()
    }
    tensors |= {f"{BLOCKS['M00']}.{part}": torch.ones(shape) for part, shape in LORA.items()}
    write_tensors(folder / f"{name}.safetensors", tensors, {})


@pytest.fixture(params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def given(a1111: Any, kind: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Activates a prompt; returns what the host was given and what was said below the picture."""
    put(a1111.loras, "special", KINDS[kind])
    put(a1111.loras, "strange", UNKNOWN_TO_HOST["whole weight"])
    a1111.networks.list_available_networks()
    with put_in(a1111):
        got: list[list[Any]] = []
        monkeypatch.setattr(block_weights.installed().inner, "activate", lambda p, params: got.append(list(params)))

        def activated(prompt: str) -> tuple[list[str], str]:
            _, data = a1111.extra_networks.parse_prompt(prompt)
            p = SimpleNamespace(
                prompts=[prompt], seeds=[1], comments={}, extra_generation_params={}, batch_size=1, iteration=0
            )
            p.extra_network_data = data
            said: list[str] = []
            p.comment = said.append
            block_weights.installed().activate(p, list(data["lora"]))
            return [":".join(map(str, one.items)) for one in got[-1]], " ".join(said)

        yield activated


@pytest.mark.parametrize(
    ("tag", "handed"),
    [
        (f"special:0.8:{HALF}", "special:0.4:0.4"),
        (f"special:1:0.6:{HALF}", "special:0.5:0.3"),
        (f"special:0.8:{TEXT_TOO}", "special:0.2:0.4"),
        (f"special:0.8:{ONES}", "special:0.8:0.8"),
    ],
)
def test_equal_weights_go_to_the_host_as_strengths(given: Any, kind: str, tag: str, handed: str) -> None:
    got, said = given(f"cat <lora:{tag}>")
    assert got == [handed]
    unet = handed.rsplit(":", 1)[1]
    assert f"It holds {kind}, so the WebUI applies it by itself: UNet {unet}" in said


def test_weights_of_zero_are_no_lora(given: Any) -> None:
    got, said = given(f"cat <lora:special:1:{ZEROS}>")
    assert got == []
    assert "cannot" not in said


@pytest.mark.parametrize(
    ("tag", "why"),
    [
        ("special:1:FACE", "cannot have different weights"),
        ("special:1:lbwe=PROJDEEPOFF", "cannot have different weights"),
        ("special:1:stop=3", "cannot begin or end within a picture"),
        (f"special:1:{HALF}:start=2", "cannot begin or end within a picture"),
    ],
)
def test_what_the_host_cannot_say_is_told_and_the_others_work(given: Any, kind: str, tag: str, why: str) -> None:
    got, said = given(f"cat <lora:{tag}> <lora:one:0.5>")
    assert got == ["one:0.5"]
    assert f"LoRA of the kind {kind} {why}" in said


def test_what_the_host_does_not_know_either_is_refused(given: Any) -> None:
    got, said = given(f"cat <lora:strange:1:{HALF}>")
    assert got == []
    assert "the kind whole weight, which cannot be applied" in said


def test_a_plain_tag_is_the_hosts_affair(given: Any) -> None:
    got, said = given("cat <lora:special:0.7>")
    assert got == ["special:0.7"]
    assert "It holds" not in said


@pytest.mark.parametrize(
    ("tag", "note", "problem"),
    [
        ("special:0.7", "UNet 0.7, text encoder 0.7", ""),
        (f"special:1:{HALF}", "UNet 0.5, text encoder 0.5", ""),
        ("special:1:FACE", "", "cannot have different weights"),
        ("special:1:XYZ", "", "cannot be analyzed block by block"),
        ("strange:1", "", "whole weight, which cannot be applied"),
        ("one:1", "", ""),
    ],
)
def test_the_accordion_says_who_applies_it(
    given: Any, kind: str, tmp_path: Path, tag: str, note: str, problem: str
) -> None:
    host = block_weights.installed().get_host()
    atelier = Atelier(host, Folders.under(tmp_path / "data"))
    view = view_of(f"cat <lora:{tag}>", "", host, FileFacts.confined(atelier))
    assert note in view.note
    assert bool(view.note) == bool(note)
    assert problem in str(view.problem or "")
    assert bool(view.problem) == bool(problem)
    shown = Handlers(atelier, Words("ja"), FileFacts.confined(atelier), "t").refresh_anew(
        f"cat <lora:{tag}>", "", active=True
    )
    assert ("WebUI が" in shown[10] or "WebUI 自身" in shown[10]) == bool(note)
    assert "atelier-error" not in shown[10] or problem
