from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib_lora.blocks.layouts import BASE, OTHER, full_layout
from lib_lora.errors import InputError
from lib_lora.formats.adapters import LoraAdapter, read_adapter
from lib_lora.formats.adapters.base import Factors
from lib_lora.formats.lora import LoraFile
from lib_lora.merge import rank as rank_module
from lib_lora.merge.bake import bake
from lib_lora.merge.compress import compress
from lib_lora.merge.rank import spectrum
from lib_lora.merge.rank_rule import RankRule
from lib_lora.merge.recipe import read_recipe
from tests.formats.lora_samples import CONV, LINEAR, SHAPES, key_for, reference, relative, sample

KINDS = sorted(SHAPES)
CALM = settings(deadline=None)  # a busy machine is no failure


def lora_of(key: str, adapter_parts: dict[str, torch.Tensor]) -> LoraFile:
    return LoraFile({key: read_adapter(key, adapter_parts)})


def big(
    key: str = LINEAR, *, rank: int = 12, out: int = 40, kernel: tuple[int, ...] = (), dtype=torch.float32
) -> LoraFile:
    """A LoRA with decaying singular values, as trained ones have."""
    generator = torch.Generator().manual_seed(3)
    decay = 0.7 ** torch.arange(rank)
    up = torch.randn(out, rank, *([1, 1] if kernel else []), generator=generator) * 0.1
    down = torch.randn(rank, 30, *kernel, generator=generator) * decay.reshape(-1, *[1] * (1 + len(kernel)))
    parts = {"lora_up.weight": up.to(dtype), "lora_down.weight": down.to(dtype), "alpha": torch.tensor(6.0)}
    return lora_of(key, parts)


def optimum(matrix: np.ndarray, count: int) -> float:
    """The smallest relative error that any matrix of this rank can have (Eckart-Young)."""
    sigma = np.linalg.svd(matrix, compute_uv=False)
    return float(np.sqrt((sigma[count:] ** 2).sum() / (sigma**2).sum()))


@pytest.mark.parametrize("kind", KINDS)
def test_rank_one_of_every_kind_makes_the_error_of_the_dense_optimum(kind: str) -> None:
    lora = lora_of(key_for(kind), sample(kind))
    wanted = reference(sample(kind))
    small, report = compress(lora, RankRule("rank", 1))
    adapter = small.adapters[key_for(kind)]
    if adapter is lora.adapters[key_for(kind)]:  # a LoKr of so few numbers that no LoRA is smaller
        assert sum(t.numel() for t in adapter.parameters()) <= 6 + wanted.shape[1]
        assert report.rows[0].relative_error == 0
        return
    assert isinstance(adapter, LoraAdapter)
    assert adapter.rank == 1
    assert relative(adapter.delta(), wanted) == pytest.approx(optimum(wanted, 1), abs=1e-4)
    assert report.rows[0].relative_error == pytest.approx(optimum(wanted, 1), abs=1e-4)


@pytest.mark.parametrize("kernel", [(), (1, 1), (3, 3)])
@pytest.mark.parametrize("count", [1, 3, 8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_any_rank_makes_the_error_of_the_dense_optimum(kernel: tuple[int, ...], count: int, dtype: torch.dtype) -> None:
    lora = big(CONV if kernel == (3, 3) else LINEAR, kernel=kernel, dtype=dtype)
    ((key, before),) = lora.adapters.items()
    small, report = compress(lora, RankRule("rank", count))
    after, wanted = small.adapters[key], reference(before.tensors())
    best = optimum(wanted, count)
    assert after.shape == before.shape
    assert after.parameters()[0].dtype == dtype
    assert relative(after.delta(), wanted) == pytest.approx(best, abs=1e-4 if dtype == torch.float32 else 5e-4)
    assert report.rows[0].relative_error == pytest.approx(relative(after.delta(), wanted), abs=1e-5)
    assert report.rows[0].energy_kept == pytest.approx(1 - best**2, abs=1e-5)
    assert (report.rows[0].rank_before, report.rows[0].rank_after) == (12, count)
    assert report.bytes_after < report.bytes_before


def test_the_conv_kinds_that_hide_their_kernel_become_loras_with_one() -> None:
    small, _ = compress(lora_of(CONV, sample("loha_conv")), RankRule("rank", 1))
    assert small.adapters[CONV].shape == (6, 8, 3, 3)


SIGMA = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=20).map(lambda x: sorted(x, reverse=True))


@CALM
@given(SIGMA, st.floats(1.01, 200))
def test_sv_ratio_keeps_those_above_the_largest_over_p(sigma: list[float], p: float) -> None:
    assert RankRule("sv_ratio", p).choose(torch.tensor(sigma, dtype=torch.float64)) == sum(
        s > sigma[0] / p for s in sigma
    )


@CALM
@given(SIGMA, st.floats(0.01, 1), st.sampled_from(["energy", "cumulative"]))
def test_share_rules_keep_the_fewest_that_reach_the_share(sigma: list[float], share: float, kind: str) -> None:
    kept = RankRule(kind, share).choose(torch.tensor(sigma, dtype=torch.float64))
    sums = np.cumsum(np.array(sigma) ** (2 if kind == "energy" else 1))
    assert sums[kept - 1] >= share * sums[-1] * (1 - 1e-12)
    assert kept == 1 or sums[kept - 2] < share * sums[-1] * (1 + 1e-12)


@CALM
@given(SIGMA, st.integers(1, 30), st.integers(1, 30))
def test_a_fixed_rank_never_exceeds_what_is_there_nor_the_cap(sigma: list[float], count: int, cap: int) -> None:
    assert RankRule("rank", count, cap=cap).choose(torch.tensor(sigma)) == min(count, cap, len(sigma))


def test_noise_and_zeros_are_never_kept() -> None:
    assert RankRule("energy", 1.0).choose(torch.tensor([1.0, 0.5, 1e-9])) == 2
    assert RankRule("rank", 4).choose(torch.zeros(3)) == 0


@pytest.mark.parametrize(
    ("kind", "value", "cap"),
    [
        ("rank", 0, None),
        ("rank", 1.5, None),
        ("rank", float("nan"), None),
        ("sv_ratio", 1, None),
        ("sv_ratio", float("inf"), None),
        ("energy", 0, None),
        ("energy", 1.1, None),
        ("cumulative", float("nan"), None),
        ("rank", 4, 0),
        ("fast", 4, None),
    ],
)
def test_rules_out_of_range_are_refused(kind: str, value: float, cap: int | None) -> None:
    with pytest.raises(InputError):
        RankRule(kind, value, cap)


def test_a_module_that_would_not_get_smaller_stays_as_it_is() -> None:
    lora = big()
    small, report = compress(lora, RankRule("rank", 64))
    assert small.adapters[LINEAR] is lora.adapters[LINEAR]
    assert report.rows[0].relative_error == 0
    lossless, report = compress(lora, RankRule("energy", 1.0))
    assert relative(lossless.adapters[LINEAR].delta(), reference(lora.adapters[LINEAR].tensors())) < 1e-5
    assert report.bytes_after == report.bytes_before


@pytest.mark.parametrize("q", [-0.5, 2.0, 1e-3])
def test_bake_then_compress_equals_compressing_the_baked_delta(q: float) -> None:
    lora = big(dtype=torch.float16)
    weights = dict.fromkeys((*full_layout("sd1").names, BASE, OTHER), q)
    small, _ = compress(bake(lora, weights)[0], RankRule("sv_ratio", 16))
    matrix = q * reference(lora.adapters[LINEAR].tensors())
    left, sigma, right = np.linalg.svd(matrix, full_matrices=False)
    count = int((sigma > sigma[0] / 16).sum())
    assert small.adapters[LINEAR].rank == count
    assert relative(small.adapters[LINEAR].delta(), (left[:, :count] * sigma[:count]) @ right[:count]) < 1e-3
    assert [step["op"] for step in read_recipe(small.metadata)] == ["bake", "compress"]


@pytest.mark.parametrize("size", [1e-3, 1e-2, 1.0, 100.0])
def test_changes_at_the_ends_of_fp16_lose_no_accuracy(size: float) -> None:
    """Four small factors of a LoHa multiply to a change whose square roots fp16 cannot hold, large ones overflow."""
    parts = {name: (tensor.float() * size).half() for name, tensor in sample("loha", alpha=None).items()}
    small, report = compress(lora_of(LINEAR, parts), RankRule("rank", 1))
    after, wanted = small.adapters[LINEAR], reference(parts)
    left, sigma, right = np.linalg.svd(wanted)
    assert after.up.dtype == torch.float16
    assert relative(after.delta(), sigma[0] * np.outer(left[:, 0], right[0])) < 1e-3
    assert report.rows[0].relative_error == pytest.approx(relative(after.delta(), wanted), abs=1e-5)


def test_the_report_counts_rounding_to_fp16() -> None:
    up, down = torch.randn(40, 2), torch.randn(2, 30)
    parts = {"lora_up.weight": up @ torch.ones(2, 8), "lora_down.weight": torch.ones(8, 2) @ down}
    parts = {name: tensor.half() for name, tensor in parts.items()} | {"alpha": torch.tensor(800.0)}
    lora = lora_of(LINEAR, parts)
    small, report = compress(lora, RankRule("rank", 4))
    error = relative(small.adapters[LINEAR].delta(), reference(parts))
    assert error > 1e-5
    assert report.rows[0].relative_error == pytest.approx(error, rel=0.1)


def test_zero_modules_are_dropped_and_only_zeros_refused() -> None:
    lora = big()
    zero = {name: torch.zeros_like(tensor) for name, tensor in sample("linear", alpha=None).items()}
    lora.adapters["lora_unet_conv_out"] = read_adapter("lora_unet_conv_out", zero)
    small, report = compress(lora, RankRule("rank", 4))
    assert report.dropped == ("lora_unet_conv_out",)
    assert list(small.adapters) == [LINEAR]
    with pytest.raises(InputError, match="Nothing is left"):
        compress(lora_of(LINEAR, zero), RankRule("rank", 4))


def test_metadata_tell_the_new_rank() -> None:
    small, _ = compress(big(), RankRule("rank", 4, cap=8))
    assert (small.metadata["ss_network_dim"], small.metadata["ss_network_alpha"]) == ("4", "2")
    assert read_recipe(small.metadata) == [
        {"op": "compress", "rule": "rank", "value": 4.0, "cap": 8, "source": "unsaved"}
    ]


@settings(CALM, max_examples=30)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12))
def test_the_spectrum_from_factors_is_the_dense_one(out: int, inner: int, inputs: int) -> None:
    generator = torch.Generator().manual_seed(out * 144 + inner * 12 + inputs)
    up, down = torch.randn(out, inner, generator=generator), torch.randn(inner, inputs, generator=generator)
    found = spectrum(Factors(up, down, (out, inputs)))
    dense = torch.linalg.svdvals(up @ down)
    count = min(len(dense), len(found.sigma))
    assert torch.allclose(found.sigma[:count], dense[:count], atol=1e-4)
    assert torch.allclose((found.left * found.sigma) @ found.right, up @ down, atol=1e-4)


def test_a_module_whose_svd_fails_stays_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise torch.linalg.LinAlgError("no convergence")

    monkeypatch.setattr(rank_module.torch.linalg, "svd", fails)
    lora = big()
    small, report = compress(lora, RankRule("rank", 4))
    assert small.adapters[LINEAR] is lora.adapters[LINEAR]
    assert report.rows[0].rank_after == 12
    assert "does not converge" in caplog.text
