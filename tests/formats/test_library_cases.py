"""Every kind against the library that trains it: files as LyCORIS and PEFT save them, and the change that they merge.

`tools/adapter_cases.py` writes the files.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lib_lora.formats.adapters import Adapter
from lib_lora.formats.contents import contents_of
from lib_lora.formats.files import read_tensors, write_tensors
from lib_lora.formats.lora import read_lora, write_lora

FOLDER = Path(__file__).with_name("library_cases")
Case = tuple[dict[str, Tensor], str]


def load(library: str) -> dict[str, Case]:
    """Return every case's tensors and its adapter_config.json, "" for none."""
    tensors, options = read_tensors(FOLDER / f"{library}.safetensors")
    cases: dict[str, Case] = {}
    for name, tensor in tensors.items():
        case, _, part = name.partition("|")
        cases.setdefault(case, ({}, options.get(case, "")))[0][part] = tensor
    return cases


LIBRARIES = ("lycoris", "lycoris2", "peft")
CASES = {f"{library}: {name}": case for library in LIBRARIES for name, case in load(library).items()}
TITLES = {
    "lora": "LoRA",
    "locon": "LoRA",
    "dylora": "LoRA",
    "loha": "LoHa",
    "lokr": "LoKr",
    "dora": "DoRA",
    "ia3": "IA3",
    "oft": "OFT",
    "boft": "BOFT",
    "glora": "GLoRA",
    "full": "bias",
    "norm": "norm",
    "tlora": "T-LoRA",
    "sparse": "sparse bias",
}
"""What a case's kind is called, by the first word of its name; a full difference comes with its bias."""


def put(folder: Path, name: str) -> Path:
    """Write a case's file as its library does, PEFT's options beside it."""
    tensors, config = CASES[name]
    folder.mkdir(exist_ok=True)
    if config:
        (folder / "adapter_config.json").write_text(config, encoding="utf-8")
    own = {
        part: tensor for part, tensor in tensors.items() if not part.startswith(("base.weight", "base.bias", "delta."))
    }
    return write_tensors(folder / "x.safetensors", own, {})


def adapter_of(path: Path) -> Adapter:
    (adapter,) = read_lora(path).adapters.values()
    return adapter


def check(adapter: Adapter, tensors: dict[str, Tensor], *, within: float = 2e-6) -> None:
    weight, bias = tensors["base.weight"], tensors.get("base.bias")
    got, wanted = adapter.delta(weight).reshape(weight.shape), tensors["delta.weight"]
    assert float((got - wanted).norm()) <= within * float(weight.norm() + wanted.norm())
    change = adapter.bias_delta(bias)
    if bias is None or not tensors["delta.bias"].any():
        assert change is None or not change.any()
    else:
        torch.testing.assert_close(change, tensors["delta.bias"], atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("name", CASES)
def test_the_change_is_the_librarys_own(tmp_path: Path, name: str) -> None:
    check(adapter_of(put(tmp_path / "a", name)), CASES[name][0])


@pytest.mark.parametrize("name", CASES)
def test_what_we_write_again_is_the_same_change(tmp_path: Path, name: str) -> None:
    lora = read_lora(put(tmp_path / "a", name))
    again = write_lora(lora, tmp_path / "again.safetensors")
    check(adapter_of(again), CASES[name][0])


@pytest.mark.parametrize("name", CASES)
def test_it_is_described_from_its_header(tmp_path: Path, name: str) -> None:
    path = put(tmp_path / "a", name)
    found, adapter = contents_of(path), adapter_of(path)
    word = name.split()[1]
    title = "OFT v2" if "oft v2" in name else "bias" if "lora bias" in name else TITLES[word]
    assert (found.kinds, found.not_applied, dict(found.faults)) == ((title,), (), {})
    assert found.modules[0].rank == adapter.stated_rank


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("q", [-1.0, 0.3])
def test_a_linear_kind_holds_any_multiple(tmp_path: Path, name: str, q: float) -> None:
    adapter, tensors = adapter_of(put(tmp_path / "a", name)), CASES[name][0]
    if not adapter.is_linear:
        return
    scaled = type(adapter).read(adapter.key, adapter.scaled(q).tensors())
    wanted = {part: tensor * q if part.startswith("delta.") else tensor for part, tensor in tensors.items()}
    check(scaled, wanted)
