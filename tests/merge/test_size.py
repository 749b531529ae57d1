"""A file's size as a rank rule, values for parts of a file, and what is weak beside the model."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import lib_lora
from lib_lora.blocks.presets import PresetFile
from lib_lora.errors import InputError
from lib_lora.formats.adapters import LoraAdapter, read_adapter
from lib_lora.formats.lora import LoraFile, read_lora, write_lora
from lib_lora.merge.budget import SavedAs
from lib_lora.merge.compress import compress
from lib_lora.merge.method import MethodOptions
from lib_lora.merge.precision import TYPES
from lib_lora.merge.rank import largest_singular_value
from lib_lora.merge.rank_rule import RankRule
from lib_lora.merge.recipe import read_recipe
from lib_lora.merge.spec import Ingredient, MergeSpec
from lib_lora.services import merge
from tests.formats.lora_samples import reference, sample

PRESETS = PresetFile.parse("")
UNET = "lora_unet_down_blocks_{0}_attentions_{1}_transformer_blocks_0_attn{2}_to_{3}"
QUERIES = [
    UNET.format(level, at, number, leaf) for level in (0, 1) for at in (0, 1) for number, leaf in ((1, "q"), (2, "v"))
]
TEXT = [f"lora_te_text_model_encoder_layers_{n}_self_attn_q_proj" for n in range(3)]
CONV = "lora_unet_mid_block_resnets_0_conv1"


def lora_of(seed: int, *, rank: int = 12, dtype: torch.dtype = torch.float16, strange: bool = False) -> LoraFile:
    """A LoRA of uneven layers: other widths, other strengths, other decays."""
    generator = torch.Generator().manual_seed(seed)
    adapters = {}
    for number, key in enumerate((*QUERIES, *TEXT, CONV)):
        out, inputs, kernel = 24 + 8 * (number % 3), 40 + 16 * (number % 2), (3, 3) if key == CONV else ()
        decay = (0.5 + 0.05 * (number % 9)) ** torch.arange(rank).float()
        up = torch.randn(out, rank, generator=generator) * decay * (1 + number % 4)
        down = torch.randn(rank, inputs, *kernel, generator=generator)
        parts = {
            "lora_up.weight": up.reshape(out, rank, *[1] * len(kernel)).to(dtype),
            "lora_down.weight": down.to(dtype),
        }
        adapters[key] = read_adapter(key, {**parts, "alpha": torch.tensor(rank / 2)})
    if strange:
        for number, kind in enumerate(("loha", "lokr_whole", "lokr_both_low")):
            key = UNET.format(2, number % 2, 1 + number // 2, "k")
            adapters[key] = read_adapter(key, sample(kind, seed=number, dtype=dtype))
        key = UNET.format(2, 1, 2, "q")
        adapters[key] = read_adapter(key, {**sample("linear", seed=9, dtype=dtype), "diff_b": torch.ones(6)})
    return LoraFile(adapters)


def change(lora: LoraFile, like: LoraFile) -> np.ndarray:
    """All that a LoRA changes in the modules of another one, as one vector."""
    parts = [
        reference({k: v for k, v in lora.adapters[key].tensors().items() if k != "diff_b"}).ravel()
        if key in lora.adapters and lora.adapters[key].weight_part is not None
        else np.zeros(int(np.prod(adapter.shape)))
        for key, adapter in like.adapters.items()
    ]
    return np.concatenate(parts)


def next_direction(made: LoraFile, lora: LoraFile) -> float:
    """Bytes of the cheapest direction that could have been added to a module."""
    more = [a for key, a in made.adapters.items() if isinstance(a, LoraAdapter) and a.rank < lora.adapters[key].rank]
    return min((2 * (a.shape[0] + int(np.prod(a.shape[1:]))) for a in more), default=np.inf)


@pytest.mark.parametrize("strange", [False, True])
@pytest.mark.parametrize("share", [0.25, 0.4, 0.55, 0.7, 0.85, 0.99])
def test_the_file_is_at_most_so_large_and_no_direction_more_would_fit(
    tmp_path: Path, share: float, strange: bool
) -> None:
    source = write_lora(lora_of(1, strange=strange), tmp_path / "girl.safetensors")
    size = round(source.stat().st_size * share / 1e6, 6)
    order = MergeSpec((Ingredient(source),), RankRule("size", size))
    made, path = merge.write(order, tmp_path / "a name that counts.safetensors", PRESETS)
    reached, lora = path.stat().st_size, read_lora(source)
    assert reached <= size * 1e6
    assert reached > size * 1e6 - next_direction(read_lora(path), lora) - 64  # 64: digits and blanks of the header
    assert made.report.bytes_after == reached
    # no file of one rank for all that is as small makes less of an error
    whole = change(lora, lora)
    error = np.linalg.norm(change(read_lora(path), lora) - whole)
    for rank in range(12, 0, -1):
        other, _ = compress(lora, RankRule("rank", rank))
        if write_lora(other, tmp_path / "o.safetensors", overwrite=True).stat().st_size <= reached:
            assert error < np.linalg.norm(change(other, lora) - whole)
            break
    assert made.report.relative_error == pytest.approx(error / np.linalg.norm(whole), rel=0.02)
    (step,) = read_recipe(read_lora(path).metadata)
    assert (step["rule"], step["value"]) == ("size", size)


def test_a_size_that_cannot_be_reached_is_refused_with_the_smallest_one_which_can(tmp_path: Path) -> None:
    source = write_lora(lora_of(2), tmp_path / "girl.safetensors")
    target = tmp_path / "small.safetensors"
    with pytest.raises(InputError, match="smallest possible one has") as refused:
        merge.write(MergeSpec((Ingredient(source),), RankRule("size", 0.001)), target, PRESETS)
    assert not target.exists()
    found = re.search(r"one has ([\d.]+) MB", str(refused.value))
    assert found is not None
    least = float(found[1])
    _, path = merge.write(MergeSpec((Ingredient(source),), RankRule("size", least)), target, PRESETS)
    assert least * 1e6 - 1000 < path.stat().st_size <= least * 1e6
    assert len(read_lora(path).adapters) == 1
    with pytest.raises(InputError, match=found[1]):
        merge.write(MergeSpec((Ingredient(source),), RankRule("size", least - 0.001)), target, PRESETS, overwrite=True)


def test_what_fits_as_it_is_stays_bit_for_bit(tmp_path: Path) -> None:
    lora = lora_of(3, strange=True)
    small, report = compress(lora, RankRule("size", 5))
    for key, adapter in lora.adapters.items():
        now = small.adapters[key].tensors()
        assert all(torch.equal(now[name], tensor) for name, tensor in adapter.tensors().items()), key
    assert report.relative_error == 0


@pytest.mark.parametrize("method", ["sum", "ties", "dare", "k_lora", "project"])
@pytest.mark.parametrize("precision", [None, "fp16", "fp32"])
def test_several_files_become_one_of_a_size(tmp_path: Path, method: str, precision: str | None) -> None:
    rows = [
        Ingredient(write_lora(lora_of(seed, dtype=dtype), tmp_path / f"{seed}.safetensors"), 0.8)
        for seed, dtype in ((4, torch.float16), (5, torch.float32))
    ]
    order = MergeSpec(tuple(rows), RankRule("size", 0.03), precision, MethodOptions(method))
    _, path = merge.write(order, tmp_path / "both.safetensors", PRESETS)
    assert 0.0285e6 < path.stat().st_size <= 0.03e6
    types = {adapter.parameters()[0].dtype for adapter in read_lora(path).adapters.values()}
    assert precision is None or types == {TYPES[precision]}


def test_modules_that_only_fp32_holds_do_not_break_the_size(tmp_path: Path) -> None:
    lora = lora_of(6)
    key = QUERIES[0]
    wide = torch.diag(torch.tensor([6e4, 1e-4] * 6)).half()
    up, down = torch.zeros(24, 12).half(), torch.zeros(12, 40).half()
    up[:12], down[:, :12] = wide, wide
    lora.adapters[key] = LoraAdapter(key, up, down, None, 12.0)
    for size in (0.012, 0.016, 0.02):
        small, _ = compress(lora, RankRule("size", size), saved=SavedAs("x"))
        assert write_lora(small, tmp_path / "x.safetensors", overwrite=True).stat().st_size <= size * 1e6


def test_a_program_gives_the_name_or_gets_a_file_small_enough_for_every_name(tmp_path: Path) -> None:
    source = write_lora(lora_of(7), tmp_path / "girl.safetensors")
    one, _ = lib_lora.compress(lib_lora.read_lora(source), lib_lora.RankRule("size", 0.02))
    two, _ = lib_lora.add([one, read_lora(source)], rule=lib_lora.RankRule("size", 0.02), saved=lib_lora.SavedAs("two"))
    assert lib_lora.write_lora(one, tmp_path / f"{'n' * 150}.safetensors").stat().st_size <= 0.02e6
    assert 0.0196e6 < lib_lora.write_lora(two, tmp_path / "two.safetensors").stat().st_size <= 0.02e6


def test_a_part_has_its_own_value_and_the_last_that_fits_counts() -> None:
    rule = RankRule("rank", 5, parts=("BASE::2", ":attn2:3", "IN04-IN05:attn2:7"))
    small, _ = compress(lora_of(8), rule)
    ranks = {key: adapter.rank for key, adapter in small.adapters.items()}
    assert {ranks[key] for key in TEXT} == {2}
    assert {ranks[key] for key in QUERIES if "attn1" in key} == {5}
    assert {ranks[key] for key in QUERIES if "attn2" in key and "blocks_0" in key.partition("attentions")[0]} == {3}
    assert {ranks[key] for key in QUERIES if "attn2" in key and "blocks_1" in key.partition("attentions")[0]} == {7}
    assert read_recipe(small.metadata)[0]["parts"] == list(rule.parts)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ((":nothing:4",), "holds for no module"),
        (("BASE::4", "::8"), "BASE::4"),
        (("BASE:4",), "has 1 colons"),
        (("NOWHERE::4",), "NOWHERE"),
        (("BASE::0",), "out of range"),
        (("BASE::1.5",), "no whole number"),
    ],
)
def test_a_part_that_cannot_be_right_is_refused(parts: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        compress(lora_of(8), RankRule("rank", 5, parts=parts))


def test_a_part_takes_no_more_of_a_size_than_it_may() -> None:
    lora = lora_of(9)
    free, _ = compress(lora, RankRule("size", 0.02))
    held, _ = compress(lora, RankRule("size", 0.02, parts=("BASE::0.001",)))

    def bytes_of(made: LoraFile) -> int:
        return sum(t.numel() * 2 for key in TEXT if key in made.adapters for t in made.adapters[key].parameters())

    assert bytes_of(held) <= 1000 < bytes_of(free)
    assert abs(SavedAs().size(held) - SavedAs().size(free)) < 300  # the others have the rest


def beside(lora: LoraFile, *, strength: float) -> SimpleNamespace:
    layers = {}
    for number, (key, adapter) in enumerate(lora.adapters.items()):
        out, inputs, *kernel = adapter.shape
        layer = nn.Conv2d(inputs, out, kernel[0]) if kernel else nn.Linear(inputs, out)
        nn.init.normal_(layer.weight, std=strength * (1 + number % 3), generator=torch.Generator().manual_seed(number))
        layers[key] = layer
    return SimpleNamespace(family="sd1", layers=layers, own_weights=True, name="base")


def test_what_is_weak_beside_the_models_own_layer_goes_whole_layers_too() -> None:
    lora = lora_of(10)
    model = beside(lora, strength=8.0)
    small, report = compress(lora, RankRule("base_ratio", 5.0, parts=("BASE::8",)), model=model)
    for key, adapter in lora.adapters.items():
        own = torch.linalg.svdvals(model.layers[key].weight.detach().flatten(1).double())[0]
        sigma = np.linalg.svd(reference(adapter.tensors()), compute_uv=False)
        wanted = int((sigma > float(own) / (8 if key in TEXT else 5)).sum())
        assert (small.adapters[key].rank if key in small.adapters else 0) == wanted, key
    assert report.dropped
    assert len({adapter.rank for adapter in small.adapters.values()}) > 1
    lost = np.linalg.norm(change(small, lora) - change(lora, lora)) / np.linalg.norm(change(lora, lora))
    assert report.relative_error == pytest.approx(lost, rel=1e-2)
    with pytest.raises(InputError, match="no direction is strong enough"):
        compress(lora, RankRule("base_ratio", 0.001), model=model)


def test_without_its_model_the_rule_is_refused() -> None:
    lora, rule = lora_of(11), RankRule("base_ratio", 10)
    other = beside(lora, strength=1.0)
    del other.layers[TEXT[0]]
    with pytest.raises(InputError, match="fits no layer of the model"):
        compress(lora, rule, model=other)
    other.family = "sdxl"
    for model in (None, other):
        with pytest.raises(InputError, match="Load the model"):
            compress(lora, rule, model=model)


@pytest.mark.parametrize("shape", [(40, 40), (30, 90), (200, 64)])
def test_the_largest_singular_value_is_found(shape: tuple[int, int]) -> None:
    for seed in range(5):
        matrix = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        assert largest_singular_value(matrix) == pytest.approx(float(torch.linalg.svdvals(matrix)[0]), rel=1e-3)
