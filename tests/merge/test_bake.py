from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lib_lora.blocks.layouts import BASE, OTHER, full_layout
from lib_lora.errors import InputError
from lib_lora.formats.adapters import read_adapter
from lib_lora.formats.files import read_tensors
from lib_lora.formats.lora import LoraFile, read_lora, write_lora
from lib_lora.merge.bake import bake
from lib_lora.merge.recipe import read_recipe
from tests.formats.lora_samples import SHAPES, TEXT, key_for, reference, relative, sample

ONES = dict.fromkeys((*full_layout("sd1").names, BASE, OTHER), 1.0)


def file_of(kind: str, dtype: torch.dtype = torch.float32) -> LoraFile:
    parts = {key_for(kind): sample(kind, dtype=dtype), TEXT: sample("linear", dtype=dtype, seed=1)}
    return LoraFile({key: read_adapter(key, value) for key, value in parts.items()}, path=Path("mine.safetensors"))


@pytest.mark.parametrize("kind", sorted(SHAPES))
@pytest.mark.parametrize("q", [-1, -0.5, 0, 0.3, 1, 2])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.float16, 5e-4)])
def test_the_saved_change_is_q_times_the_live_one(
    tmp_path: Path, kind: str, q: float, dtype: torch.dtype, bound: float
) -> None:
    lora = file_of(kind, dtype)
    block = next(block for block in lora.blocks() if block != BASE)
    baked, report = bake(lora, {**ONES, block: q})
    tensors, _ = read_tensors(write_lora(baked, tmp_path / "x.safetensors"))
    saved = {name.partition(".")[2]: t for name, t in tensors.items() if name.startswith(key_for(kind) + ".")}
    if q == 0:
        assert not saved
        assert report.dropped == (key_for(kind),)
        return
    assert all(tensor.dtype == dtype for name, tensor in saved.items() if name != "alpha")
    wanted = q * reference(sample(kind, dtype=dtype))
    assert relative(reference(saved), wanted) < bound
    row = next(row for row in report.rows if row.block == block)
    assert row.relative_error == pytest.approx(relative(reference(saved), wanted), rel=0.05, abs=1e-7)


@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_all_ones_keep_every_tensor_and_minus_one_flips_signs_exactly(kind: str) -> None:
    lora = file_of(kind, torch.float16)
    same, report = bake(lora, ONES)
    for key, adapter in lora.adapters.items():
        before, after = adapter.tensors(), same.adapters[key].tensors()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
    assert (report.bytes_before, report.dropped) == (report.bytes_after, ())
    assert all(row.relative_error == 0 and row.energy_kept == 1 for row in report.rows)
    negative, _ = bake(lora, dict.fromkeys(ONES, -1.0))
    assert all(torch.equal(negative.adapters[key].delta(), -a.delta()) for key, a in lora.adapters.items())


def test_base_reaches_the_text_encoder_only_and_other_the_rest() -> None:
    lora = file_of("linear")
    lora.adapters["lora_unet_conv_out"] = read_adapter("lora_unet_conv_out", sample("linear", seed=2))
    baked, report = bake(lora, {**ONES, BASE: 0.5, OTHER: 2.0})
    scales = {key: adapter.scale() / lora.adapters[key].scale() for key, adapter in baked.adapters.items()}
    assert scales == {key_for("linear"): 1.0, TEXT: 0.5, "lora_unet_conv_out": 2.0}
    assert [row.block for row in report.rows] == ["BASE", "IN01", "other"]


def test_nothing_left_missing_and_endless_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="Nothing is left"):
        bake(file_of("linear"), dict.fromkeys(ONES, 0.0))
    with pytest.raises(InputError, match="BASE"):
        bake(file_of("linear"), {"IN01": 1.0})
    for q in (float("nan"), float("inf")):
        with pytest.raises(InputError, match="IN01"):
            bake(file_of("linear"), {**ONES, "IN01": q})


def test_the_source_stays_and_the_recipe_tells_both_steps(tmp_path: Path) -> None:
    lora = read_lora(write_lora(file_of("linear"), tmp_path / "mine.safetensors"))
    before = dict(lora.metadata)
    once, _ = bake(lora, {**ONES, BASE: 0.123456789})
    twice, _ = bake(once, {**ONES, "IN01": 2})
    assert lora.metadata == before
    first, second = read_recipe(twice.metadata)
    assert first["blocks"] == {"BASE": 0.123457, "IN01": 1.0}
    assert first["source"] == "mine"
    assert first["autov3"] == before["sshs_model_hash"][:12]
    assert second["blocks"] == {"BASE": 1.0, "IN01": 2.0}
    assert twice.metadata["atelier_recipe"].startswith("[")
    assert (twice.metadata["ss_network_dim"], twice.metadata["ss_network_alpha"]) == ("2", "Dynamic")
    assert "sshs_model_hash" not in twice.metadata
    again = read_lora(write_lora(twice, tmp_path / "baked.safetensors"))
    assert read_recipe(again.metadata) == read_recipe(twice.metadata)


@pytest.mark.parametrize("text", ["{", "{}", "3", "[1]"])
def test_a_broken_recipe_is_begun_anew(text: str) -> None:
    lora = file_of("linear")
    lora.metadata["atelier_recipe"] = text
    baked, _ = bake(lora, ONES)
    assert [step["op"] for step in json.loads(baked.metadata["atelier_recipe"])] == ["bake"]


def test_extras_are_carried_along() -> None:
    lora = file_of("linear")
    lora.extras["bundle_emb.a.b"] = torch.ones(2)
    baked, report = bake(lora, {**ONES, BASE: 0.0})
    assert torch.equal(baked.extras["bundle_emb.a.b"], torch.ones(2))
    assert report.bytes_before - report.bytes_after == 4 * (6 * 2 + 2 * 8 + 1)
