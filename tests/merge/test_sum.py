"""The sum of LoRA files against dense changes computed by themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lib_lora.blocks.layouts import BASE, OTHER, full_layout
from lib_lora.errors import InputError
from lib_lora.formats.adapters import LoraAdapter, read_adapter
from lib_lora.formats.files import read_tensors
from lib_lora.formats.lora import LoraFile, read_lora, write_lora
from lib_lora.merge.join import join
from lib_lora.merge.method import MethodOptions
from lib_lora.merge.rank_rule import RankRule
from lib_lora.merge.recipe import read_recipe
from lib_lora.merge.shares import Summand
from lib_lora.merge.sum import add
from tests.formats.lora_samples import CONV, LINEAR, SHAPES, TEXT, key_for, reference, relative, sample
from tests.told import Told

ONES = dict.fromkeys((*full_layout("sd1").names, BASE, OTHER), 1.0)
KINDS = sorted(SHAPES)
SECONDS = ["linear", "loha", "lokr_both_low", "conv3x3", "tucker", "loha_conv", "lokr_conv"]
PAIRS = [(first, second) for first in KINDS for second in SECONDS if key_for(first) == key_for(second)]
"""Kinds that can change the same layer."""


def plain(rank: int, *, seed: int, alpha: float | None, out: int = 24, inputs: int = 16) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    parts = {
        "lora_up.weight": torch.randn(out, rank, generator=generator),
        "lora_down.weight": torch.randn(rank, inputs, generator=generator),
    }
    return parts if alpha is None else {**parts, "alpha": torch.tensor(alpha)}


def file_of(modules: dict[str, dict[str, torch.Tensor]], name: str = "a") -> LoraFile:
    adapters = {key: read_adapter(key, parts) for key, parts in modules.items()}
    return LoraFile(adapters, path=Path(f"{name}.safetensors"))


def part(modules: dict[str, dict[str, torch.Tensor]], q: float = 1.0, name: str = "a") -> Summand:
    return Summand(file_of(modules, name), dict.fromkeys(ONES, q))


def saved_change(lora: LoraFile, path: Path, key: str, dtype: torch.dtype | None = None) -> np.ndarray:
    tensors, _ = read_tensors(write_lora(lora, path, dtype=dtype))
    return reference({n.partition(".")[2]: t for n, t in tensors.items() if n.startswith(key + ".")})


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.float16, 5e-4)])
def test_any_ranks_alphas_and_signs_add_up_exactly(tmp_path: Path, dtype: torch.dtype, bound: float) -> None:
    sources = [
        (plain(2, seed=1, alpha=1.0), 0.7),
        (plain(5, seed=2, alpha=None), -0.4),
        (plain(3, seed=3, alpha=9.0), 2),
    ]
    sources = [({name: t.to(dtype) for name, t in parts.items()}, q) for parts, q in sources]
    summed, report = add([part({LINEAR: parts}, q, f"n{i}") for i, (parts, q) in enumerate(sources)])
    adapter = summed.adapters[LINEAR]
    assert isinstance(adapter, LoraAdapter)
    assert (adapter.rank, adapter.alpha, adapter.up.dtype) == (10, 10.0, dtype)
    wanted = sum(q * reference(parts) for parts, q in sources)
    got = saved_change(summed, tmp_path / "s.safetensors", LINEAR)
    assert relative(got, wanted) < bound
    (row,) = report.rows
    assert (row.block, row.rank_before, row.rank_after, row.energy_kept) == ("IN01", 5, 10, 1.0)
    assert row.relative_error == pytest.approx(relative(got, wanted), rel=0.2, abs=1e-6)


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_every_kind_adds_to_every_other_of_the_same_layer(tmp_path: Path, first: str, second: str) -> None:
    key = key_for(first)
    one, two = sample(first, seed=1), sample(second, seed=2)
    summed, _ = add([part({key: one}, 0.5), part({key: two}, -2, "b")])
    wanted = 0.5 * reference(one) - 2 * reference(two)
    assert relative(saved_change(summed, tmp_path / "s.safetensors", key), wanted) < 2e-6


def test_a_module_of_one_file_is_taken_over_as_it_is() -> None:
    loha, tucker = sample("loha"), sample("tucker")
    summed, _ = add([part({LINEAR: loha}, 0.5), part({CONV: tucker}, 1, "b")])
    assert [adapter.kind for adapter in summed.adapters.values()] == ["loha", "lora"]
    assert torch.equal(summed.adapters[LINEAR].parameters()[0], loha["hada_w1_a"])
    assert "lora_mid.weight" in summed.adapters[CONV].tensors()


def test_halves_of_one_file_are_the_file_and_a_file_less_itself_is_refused(tmp_path: Path) -> None:
    parts = plain(3, seed=1, alpha=2.0)
    summed, _ = add([part({LINEAR: parts}, 0.5), part({LINEAR: parts}, 0.5)])
    assert relative(saved_change(summed, tmp_path / "s.safetensors", LINEAR), reference(parts)) < 1e-6
    for rank in (3, 12):
        parts = plain(rank, seed=1, alpha=2.0)
        with pytest.raises(InputError, match="Nothing is left"):
            add([part({LINEAR: parts}, 1), part({LINEAR: parts}, -1)])


def test_the_rank_stops_at_the_layers_smaller_side(tmp_path: Path) -> None:
    many = [plain(6, seed=n, alpha=3.0) for n in range(4)]
    summed, report = add([part({LINEAR: parts}, 1, f"n{n}") for n, parts in enumerate(many)])
    assert summed.adapters[LINEAR].rank == report.rows[0].rank_after == 16
    wanted = sum(reference(parts) for parts in many)
    assert relative(saved_change(summed, tmp_path / "s.safetensors", LINEAR), wanted) < 3e-6


def test_blocks_have_their_own_multiples_and_zero_leaves_one_file_out() -> None:
    modules = {LINEAR: plain(2, seed=1, alpha=2.0), TEXT: plain(2, seed=2, alpha=2.0, out=16)}
    other = {LINEAR: plain(2, seed=3, alpha=2.0), TEXT: plain(2, seed=4, alpha=2.0, out=16)}
    summed, _ = add(
        [Summand(file_of(modules), {**ONES, BASE: 0}), Summand(file_of(other, "b"), {**ONES, "IN01": 0.25})]
    )
    assert summed.adapters[TEXT].rank == 2
    assert relative(summed.adapters[TEXT].delta(), reference(other[TEXT])) < 1e-6
    wanted = reference(modules[LINEAR]) + 0.25 * reference(other[LINEAR])
    assert relative(summed.adapters[LINEAR].delta(), wanted) < 1e-6


def test_numbers_that_fp16_would_lose_are_brought_into_its_range(tmp_path: Path) -> None:
    """A large rank with alpha 1 makes up·alpha/rank so small that fp16 keeps two digits of it."""
    sources = [plain(12, seed=n, alpha=1e-3, out=64, inputs=64) for n in (1, 2)]
    sources = [{**parts, "lora_up.weight": parts["lora_up.weight"] * 1e-4} for parts in sources]
    sources = [{name: tensor.half() for name, tensor in parts.items()} for parts in sources]
    summed, _ = add([part({LINEAR: parts}, 1, f"n{n}") for n, parts in enumerate(sources)])
    wanted = sum(reference(parts) for parts in sources)
    assert relative(saved_change(summed, tmp_path / "s.safetensors", LINEAR), wanted) < 5e-4


def test_one_by_one_convolutions_and_linears_are_the_same_layer() -> None:
    one, two = sample("linear", seed=1), sample("conv1x1", seed=2)
    summed, _ = add([part({LINEAR: one}), part({LINEAR: two}, 1, "b")])
    assert summed.adapters[LINEAR].shape == (6, 8, 1, 1)
    assert relative(summed.adapters[LINEAR].delta(), reference(one) + reference(two)) < 1e-6


def test_shapes_families_and_contradicting_extras_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="different shapes") as caught:
        add([part({LINEAR: plain(2, seed=1, alpha=1)}), part({LINEAR: plain(2, seed=1, alpha=1, out=8)}, 1, "b")])
    assert caught.value.where == LINEAR
    sdxl = "lora_te1_text_model_encoder_layers_0_self_attn_q_proj"
    with pytest.raises(InputError, match="a: sd1, b: sdxl"):
        add([part({LINEAR: sample("linear")}), part({sdxl: sample("linear")}, 1, "b")])
    first, second = part({LINEAR: sample("linear")}), part({LINEAR: sample("linear", seed=1)}, 1, "b")
    first.lora.extras["bundle_emb.x.y"], second.lora.extras["bundle_emb.x.y"] = torch.ones(2), torch.zeros(2)
    with pytest.raises(InputError, match="bundle_emb"):
        add([first, second])
    with pytest.raises(InputError, match="nothing to add"):
        add([])


def test_both_spellings_of_an_sdxl_module_are_one() -> None:
    ldm = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q"
    diffusers = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
    text = "lora_te2_text_model_encoder_layers_0_self_attn_q_proj"
    ones = dict.fromkeys((*full_layout("sdxl").names, BASE, OTHER), 1.0)
    files = [file_of({key: sample("linear", seed=n), text: sample("linear")}) for n, key in enumerate((ldm, diffusers))]
    summed, _ = add([Summand(lora, ones) for lora in files])
    assert set(summed.adapters) == {ldm, text}
    wanted = reference(sample("linear")) + reference(sample("linear", seed=1))
    assert relative(summed.adapters[ldm].delta(), wanted) < 1e-6


def test_the_metadata_keeps_what_all_say_and_tells_every_source(tmp_path: Path) -> None:
    loras = []
    for name, words in (("a", "cat, red hat"), ("b", "dog, red hat")):
        lora = file_of({LINEAR: plain(2, seed=1, alpha=1.0)}, name)
        lora.metadata = {"modelspec.trigger_phrase": words, "ss_clip_skip": "2", "ss_seed": name}
        loras.append(read_lora(write_lora(lora, tmp_path / f"{name}.safetensors")))
    summed, _ = add([Summand(loras[0], {**ONES, "IN01": 0.5}), Summand(loras[1], ONES)])
    saved = read_lora(write_lora(summed, tmp_path / "sum.safetensors")).metadata
    assert saved["modelspec.trigger_phrase"] == saved["ssmd_keywords"] == "cat, red hat, dog"
    assert (saved["ss_clip_skip"], "ss_seed" in saved, saved["modelspec.merged_from"]) == ("2", False, "a, b")
    assert (saved["ss_network_dim"], saved["ss_network_alpha"]) == ("4", "4")
    (step,) = read_recipe(saved)
    assert step["op"] == "sum"
    assert [source["blocks"] for source in step["sources"]] == [{"IN01": 0.5}, {"IN01": 1.0}]
    assert step["sources"][0]["autov3"] == loras[0].metadata["sshs_model_hash"][:12]


def test_the_work_can_be_watched_and_ended() -> None:
    seen = Told()
    modules = {LINEAR: sample("linear"), TEXT: sample("linear")}
    add([part(modules)], seen)
    assert seen.steps == [(1, 2), (2, 2)]


@pytest.mark.parametrize("q", [-1.0, 0.5, 2.0])
@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_a_sum_with_a_rule_is_the_best_of_its_rank(first: str, second: str, q: float) -> None:
    key, one, two = key_for(first), sample(first, seed=1), sample(second, seed=2)
    made = join([part({key: one}, 0.5), part({key: two}, q, "b")], MethodOptions(), RankRule("rank", 2))
    wanted = 0.5 * reference(one) + q * reference(two)
    sigma = np.linalg.svd(wanted, compute_uv=False)
    best = float(np.sqrt((sigma[2:] ** 2).sum() / (sigma**2).sum()))
    got = relative(made.lora.adapters[key].delta(), wanted)
    assert got == pytest.approx(best, abs=1e-5)
    (row,) = made.report.rows
    assert row.relative_error == pytest.approx(got, abs=1e-5)
    assert row.energy_kept == pytest.approx(1 - best**2, abs=1e-5)
    assert [step["op"] for step in read_recipe(made.lora.metadata)] == ["sum", "compress"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_sum_of_fp16_is_cut_before_it_is_rounded(dtype: torch.dtype) -> None:
    """Rounding the exact sum and then its strongest directions would round twice."""
    sources = [
        {name: t.to(dtype) for name, t in plain(6, seed=n, alpha=1.5, out=64, inputs=48).items()} for n in (1, 2)
    ]
    parts = [part({LINEAR: one}, q, f"n{q}") for one, q in zip(sources, (0.7, -0.3), strict=True)]
    made = join(parts, MethodOptions(), RankRule("rank", 5)).lora.adapters[LINEAR]
    wanted = 0.7 * reference(sources[0]) - 0.3 * reference(sources[1])
    left, sigma, right = np.linalg.svd(wanted)
    best = (left[:, :5] * sigma[:5]) @ right[:5]
    assert made.parameters()[0].dtype == dtype
    assert relative(made.delta(), best) < (2e-6 if dtype is torch.float32 else 4e-4)


def test_a_sum_with_a_rule_keeps_what_gets_no_smaller_and_refuses_what_is_nothing() -> None:
    one, two = plain(2, seed=1, alpha=2.0), plain(2, seed=2, alpha=2.0)
    made = join([part({LINEAR: one}), part({LINEAR: two}, 1, "b")], MethodOptions(), RankRule("rank", 9))
    assert made.lora.adapters[LINEAR].rank == 4
    assert relative(made.lora.adapters[LINEAR].delta(), reference(one) + reference(two)) < 1e-6
    for rank in (3, 12):
        whole = plain(rank, seed=1, alpha=2.0)
        with pytest.raises(InputError, match="Nothing is left"):
            join([part({LINEAR: whole}, 1), part({LINEAR: whole}, -1)], MethodOptions(), RankRule("rank", 2))
    dora = {**plain(2, seed=1, alpha=2.0), "dora_scale": torch.ones(24, 1)}
    with pytest.raises(InputError, match="depends on the model's weights"):
        join([part({LINEAR: dora}), part({TEXT: two}, 1, "b")], MethodOptions(), RankRule("rank", 1))
    broken = {**one, "lora_up.weight": one["lora_up.weight"] * torch.inf}
    with pytest.raises(InputError, match="not finite"):
        join([part({LINEAR: broken}), part({LINEAR: two}, 1, "b")], MethodOptions(), RankRule("rank", 1))
