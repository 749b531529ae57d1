"""Any LoRA file can be described, whatever its kinds, from its header alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lib_lora.errors import FileError
from lib_lora.formats.contents import contents_of
from lib_lora.formats.files import write_tensors
from lib_lora.formats.inspection import inspection
from lib_lora.formats.keys import find_module
from lib_lora.formats.lora import read_lora
from tests.formats.lora_samples import SHAPES, TEXT, key_for, sample

ATTENTION = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
NORM = "lora_unet_down_blocks_0_resnets_0_norm1"

APPLIED: dict[str, dict[str, dict[str, Tensor]]] = {
    "DoRA": {ATTENTION: {**sample("linear"), "dora_scale": torch.ones(1, 8)}},
    "full difference": {ATTENTION: {"diff": torch.ones(6, 768)}},
    "norm": {NORM: {"w_norm": torch.ones(4), "b_norm": torch.ones(4)}},
    "IA3": {ATTENTION: {"weight": torch.ones(6, 1), "on_input": torch.tensor(False)}},
    "OFT": {ATTENTION: {"oft_blocks": torch.ones(2, 3, 3), "alpha": torch.tensor(0.0)}},
    "BOFT": {ATTENTION: {"oft_blocks": torch.ones(2, 2, 2, 2)}},
    "OFT v2": {ATTENTION: {"oft_R.weight": torch.ones(2, 6)}},
    "GLoRA": {ATTENTION: {f"{part}.weight": torch.ones(2, 2) for part in ("a1", "a2", "b1", "b2")}},
    "T-LoRA": {
        ATTENTION: {
            "q_layer.weight": torch.ones(2, 8),
            "p_layer.weight": torch.ones(6, 2),
            "lambda_layer": torch.ones(1, 2),
        }
    },
    "bias": {ATTENTION: {**sample("linear"), "bias": torch.ones(6)}},
    "whole weight": {ATTENTION: {"set_weight": torch.ones(6, 8)}},
    "sparse bias": {
        ATTENTION: {
            **sample("linear"),
            "bias_indices": torch.zeros(2, 1, dtype=torch.int16),
            "bias_values": torch.ones(1),
            "bias_size": torch.tensor([6, 8]),
        }
    },
}


def save(path: Path, modules: dict[str, dict[str, Tensor]], **more: Tensor) -> Path:
    tensors = {f"{key}.{part}": tensor for key, parts in modules.items() for part, tensor in parts.items()}
    return write_tensors(path, {**tensors, **more}, {"ss_output_name": "x"})


def test_a_kind_that_is_not_known_is_described_and_named(tmp_path: Path) -> None:
    modules = {TEXT: sample("linear"), ATTENTION: {"twist": torch.ones(2)}}
    path = save(tmp_path / "x.safetensors", modules, emb=torch.ones(3))
    found = contents_of(path)
    assert found.kinds == ("LoRA", "unknown")
    assert (found.not_applied, found.family) == (("unknown",), "sd1")
    assert {block: len(modules) for block, modules in found.blocks().items()}.keys() >= {"BASE"}
    assert (found.extras, found.unknown, found.metadata) == (("emb",), (), {"ss_output_name": "x"})
    with pytest.raises(FileError, match="unknown kind"):
        read_lora(path)


@pytest.mark.parametrize("kind", APPLIED)
def test_a_kind_that_depends_on_the_model_is_described_and_read(tmp_path: Path, kind: str) -> None:
    path = save(tmp_path / "x.safetensors", {TEXT: sample("linear"), **APPLIED[kind]})
    found, lora = contents_of(path), read_lora(path)
    assert (found.kinds, found.not_applied, dict(found.faults)) == (tuple(sorted(("LoRA", kind))), (), {})
    assert [adapter.title for adapter in lora.adapters.values()].count(kind) == 1
    assert found.strangers == ()
    assert not [note for note in lora.notes if "alpha is 0" in note]


@pytest.mark.parametrize("kind", SHAPES)
def test_what_is_applied_is_described_alike(tmp_path: Path, kind: str) -> None:
    path = save(tmp_path / "x.safetensors", {key_for(kind): sample(kind), TEXT: sample("linear")})
    found, lora = contents_of(path), read_lora(path)
    assert found.not_applied == ()
    assert [module.key for module in found.modules] == list(lora.adapters)
    assert {block: [m.key for m in ms] for block, ms in found.blocks().items()} == lora.blocks()
    assert (found.family, found.size) == (lora.family, lora.size)
    ranks = {module.key: module.rank for module in found.modules}
    assert all(ranks[key] in (adapter.rank, None) for key, adapter in lora.adapters.items())


def test_only_the_header_is_read(tmp_path: Path) -> None:
    path = save(tmp_path / "x.safetensors", {TEXT: {**sample("linear"), "alpha": torch.tensor(float("nan"))}})
    assert contents_of(path).kinds == ("LoRA",)


UP, DOWN, KEY = "lora_up.weight", "lora_down.weight", ATTENTION


def without(parts: dict[str, Tensor], *names: str, **other: Tensor) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in {**parts, **other}.items() if name not in names}


FAULTS: dict[str, tuple[dict[str, Tensor], str]] = {
    "no down": (without(sample("linear"), DOWN), f"{DOWN} is missing"),
    "no up": (without(sample("linear"), UP), f"{UP} is missing"),
    "other rank": ({**sample("linear"), UP: torch.ones(6, 9)}, "Ranks or shapes do not fit"),
    "rank 0": ({**sample("linear"), UP: torch.ones(6, 0), DOWN: torch.ones(0, 8)}, "holds no real numbers"),
    "two alphas": (without(sample("linear"), alpha=torch.ones(2)), "alpha holds 2 numbers"),
    "infinite alpha": (without(sample("linear"), alpha=torch.tensor(float("inf"))), "alpha is inf"),
    "whole numbers": ({name: t.to(torch.int8) for name, t in sample("linear").items()}, "holds no real numbers"),
    "scaled fp8": ({**sample("linear"), f"{DOWN}_scale": torch.ones(1)}, "Scaled fp8 is not read. Use an fp16 file"),
    "alpha alone": ({"alpha": torch.tensor(1.0)}, "an alpha without the tensors"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_refused_on_use_is_told_by_inspect(tmp_path: Path, fault: str) -> None:
    parts, words = FAULTS[fault]
    path = save(tmp_path / "x.safetensors", {TEXT: sample("linear"), KEY: parts})
    (note,) = [note for note in inspection(path)["notes"] if "cannot be applied" in note]
    assert note.startswith("1 module ")
    assert KEY in note
    assert words in note
    with pytest.raises(FileError):
        read_lora(path)


def test_numbers_that_are_none_are_told_by_inspect(tmp_path: Path) -> None:
    parts = {**sample("linear"), UP: sample("linear")[UP] * float("nan")}
    notes = inspection(save(tmp_path / "x.safetensors", {KEY: parts, TEXT: sample("linear")}))["notes"]
    assert notes[-1] == f"1 tensor holds NaN or infinite numbers (e.g. {KEY}.{UP})."


def test_the_same_tensor_twice_counts_once_where_it_is_the_same(tmp_path: Path) -> None:
    dotted = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k"
    parts = {UP: torch.randn(6, 2), DOWN: torch.randn(2, 8), "alpha": torch.tensor(1.0)}
    other = {f"{dotted}.lora_B.weight": parts[UP].half(), f"{dotted}.lora_A.weight": parts[DOWN].half()}
    path = save(tmp_path / "x.safetensors", {KEY: parts}, **other)
    lora = read_lora(path)
    assert torch.equal(lora.adapters[KEY].up, parts[UP])  # the more exact one
    assert lora.notes == contents_of(path).notes
    assert lora.notes[0].startswith("2 tensors are there twice")
    path = save(tmp_path / "y.safetensors", {KEY: parts}, **{name: 2 * tensor for name, tensor in other.items()})
    for read in (read_lora, contents_of):
        with pytest.raises(FileError, match="differ") as caught:
            read(path)
        assert KEY in caught.value.where
        assert dotted in caught.value.where


def test_a_missing_alpha_is_told_in_kohyas_spelling_too(tmp_path: Path) -> None:
    silent = without(sample("linear"), "alpha")
    some = {KEY: silent, TEXT: {**silent, "alpha": torch.tensor(1.0)}}
    for modules, words in (({KEY: silent}, "does not say its alpha"), (some, "1 of 2")):
        path = save(tmp_path / f"{len(modules)}.safetensors", modules)
        assert len(read_lora(path).notes) == 1
        assert words in read_lora(path).notes[0]
        assert contents_of(path).notes == read_lora(path).notes


def test_flux_is_described_block_by_block(tmp_path: Path) -> None:
    keys = ("lora_unet_double_blocks_3_img_attn_proj", "lora_unet_single_blocks_7_linear1")
    found = contents_of(save(tmp_path / "x.safetensors", {key: sample("linear") for key in keys}))
    assert (found.family, set(found.blocks())) == ("flux", {"D03", "S07"})
    assert find_module(keys[0], "sd1") is None
