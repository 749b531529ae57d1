"""Tier 1 against the dense change of every adapter kind in float64."""

from __future__ import annotations

import math

import pytest
import torch

from lib_lora.analysis.tiers.norm_tier import measure_norms, moments
from lib_lora.formats.adapters.lora import LoraAdapter
from lib_lora.formats.keys import block_of_key
from lib_lora.formats.lora import LoraFile
from tests.conftest import random_lora
from tests.formats.test_library_cases import CASES, adapter_of


def dense_moments(delta):
    sigma = torch.linalg.svdvals(delta.double().reshape(delta.shape[0], -1))
    return float(sigma.square().sum()), float(sigma.pow(4).sum())


@pytest.mark.parametrize("name", CASES)
def test_moments_of_every_kind_are_those_of_its_dense_change(tmp_path, name):
    from tests.formats.test_library_cases import put

    adapter, weight = adapter_of(put(tmp_path / "a", name)), CASES[name][0]["base.weight"]
    part = adapter.weight_part
    if part is None:
        assert not CASES[name][0]["delta.weight"].any()
        return
    assert moments(part, weight) == pytest.approx(dense_moments(part.delta(weight).reshape(len(weight), -1)), rel=2e-5)


def test_factors_that_nearly_cancel_are_not_measured_as_rounding():
    up, down = torch.randn(40, 4), torch.randn(4, 30)
    nearly = LoraAdapter(
        "lora_unet_x", torch.cat([up, -up], 1), torch.cat([down, down + 1e-6 * torch.randn(4, 30)]), None, 8.0
    )
    exact = (nearly.up.double() @ nearly.down.double()).square().sum()
    assert moments(nearly)[0] == pytest.approx(float(exact), rel=1e-6)
    none = LoraAdapter("lora_unet_x", torch.cat([up, -up], 1), torch.cat([down, down]), None, 8.0)
    assert moments(none)[0] < 1e-20


@pytest.fixture(scope="module")
def mixed(model):
    """Blocks of different size and rank, with convolutions and the text encoder."""
    lora = random_lora(model, conv=True, seed=3)
    scaled = {key: one.scaled(1 + number % 5) for number, (key, one) in enumerate(lora.adapters.items())}
    return LoraFile(scaled)


def test_norms_of_blocks_are_those_of_the_dense_changes(model, mixed):
    found = measure_norms(mixed, model)
    assert [column.key for column in found.columns] == ["relative", "norm", "share", "effective_rank"]
    dense, base, ranks = {}, {}, {}
    for key, adapter in mixed.adapters.items():
        block = block_of_key(key, model.family)
        second, fourth = dense_moments(adapter.delta())
        dense[block] = dense.get(block, 0.0) + second
        base[block] = base.get(block, 0.0) + float(model.layers[key].weight.double().square().sum())
        ranks.setdefault(block, []).append((second, second**2 / fourth))
    whole = sum(dense.values())
    assert {row.block for row in found.rows} == set(dense)
    for row in found.rows:
        block, values = row.block, row.values
        assert values["norm"].mean == pytest.approx(math.sqrt(dense[block]), rel=1e-5)
        assert values["relative"].mean == pytest.approx(100 * math.sqrt(dense[block] / base[block]), rel=1e-5)
        assert values["share"].mean == pytest.approx(100 * dense[block] / whole, rel=1e-5)
        mean = sum(energy * rank for energy, rank in ranks[block]) / dense[block]
        assert values["effective_rank"].mean == pytest.approx(mean, rel=1e-4)
    assert sum(found.means("share").values()) == pytest.approx(100)


def test_equal_singular_values_are_the_rank_and_one_large_one_is_nearly_one():
    q, _ = torch.linalg.qr(torch.randn(20, 4))
    for sizes, rank in (((3.0, 3.0, 3.0, 3.0), 4.0), ((100.0, 1e-3, 1e-3, 1e-3), 1.0)):
        second, fourth = moments(LoraAdapter("lora_unet_x", q * torch.tensor(sizes), torch.eye(4), None, 4.0))
        assert second**2 / fourth == pytest.approx(rank, rel=1e-5)


def test_without_a_model_norms_are_absolute_and_it_is_said(model, mixed):
    alone = measure_norms(mixed)
    assert alone.main.key == "norm"
    assert alone.means("norm") == pytest.approx(measure_norms(mixed, model).means("norm"))
    assert any("No model is loaded" in note for note in alone.notes)


def test_cosines_to_another_file(model, mixed):
    other = random_lora(model, seed=9)
    found = measure_norms(mixed, model, beside=(mixed, other))
    assert [column.key for column in found.columns][-2:] == ["cosine_1", "cosine_2"]
    for row in found.rows:
        assert row.values["cosine_1"].mean == pytest.approx(1, abs=1e-5)
        keys = [key for key in mixed.adapters if block_of_key(key, model.family) == row.block]
        one = torch.cat([mixed.adapters[key].delta().double().flatten() for key in keys])
        two = torch.cat(
            [
                (other.adapters[key] if key in other.adapters else mixed.adapters[key].scaled(0))
                .delta()
                .double()
                .flatten()
                for key in keys
            ]
        )
        if two.any():
            assert row.values["cosine_2"].mean == pytest.approx(float(one @ two / one.norm() / two.norm()), abs=1e-5)
        else:
            assert math.isnan(row.values["cosine_2"].mean)
