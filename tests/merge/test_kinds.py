"""Merging every kind: exact where a file can hold the result, with a model where only it tells, else refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lib_lora.blocks.presets import PresetFile
from lib_lora.errors import InputError
from lib_lora.formats.adapters import read_adapter
from lib_lora.formats.lora import LoraFile, read_lora, write_lora
from lib_lora.live.attach import attach
from lib_lora.merge.bake import bake
from lib_lora.merge.compress import compress
from lib_lora.merge.difference import as_differences, known
from lib_lora.merge.make import make
from lib_lora.merge.rank_rule import RankRule
from lib_lora.merge.shares import Summand
from lib_lora.merge.spec import Ingredient, MergeSpec
from lib_lora.merge.sum import add
from tests.live.test_attach import graded, predict
from tests.live.test_kinds import KINDS, NORMS, PLACES, lora_of

LINEAR = ("ia3", "glora", "full", "bias", "norm", "tlora", "old oft", "sparse")
DEPENDENT = tuple(kind for kind in KINDS if kind not in ("full", "bias", "norm", "sparse"))


@pytest.mark.parametrize("kind", LINEAR)
def test_baked_equals_live(model, kind: str, tmp_path: Path) -> None:
    lora, weights = lora_of(model, kind), graded(model, start=-0.6)
    baked, report = bake(lora, weights)
    again = read_lora(write_lora(baked, tmp_path / "x.safetensors"))
    with attach(model, lora, weights):
        wanted = predict(model)
    with attach(model, again):
        torch.testing.assert_close(predict(model), wanted, atol=2e-5, rtol=1e-4)
    assert (report.relative_error < 1e-6, report.energy_kept) == (True, 1.0)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in LINEAR])
def test_what_is_not_linear_is_baked_at_0_and_1_and_else_refused_or_made_a_difference(model, kind: str) -> None:
    lora, weights = lora_of(model, kind), graded(model, start=0.3)
    switched = {block: float(block != "M00") for block in weights}
    baked, report = bake(lora, switched)
    assert (len(baked.adapters), report.dropped) == (2, (PLACES[1],))
    with attach(model, lora, switched):
        wanted = predict(model)
    with attach(model, baked):
        torch.testing.assert_close(predict(model), wanted, atol=1e-5, rtol=1e-5)
    with pytest.raises(InputError, match=r"at strength 0\.\d+ has no form as a"):
        bake(lora, weights)
    made, _ = bake(known(lora, weights, model, alone=True), weights)
    assert {adapter.title for adapter in made.adapters.values()} == {"full difference"}
    with attach(model, lora, weights):
        wanted = predict(model)
    with attach(model, made):
        torch.testing.assert_close(predict(model), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", DEPENDENT)
def test_what_depends_on_the_model_is_added_and_compressed_with_it_only(model, lora, kind: str) -> None:
    special = lora_of(model, kind)
    ones = graded(model, start=0.5)
    with pytest.raises(InputError, match="cannot be compressed: its change depends on the model's weights"):
        compress(special, RankRule("rank", 4))
    with pytest.raises(InputError, match="cannot be added to another one"):
        add([Summand(special, ones), Summand(special, ones)])
    whole = as_differences(special, model)
    summed, report = add([Summand(whole, ones), Summand(lora, ones)])
    with attach(model, special, ones), attach(model, lora, ones):
        wanted = predict(model)
    with attach(model, summed):
        torch.testing.assert_close(predict(model), wanted, atol=5e-5, rtol=1e-3)
    assert report.relative_error < 1e-6
    small, kept = compress(whole, RankRule("energy", 0.9999))
    assert kept.energy_kept > 0.9998
    with attach(model, special):
        wanted = predict(model)
    with attach(model, small):
        torch.testing.assert_close(predict(model), wanted, atol=0.05, rtol=0.1)


def test_sums_of_differences_biases_and_norms_are_exact() -> None:
    def parts(seed: float) -> dict[str, dict[str, torch.Tensor]]:
        return {
            PLACES[0]: {"diff": seed * torch.ones(6, 8), "diff_b": seed * torch.ones(6)},
            NORMS[0]: {"w_norm": seed * torch.ones(4), "b_norm": torch.ones(4)},
        }

    one, two = ({key: read_adapter(key, found) for key, found in parts(seed).items()} for seed in (1.0, 2.0))
    multipliers = dict.fromkeys(LoraFile(one).blocks(), 0.5)
    summed, _ = add([Summand(LoraFile(one), multipliers), Summand(LoraFile(two), multipliers)])
    again = {key: type(adapter).read(key, adapter.tensors()) for key, adapter in summed.adapters.items()}
    assert torch.equal(again[PLACES[0]].delta(), 1.5 * torch.ones(6, 8))
    assert torch.equal(again[PLACES[0]].bias_delta(None), 1.5 * torch.ones(6))
    assert set(again[NORMS[0]].tensors()) == {"w_norm", "b_norm"}
    assert torch.equal(again[NORMS[0]].delta(), 1.5 * torch.ones(4))
    negative = dict.fromkeys(multipliers, -1.0)
    with pytest.raises(InputError, match="Nothing is left"):
        add([Summand(LoraFile(one), dict.fromkeys(multipliers, 1.0)), Summand(LoraFile(one), negative)])


def test_an_order_uses_the_loaded_model_where_it_has_to(model, tmp_path: Path) -> None:
    path = write_lora(lora_of(model, "dora out"), tmp_path / "x.safetensors")
    order = MergeSpec((Ingredient(path, strength=0.5),))
    with pytest.raises(InputError, match="no form"):
        make(order, PresetFile.shipped())
    made = make(order, PresetFile.shipped(), model=model)
    assert any("3 modules are full differences now" in note for _, note in made.notes)
    with attach(model, read_lora(path), 0.5):
        wanted = predict(model)
    with attach(model, made.lora):
        torch.testing.assert_close(predict(model), wanted, atol=1e-5, rtol=1e-5)
    whole = make(MergeSpec((Ingredient(path),)), PresetFile.shipped(), model=model)
    assert {adapter.title for adapter in whole.lora.adapters.values()} == {"DoRA"}
