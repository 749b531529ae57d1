"""Flux' q, k and v in one layer and apart: every kind's change of every row stays what it is, to fp32's last digits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lib_lora.errors import InputError
from lib_lora.formats.adapters import Adapter
from lib_lora.formats.files import write_tensors
from lib_lora.formats.lora import read_lora
from lib_lora.services.conversion import ConvertOptions, write
from tests.formats.lora_samples import reference, relative
from tests.formats.test_files_table import table, tried

INPUTS = 8
PARTS = {"q": 4, "k": 4, "v": 4}
DOUBLE, SINGLE = "lora_unet_double_blocks_3_img_attn_qkv", "lora_unet_single_blocks_7_linear1"
LAST = "lora_unet_final_layer_adaLN_modulation_1"
ROWS = {DOUBLE: (4, 4, 4), SINGLE: (4, 4, 4, 16), LAST: (6, 6)}
THERE = {
    DOUBLE: tuple(f"lora_transformer_transformer_blocks_3_attn_to_{one}" for one in "qkv"),
    SINGLE: tuple(
        f"lora_transformer_single_transformer_blocks_7_{one}"
        for one in ("attn_to_q", "attn_to_k", "attn_to_v", "proj_mlp")
    ),
    LAST: ("lora_transformer_norm_out_linear",),
}


def shapes(kind: str, rows: int) -> dict[str, tuple[int, ...]]:
    """Return the parts of a kind for a layer of so many outputs."""
    return {
        "lora": {"lora_up.weight": (rows, 3), "lora_down.weight": (3, INPUTS)},
        "loha": {"hada_w1_a": (rows, 2), "hada_w1_b": (2, INPUTS), "hada_w2_a": (rows, 3), "hada_w2_b": (3, INPUTS)},
        "lokr blocks": {"lokr_w1": (rows // 2, 4), "lokr_w2": (2, 2)},
        "lokr low blocks": {"lokr_w1_a": (rows // 4, 1), "lokr_w1_b": (1, 2), "lokr_w2_a": (4, 2), "lokr_w2_b": (2, 4)},
        "lokr one row": {"lokr_w1": (1, 2), "lokr_w2_a": (rows, 2), "lokr_w2_b": (2, 4)},
        "lokr across": {"lokr_w1": (2, 2), "lokr_w2_a": (rows // 2, 1), "lokr_w2_b": (1, 4)},
        "lokr whole across": {"lokr_w1": (2, 4), "lokr_w2": (rows // 2, 2)},
        "full": {"diff": (rows, INPUTS)},
        "ia3": {"weight": (rows, 1), "on_input": (1,)},
    }[kind]


def parts_of(kind: str, rows: int, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Return random parts of a kind; ``lora, outputs`` is a DoRA of a LoRA with lengths of outputs."""
    kind, _, lengths = kind.partition(", ")
    generator = torch.Generator().manual_seed(seed)
    found = {name: torch.randn(size, generator=generator) for name, size in shapes(kind, rows).items()}
    if lengths:
        found["dora_scale"] = torch.rand((rows, 1) if lengths == "outputs" else (1, INPUTS), generator=generator) + 0.5
    found = {name: one.to(dtype) for name, one in found.items()}
    return found if kind in ("full", "ia3") else {**found, "alpha": torch.tensor(1.5)}


def dense(parts: Mapping[str, Tensor], weight: np.ndarray) -> np.ndarray:
    """Return the change in fp64, written without the code under test."""
    if "diff" in parts:
        return parts["diff"].double().numpy()
    change = reference({name: one for name, one in parts.items() if name != "dora_scale"})
    if "dora_scale" not in parts:
        return change
    lengths, whole = parts["dora_scale"].double().numpy(), weight + change
    axis = 1 if lengths.shape[1] == 1 else 0
    return np.asarray(lengths * whole / np.linalg.norm(whole, axis=axis, keepdims=True) - weight)


def weight_of(rows: int) -> np.ndarray:
    return np.random.default_rng(7).standard_normal((rows, INPUTS))


def put(path: Path, modules: Mapping[str, Mapping[str, Tensor]]) -> Path:
    """Write a file, with a module that every program has so that its family is known."""
    plain = {"lora_unet_single_blocks_0_linear2": parts_of("lora", 4)}
    every = {**plain, **modules}
    return write_tensors(
        path, {f"{key}.{name}": one for key, parts in every.items() for name, one in parts.items()}, {}
    )


def converted(source: Path, to: str, name: str) -> tuple[str, dict[str, Adapter], Path]:
    made, path = write(source, ConvertOptions(to), source.parent / f"{name}.safetensors")
    return "\n".join(map(str, made.notes)), dict(read_lora(path).adapters), path


def held(adapters: Mapping[str, Adapter], keys: tuple[str, ...], wanted: np.ndarray, weight: np.ndarray) -> None:
    """Ask that layers, one below the other, have a change."""
    start = 0
    for key in keys:
        rows = adapters[key].shape[0]
        base = torch.tensor(weight[start : start + rows]).float()
        got = adapters[key].delta(base).reshape(rows, INPUTS)
        assert relative(got, wanted[start : start + rows]) < 2e-6, key
        start += rows
    assert start == len(wanted)


STAYS = ["lora", "loha", "lokr blocks", "lokr low blocks", "lokr one row", "full", "lora, outputs", "loha, outputs"]
STAYS += ["lokr blocks, outputs", "lokr one row, outputs"]
GOES = ["lokr across", "lokr whole across", "lokr across, outputs", "lokr whole across, outputs"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("layer", [DOUBLE, SINGLE])
@pytest.mark.parametrize("kind", STAYS + GOES)
def test_a_layer_becomes_several_and_one_again(tmp_path: Path, kind: str, layer: str, dtype: torch.dtype) -> None:
    parts, weight = parts_of(kind, sum(ROWS[layer]), dtype=dtype), weight_of(sum(ROWS[layer]))
    source = put(tmp_path / "x.safetensors", {layer: parts})
    wanted = dense(parts, weight)
    said, several, there = converted(source, "kohya-diffusers", "several")
    held(several, THERE[layer], wanted, weight)
    (before,) = {one.kind for key, one in read_lora(source).adapters.items() if key == layer}
    if kind in STAYS:
        assert {several[key].kind for key in THERE[layer]} == {before}
    assert ("could not keep" in said) == (kind in GOES)
    _, one, _ = converted(there, "kohya", "one")
    held(one, (layer,), wanted, weight)
    if kind in STAYS and "one row" not in kind:
        assert one[layer].kind == before


def test_a_loha_with_directions_of_its_own_for_each_gets_smaller_parts(tmp_path: Path) -> None:
    parts = parts_of("loha", 12) | {"hada_w1_a": torch.zeros(12, 3), "hada_w1_b": torch.randn(3, INPUTS)}
    for at in range(3):
        parts["hada_w1_a"][4 * at : 4 * at + 4, at] = 1.0
    _, several, there = converted(put(tmp_path / "x.safetensors", {DOUBLE: parts}), "kohya-diffusers", "several")
    assert [several[key].rank for key in THERE[DOUBLE]] == [1, 1, 1]
    held(several, THERE[DOUBLE], dense(parts, weight_of(12)), weight_of(12))
    _, one, _ = converted(there, "kohya", "one")
    assert (one[DOUBLE].kind, one[DOUBLE].rank) == ("loha", 3)
    held(one, (DOUBLE,), dense(parts, weight_of(12)), weight_of(12))


TOGETHER = [
    (("loha", "loha", "loha"), "loha", False),
    (("loha", None, "loha"), "loha", False),
    (("lokr blocks", "lokr blocks", "lokr blocks"), "lora or full", True),
    (("lokr low blocks", "lokr low blocks", None), "lora or full", True),
    (("lora", "loha", "lokr across"), "lora or full", True),
    (("lora", "full", None), "lora or full", True),
    (("lora, outputs", "lora, outputs", "lora, outputs"), "dora", False),
    (("loha, outputs", "loha, outputs", "loha, outputs"), "dora", False),
    (("lokr blocks, outputs", "lora, outputs", "loha, outputs"), "dora", True),
]


def modules_of(kinds: tuple[str | None, ...]) -> dict[str, dict[str, Tensor]]:
    """Return q, k and v of the double block with numbers and alphas of their own; None leaves one out."""
    found = {}
    for at, (key, kind) in enumerate(zip(THERE[DOUBLE], kinds, strict=True)):
        if kind is not None:
            parts = parts_of(kind, 4, seed=at)
            found[key] = {**parts, "alpha": torch.tensor(1.0 + at)} if "alpha" in parts else parts
    return found


@pytest.mark.parametrize(("kinds", "becomes", "is_said"), TOGETHER)
def test_several_layers_with_numbers_of_their_own_become_one(
    tmp_path: Path, kinds: tuple[str | None, ...], becomes: str, is_said: bool
) -> None:
    weight, modules = weight_of(12), modules_of(kinds)
    rows = [
        dense(modules[key], weight[4 * at : 4 * at + 4]) if key in modules else np.zeros((4, INPUTS))
        for at, key in enumerate(THERE[DOUBLE])
    ]
    said, one, _ = converted(put(tmp_path / "x.safetensors", modules), "kohya", "one")
    held(one, (DOUBLE,), np.concatenate(rows), weight)
    assert one[DOUBLE].kind in becomes.split(" or ")
    assert ("million numbers in place of" in said) == is_said


def test_lokrs_with_one_second_factor_stay_one(tmp_path: Path) -> None:
    modules = {key: parts_of("lokr blocks", 4, seed=at) for at, key in enumerate(THERE[DOUBLE])}
    for parts in modules.values():
        parts["lokr_w2"] = modules[THERE[DOUBLE][0]]["lokr_w2"]
    del modules[THERE[DOUBLE][1]]
    said, one, _ = converted(put(tmp_path / "x.safetensors", modules), "kohya", "one")
    assert (one[DOUBLE].kind, "could not keep" in said) == ("lokr", False)
    rows = [dense(modules[key], weight_of(4)) if key in modules else np.zeros((4, INPUTS)) for key in THERE[DOUBLE]]
    held(one, (DOUBLE,), np.concatenate(rows), weight_of(12))


@pytest.mark.parametrize("kind", [*STAYS, *GOES, "lora, inputs", "loha, inputs"])
def test_the_halves_of_the_last_modulation_change_places(tmp_path: Path, kind: str) -> None:
    parts, weight = parts_of(kind, 12), weight_of(12)
    _, other, there = converted(put(tmp_path / "x.safetensors", {LAST: parts}), "kohya-diffusers", "other")
    swap = [*range(6, 12), *range(6)]
    held(other, THERE[LAST], dense(parts, weight)[swap], weight[swap])
    _, one, _ = converted(there, "kohya", "one")
    held(one, (LAST,), dense(parts, weight), weight)


PAGE = {  # a row of docs/files.md: a kind of the one layer, kinds of q, k and v
    "LoRA": ("lora", ("lora",) * 3),
    "LoHa": ("loha", ("loha",) * 3),
    "LoKr": ("lokr blocks", None),
    "LoKr, else": ("lokr across", ("lokr blocks",) * 3),
    "full difference": ("full", ("full",) * 3),
    "DoRA with a length for each output": ("lora, outputs", ("loha, outputs",) * 3),
    "DoRA with a length for each output, not of all of q, k and v": (None, ("lora, outputs", None, "lora, outputs")),
    "DoRA with a length for each input": ("lora, inputs", ("lora, inputs",) * 3),
    "several kinds": (None, ("lora", "loha", "full")),
    "the others": ("ia3", ("ia3",) * 3),
}


def test_the_page_says_what_becomes_of_q_k_and_v(tmp_path: Path) -> None:
    said = table("Flux' q, k and v in one layer and apart")
    assert list(said) == list(PAGE)
    for number, (row, (one, several)) in enumerate(PAGE.items()):
        orders = {
            "taken apart": ("kohya-diffusers", None if one is None else {DOUBLE: parts_of(one, 12)}),
            "put together": ("kohya", None if several is None else modules_of(several)),
        }
        for column, (to, modules) in orders.items():
            if modules is None:
                assert said[row][column] in ("–", "yes"), row  # yes: held by a test of its own
                continue
            source = put(tmp_path / f"{number} {to}.safetensors", modules)
            done, error = tried(
                lambda source=source, to=to, column=column: converted(source, to, f"{source.stem}{column}")
            )
            kept = "recomputed" if done is not None and "could not keep" in done[0] else "yes"
            assert said[row][column] == ("no" if error is not None else kept), (row, column)


def test_lengths_that_only_the_model_knows_are_refused_with_a_way_out(tmp_path: Path) -> None:
    source = put(tmp_path / "x.safetensors", {DOUBLE: parts_of("lora, inputs", 12)})
    with pytest.raises(InputError, match=r"Some lengths of this DoRA.*the names that the file has"):
        converted(source, "kohya-diffusers", "several")
    two = {key: parts_of("lora, outputs", 4) for key in THERE[DOUBLE][:2]}
    with pytest.raises(InputError, match="Some lengths of this DoRA"):
        converted(put(tmp_path / "y.safetensors", two), "kohya", "one")


def test_one_layer_under_two_names_is_refused_and_not_overwritten(tmp_path: Path) -> None:
    part = THERE[DOUBLE][0]
    both = {DOUBLE: parts_of("lora", 12), part: parts_of("lora", 4)}
    twice = {part: parts_of("lora", 4), part.replace("lora_transformer", "lora_unet", 1): parts_of("lora", 4, seed=1)}
    for number, modules in enumerate((both, dict(reversed(both.items())), twice)):
        source = put(tmp_path / f"x{number}.safetensors", modules)
        for to in ("kohya", "kohya-diffusers"):
            if modules is twice and to == "kohya-diffusers":
                continue
            with pytest.raises(InputError, match="under the names of two programs"):
                converted(source, to, "y")
