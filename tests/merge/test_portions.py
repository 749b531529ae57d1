"""A part of a file keeps its names and bits; the parts of a file summed up are the whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lib_lora.errors import InputError
from lib_lora.formats.files import read_tensors, write_tensors
from lib_lora.formats.header import read_header
from lib_lora.formats.lora import read_lora
from lib_lora.merge.recipe import read_recipe
from lib_lora.merge.shares import Summand
from lib_lora.merge.sum import add
from lib_lora.services.portions import PruneOptions, SplitOptions, prune, split
from tests.cases import case
from tests.formats.test_library_cases import CASES, put

UNET = "lora_unet_{}_attentions_0_transformer_blocks_0_attn1_to_{}"
PLACES = ("down_blocks_1", "mid_block", "up_blocks_0", "up_blocks_1")
TEXT = "lora_te{}_text_model_encoder_layers_0_self_attn_q_proj"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return an SDXL file with both text encoders, three blocks, an embedding and a module that changes nothing."""
    wide = [UNET.format(block, "k").replace("attn1", "attn2") for block in PLACES]
    keys = [TEXT.format(1), TEXT.format(2), *(UNET.format(block, "q") for block in PLACES), *wide]
    generator = torch.Generator().manual_seed(2)
    tensors: dict[str, Tensor] = {"bundle_emb.krnk.clip_l": torch.ones(2, 4)}
    for key in keys:
        width = 2048 if key in wide else 8
        tensors[f"{key}.lora_up.weight"] = torch.randn(6, 2, generator=generator).half()
        tensors[f"{key}.lora_down.weight"] = torch.randn(2, width, generator=generator).half()
    tensors[f"{keys[-1]}.lora_up.weight"] = torch.zeros(6, 2).half()
    return write_tensors(tmp_path / "x.safetensors", tensors, {"modelspec.title": "Girl"})


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (SplitOptions(), {"text", "unet"}),
        (SplitOptions("models"), {"te1", "te2", "unet"}),
        (SplitOptions("blocks"), {"BASE", "IN", "M", "OUT"}),
        (SplitOptions("blocks", "BASE M00, OUT00-OUT01"), {"BASE-M00", "OUT00-OUT01", "rest"}),
    ],
)
def test_the_parts_summed_up_are_the_whole(
    source: Path, tmp_path: Path, options: SplitOptions, names: set[str]
) -> None:
    pieces, _ = split(source, options, tmp_path)
    assert {piece.label for piece in pieces} == names
    assert sorted(piece.path.name for piece in pieces) == sorted(f"x_{name}.safetensors" for name in names)
    tensors: dict[str, Tensor] = {}
    for piece in pieces:
        found = read_tensors(piece.path)[0]
        assert not tensors.keys() & found.keys()
        tensors |= found
        (step,) = read_recipe(read_header(piece.path).metadata)
        assert (step["op"], step["part"], step["of"], step["source"]) == ("split", piece.label, sorted(names), "x")
    whole = read_tensors(source)[0]
    assert tensors.keys() == whole.keys()
    assert all(torch.equal(tensors[name], whole[name]) for name in whole)
    assert sum(piece.extras for piece in pieces) == 1
    loras = [read_lora(piece.path) for piece in pieces]
    summed, _ = add([Summand(lora, dict.fromkeys(lora.blocks(), 1.0)) for lora in loras])
    wanted = read_lora(source).adapters
    changes = {key: one.delta() for key, one in wanted.items() if one.delta().any()}
    assert summed.adapters.keys() >= changes.keys()
    assert all(torch.equal(summed.adapters[key].delta(), one) for key, one in changes.items())


def test_what_is_left_stays_bit_for_bit(source: Path, tmp_path: Path) -> None:
    made = prune(source, PruneOptions(text_encoders=True, extras=True, zero=True), tmp_path / "y.safetensors")
    assert (made.gone, made.extras, made.modules) == ({"text": 2, "zero": 1}, 1, 7)
    one, two = read_tensors(source)[0], read_tensors(made.path)[0]
    assert not [name for name in two if "lora_te" in name or "bundle" in name]
    assert all(torch.equal(one[name], tensor) for name, tensor in two.items())
    metadata = read_header(made.path).metadata
    (step,) = read_recipe(metadata)
    assert step == {"op": "prune", "text": 2, "zero": 1, "extras": 1, "source": "x", "autov3": step["autov3"]}
    assert metadata["modelspec.title"] == "Girl"


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (PruneOptions(blocks="IN04, OUT00"), {"BASE", "M00", "OUT03"}),
        (PruneOptions(blocks="BASE-IN05"), {"M00", "OUT00", "OUT03"}),
        (PruneOptions(modules=("attn1", "te1")), {"BASE", "IN04", "M00", "OUT00", "OUT03"}),
    ],
)
def test_blocks_and_modules_go(source: Path, tmp_path: Path, options: PruneOptions, left: set[str]) -> None:
    made = prune(source, options, tmp_path / "y.safetensors")
    assert set(read_lora(made.path).blocks()) == left
    assert "bundle_emb.krnk.clip_l" in read_header(made.path).tensors


def test_peft_keeps_its_options_beside_every_part(tmp_path: Path) -> None:
    source = case("peft_lora_alpha") / "adapter_model.safetensors"
    folder = tmp_path / "parts"
    folder.mkdir()
    pieces, _ = split(source, SplitOptions("blocks"), folder)
    found = {key: one for piece in pieces for key, one in read_lora(piece.path).adapters.items()}
    wanted = read_lora(source).adapters
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key].delta(), one.delta()) for key, one in wanted.items())
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(Exception, match="exists already"):
        split(source, SplitOptions("blocks"), folder, stem="again")


@pytest.mark.parametrize("name", [name for name in CASES if "lora" in name or "ia3" in name][:6])
def test_every_kind_can_be_pruned_by_name(tmp_path: Path, name: str) -> None:
    source = put(tmp_path / "a", name)
    with pytest.raises(InputError, match="Nothing is left"):
        prune(source, PruneOptions(modules=("lora_unet",)), tmp_path / "a" / "y.safetensors")


def test_what_cannot_be_right_is_refused(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "y.safetensors"
    with pytest.raises(InputError, match="nothing to take away"):
        PruneOptions()
    with pytest.raises(InputError, match="has no IN07"):
        prune(source, PruneOptions(blocks="IN04, IN07"), target)
    with pytest.raises(InputError, match="nowhere"):
        prune(source, PruneOptions(modules=("nowhere",)), target)
    with pytest.raises(InputError, match="made of"):
        prune(source, PruneOptions(zero=True), source, overwrite=True)
    with pytest.raises(InputError, match="in two groups"):
        split(source, SplitOptions("blocks", "IN04, IN04-M00"), tmp_path)
    with pytest.raises(InputError, match="not used"):
        SplitOptions("text", "IN04")
    with pytest.raises(InputError, match="has no IN07"):
        split(source, SplitOptions("blocks", "IN07, M00"), tmp_path)
    assert not list(tmp_path.glob("x_*"))
    unet = prune(source, PruneOptions(text_encoders=True), target)
    with pytest.raises(InputError, match="one part only: unet"):
        split(unet.path, SplitOptions(), tmp_path)
