"""A LoRA in another program's form is the same change of every layer; what only gets another name keeps every bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lib_lora.errors import AtelierError, FileError, InputError
from lib_lora.formats.files import read_tensors, write_tensors
from lib_lora.formats.forms import FORMS
from lib_lora.formats.header import read_header
from lib_lora.formats.keys import find_module, module_table
from lib_lora.formats.lora import read_lora
from lib_lora.merge.recipe import read_recipe
from lib_lora.services.conversion import ConvertOptions, write
from tests.cases import case
from tests.formats.lora_samples import LINEAR, sample

WIDTHS = {"sd1": 768, "sd2": 1024, "sdxl": 2048}
WHOLE = [name for name, form in FORMS.items() if form.text]
"""Forms that hold text encoders and UNet in one file."""
PATTERNED = "lora_transformer_transformer_blocks_{}_attn_to_{}"


def kohya(path: Path, family: str, *, alpha: float = 4.0, dtype: torch.dtype = torch.float16) -> Path:
    """Write a file of every seventh module of a family, of rank 4 and random numbers."""
    table = [*module_table(family, conv=True)[::7], *(m for m in module_table(family) if "attn2.to_k" in m.diffusers)]
    generator = torch.Generator().manual_seed(1)
    tensors: dict[str, Tensor] = {}
    for module in table:
        inputs = WIDTHS[family] if module.diffusers.endswith("attn2.to_k") else 8
        tensors[f"{module.key}.lora_down.weight"] = torch.randn(4, inputs, generator=generator).to(dtype)
        tensors[f"{module.key}.lora_up.weight"] = torch.randn(6, 4, generator=generator).to(dtype)
        tensors[f"{module.key}.alpha"] = torch.tensor(alpha, dtype=dtype)
    return write_tensors(path, tensors, {"ss_output_name": "x", "modelspec.title": "Girl"})


def converted(source: Path, to: str, *, name: str = "y", **more: object) -> Path:
    folder = source.parent / name
    folder.mkdir(exist_ok=True)
    return write(source, ConvertOptions(to, **more), folder / "y.safetensors")[1]  # type: ignore[arg-type]


def changes(path: Path, family: str) -> dict[str, Tensor]:
    """Return every layer's change by the one name of the layer."""
    lora = read_lora(path)
    named = {(found.key if (found := find_module(key, family)) else key): one for key, one in lora.adapters.items()}
    return {key: adapter.delta() for key, adapter in named.items()}


def the_same(one: dict[str, Tensor], other: dict[str, Tensor], within: float) -> None:
    assert one.keys() == other.keys()
    for key, wanted in one.items():
        got = other[key].reshape(wanted.shape)
        assert float((got - wanted).norm()) <= within * float(wanted.norm()), key


@pytest.mark.parametrize("to", WHOLE)
@pytest.mark.parametrize("family", WIDTHS)
def test_there_and_back_keeps_every_bit_where_nothing_is_folded(tmp_path: Path, family: str, to: str) -> None:
    source = kohya(tmp_path / "x.safetensors", family)
    there = converted(source, to)
    assert read_lora(there).family == family
    the_same(changes(source, family), changes(there, family), 0.0)
    back = converted(there, "kohya", name="z")
    one, two = read_tensors(source)[0], read_tensors(back)[0]
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name].to(one[name].dtype)) for name in one)
    assert all(two[name].dtype == one[name].dtype for name in one if not name.endswith("alpha"))


@pytest.mark.parametrize("to", ["kohya", "kohya-ldm", "kohya-diffusers", "comfyui", "diffusers", "original", "peft"])
@pytest.mark.parametrize("name", ["diffusion_model", "onetrainer", "attn_procs"])
def test_files_of_other_programs_become_any_form(tmp_path: Path, name: str, to: str) -> None:
    source = case("key-dialects") / f"{name}.safetensors"
    made, saved = write(source, ConvertOptions(to), tmp_path / "y.safetensors")
    the_same(changes(source, "sd1"), changes(saved, "sd1"), 1e-6)
    assert made.largest < 1e-6
    assert (tmp_path / "adapter_config.json").exists() == (to == "peft")


@pytest.mark.parametrize(
    ("to", "name"),
    [
        ("kohya", "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.lora_up.weight"),
        ("onetrainer-legacy", "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q.lora_up.weight"),
        ("diffusers", "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.lora_B.weight"),
        ("peft", "base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.lora_B.weight"),
        ("comfyui", "diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.lora_B.weight"),
        ("onetrainer-original", "input_blocks.4.1.transformer_blocks.0.attn1.to_q.lora_B.weight"),
    ],
)
def test_every_program_finds_its_own_names(tmp_path: Path, to: str, name: str) -> None:
    key = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn"
    tensors = {f"{key}1_to_q.lora_up.weight": torch.ones(6, 2), f"{key}1_to_q.lora_down.weight": torch.ones(2, 8)}
    wide = {f"{key}2_to_k.lora_up.weight": torch.ones(6, 2), f"{key}2_to_k.lora_down.weight": torch.ones(2, 2048)}
    source = write_tensors(tmp_path / "x.safetensors", {**tensors, **wide}, {})
    assert name in read_header(converted(source, to)).tensors


def test_alpha_is_multiplied_in_where_the_form_has_none_and_that_is_said(tmp_path: Path) -> None:
    source = kohya(tmp_path / "x.safetensors", "sd1", alpha=3.0)
    made, saved = write(source, ConvertOptions("diffusers"), tmp_path / "y.safetensors")
    assert not [name for name in read_header(saved).tensors if "alpha" in name]
    assert "alpha/rank was multiplied into the numbers" in "\n".join(map(str, made.notes))
    assert 0 < made.largest < 5e-4
    the_same(changes(source, "sd1"), changes(saved, "sd1"), made.largest * 1.01)
    made, exact = write(source, ConvertOptions("diffusers", "fp32"), tmp_path / "z.safetensors")
    assert made.largest < 1e-7
    the_same(changes(source, "sd1"), changes(exact, "sd1"), 2e-7)


@pytest.mark.parametrize("alpha", [1.0, 2.0, 8.0])
def test_a_scale_that_is_a_power_of_two_costs_nothing(tmp_path: Path, alpha: float) -> None:
    source = kohya(tmp_path / "x.safetensors", "sd1", alpha=alpha, dtype=torch.float32)
    made, saved = write(source, ConvertOptions("diffusers"), tmp_path / "y.safetensors")
    assert made.largest == 0
    the_same(changes(source, "sd1"), changes(saved, "sd1"), 0.0)


@pytest.mark.parametrize("alpha", [1.0, 3.0])
def test_peft_itself_loads_and_merges_the_same_change(tmp_path: Path, alpha: float) -> None:
    peft = pytest.importorskip("peft")
    parts = {"a.b": sample("linear", seed=1, alpha=alpha), "a.conv": sample("conv3x3", seed=2, alpha=4.0)}
    parts["a.core"] = sample("tucker", seed=3, alpha=alpha)
    where = {"a.b": LINEAR, "a.conv": "lora_unet_mid_block_resnets_0_conv1"}
    where["a.core"] = "lora_unet_mid_block_resnets_1_conv1"
    tensors = {f"{where[path]}.{name}": one for path, found in parts.items() for name, one in found.items()}
    source = write_tensors(tmp_path / "x.safetensors", tensors, {})
    wanted = {key: adapter.delta() for key, adapter in read_lora(source).adapters.items()}
    saved = converted(source, "peft")
    unet = torch.nn.Module()
    paths = {key: find_module(key, "sd1").diffusers for key in where.values()}  # type: ignore[union-attr]
    for key, path in paths.items():
        place = unet
        for step in path.split(".")[:-1]:
            if not hasattr(place, step):
                place.add_module(step, torch.nn.Module())
            place = getattr(place, step)
        layer = torch.nn.Linear(8, 6) if key == LINEAR else torch.nn.Conv2d(8, 6, 3)
        place.add_module(path.split(".")[-1], layer)
    before = {key: unet.get_submodule(path).weight.detach().clone() for key, path in paths.items()}
    (saved.parent / "adapter_model.safetensors").write_bytes(saved.read_bytes())
    merged = peft.PeftModel.from_pretrained(unet, saved.parent).merge_and_unload()
    for key, path in paths.items():
        got = merged.get_submodule(path).weight.detach() - before[key]
        torch.testing.assert_close(got, wanted[key].reshape(got.shape), atol=2e-6, rtol=1e-5)


def flux(path: Path, *, split: bool) -> Path:
    """Write a Flux file in kohya's names; ``split``: with directions of their own for q, k and v."""
    generator = torch.Generator().manual_seed(3)
    tensors: dict[str, Tensor] = {}
    sizes = {
        "double_blocks_3_img_attn_qkv": (3, 12),
        "double_blocks_3_txt_attn_qkv": (3, 12),
        "single_blocks_7_linear1": (7, 28),
        "single_blocks_7_linear2": (1, 4),
        "double_blocks_0_img_mlp_0": (1, 16),
    }
    for key, (shares, rows) in sizes.items():
        up, down = torch.randn(rows, 6, generator=generator), torch.randn(6, 8, generator=generator)
        if split and shares == 3:
            for at in range(3):
                up[4 * at : 4 * at + 4, [c for c in range(6) if c // 2 != at]] = 0
        tensors |= {f"lora_unet_{key}.lora_up.weight": up, f"lora_unet_{key}.lora_down.weight": down}
        tensors[f"lora_unet_{key}.alpha"] = torch.tensor(3.0)
    return write_tensors(path, tensors, {})


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("to", ["diffusers", "peft", "kohya-diffusers"])
def test_q_k_and_v_of_flux_are_parted_and_put_together_again(tmp_path: Path, to: str, split: bool) -> None:
    source = flux(tmp_path / "x.safetensors", split=split)
    made, there = write(source, ConvertOptions(to), tmp_path / "y.safetensors")
    assert "with q, k and v in one became several" in "\n".join(map(str, made.notes))
    lora, whole = read_lora(there), read_lora(source)
    assert (lora.family, len(lora.adapters)) == ("flux", 3 + 3 + 4 + 2)
    if split and to != "diffusers":
        assert lora.adapters[PATTERNED.format(3, "q") if to != "peft" else _peft_q(lora)].rank == 2
    back = converted(there, "kohya", name="z")
    the_same(
        {key: one.delta() for key, one in whole.adapters.items()},
        {key: one.delta() for key, one in read_lora(back).adapters.items()},
        0.0 if to != "diffusers" else 2e-7,
    )


def _peft_q(lora: object) -> str:
    return next(key for key in lora.adapters if "transformer_blocks_3_attn_to_q" in key)  # type: ignore[attr-defined]


def test_diffusers_own_converter_parts_flux_into_the_same_changes(tmp_path: Path) -> None:
    theirs = pytest.importorskip("diffusers.loaders.lora_conversion_utils")
    generator = torch.Generator().manual_seed(5)
    tensors: dict[str, Tensor] = {}
    for key, rows in {"double_blocks_3_img_attn_qkv": 12, "single_blocks_7_linear1": 21504}.items():
        tensors[f"lora_unet_{key}.lora_up.weight"] = torch.randn(rows, 6, generator=generator)
        tensors[f"lora_unet_{key}.lora_down.weight"] = torch.randn(6, 8, generator=generator)
        tensors[f"lora_unet_{key}.alpha"] = torch.tensor(6.0)
    source = write_tensors(tmp_path / "x.safetensors", tensors, {})
    wanted = theirs._convert_kohya_flux_lora_to_diffusers(dict(tensors))
    got = read_tensors(converted(source, "diffusers"))[0]
    assert got.keys() == wanted.keys()
    for name in got:
        if name.endswith("lora_A.weight"):
            other = name.replace("lora_A", "lora_B")
            torch.testing.assert_close(got[other] @ got[name], wanted[other] @ wanted[name], atol=1e-5, rtol=1e-5)


def test_different_strengths_of_q_k_and_v_become_one_layer(tmp_path: Path) -> None:
    single = "transformer.single_transformer_blocks.0.proj_out"  # so that the file is known for Flux'
    tensors = {f"{single}.lora_A.weight": torch.ones(1, 8), f"{single}.lora_B.weight": torch.ones(4, 1)}
    for number, one in enumerate("qv", start=1):
        name = f"transformer.transformer_blocks.0.attn.to_{one}"
        tensors[f"{name}.lora_down.weight"] = torch.randn(number, 8)
        tensors[f"{name}.lora_up.weight"] = torch.randn(4, number)
        tensors[f"{name}.alpha"] = torch.tensor(float(3 * number * number))
    source = write_tensors(tmp_path / "x.safetensors", tensors, {})
    parts = {key[-1]: adapter.delta() for key, adapter in read_lora(source).adapters.items()}
    whole = read_lora(converted(source, "kohya")).adapters["lora_unet_double_blocks_0_img_attn_qkv"]
    wanted = torch.cat([parts["q"], torch.zeros(4, 8), parts["v"]])
    torch.testing.assert_close(whole.delta(), wanted, atol=1e-5, rtol=1e-6)


def test_what_a_form_cannot_hold_is_refused_with_a_way_out(tmp_path: Path) -> None:
    loha = {f"{LINEAR}.{name}": one for name, one in sample("loha").items()}
    source = write_tensors(tmp_path / "x.safetensors", loha, {})
    with pytest.raises(InputError, match="cannot hold a LoHa.*kohya's form or ComfyUI's"):
        converted(source, "diffusers")
    both = kohya(tmp_path / "both.safetensors", "sd1")
    for to in ("peft", "original"):
        with pytest.raises(InputError, match=r"of one model.*Split it"):
            converted(both, to)
    lora = {f"{LINEAR}.{name}": one for name, one in sample("linear").items()}
    source = write_tensors(tmp_path / "e.safetensors", {**lora, "bundle_emb.krnk.clip_l": torch.ones(2, 4)}, {})
    with pytest.raises(InputError, match=r"none of a LoRA's.*bundle_emb"):
        converted(source, "diffusers")
    assert "bundle_emb.krnk.clip_l" in read_header(converted(source, "comfyui")).tensors
    strange = {
        "lora_unet_nowhere.lora_up.weight": torch.ones(2, 2),
        "lora_unet_nowhere.lora_down.weight": torch.ones(2, 2),
    }
    source = write_tensors(tmp_path / "s.safetensors", {**lora, **strange}, {})
    with pytest.raises(InputError, match="names in the form original are not known.*nowhere"):
        converted(source, "original", name="strange")
    made, _ = write(source, ConvertOptions("kohya-ldm"), tmp_path / "k.safetensors")
    assert "keep their names" in "\n".join(map(str, made.notes))
    with pytest.raises(InputError, match="nothing to convert"):
        ConvertOptions()


def test_numbers_that_fp16_cannot_hold_are_refused(tmp_path: Path) -> None:
    parts = {f"{LINEAR}.{name}": one * 1e6 for name, one in sample("linear", alpha=None).items()}
    source = write_tensors(tmp_path / "x.safetensors", parts, {})
    for to in ("kohya-ldm", "same"):
        with pytest.raises(InputError, match="too large for fp16"):
            converted(source, to, precision="fp16")


@pytest.mark.parametrize("precision", ["fp16", "bf16", "fp32"])
def test_names_stay_where_only_the_precision_changes(tmp_path: Path, precision: str) -> None:
    source = case("key-dialects") / "onetrainer.safetensors"
    made, saved = write(source, ConvertOptions(precision=precision), tmp_path / "y.safetensors")
    one, two = read_tensors(source)[0], read_tensors(saved)[0]
    assert one.keys() == two.keys()
    assert made.largest <= {"fp16": 5e-4, "bf16": 4e-3, "fp32": 0.0}[precision]
    assert (made.largest > 0) == (precision != "fp32")
    the_same(changes(source, "sd1"), changes(saved, "sd1"), made.largest * 1.01)


def test_the_file_says_what_it_was_made_of(tmp_path: Path) -> None:
    source = kohya(tmp_path / "x.safetensors", "sd1")
    saved = converted(source, "comfyui", precision="bf16")
    metadata = read_header(saved).metadata
    (step,) = read_recipe(metadata)
    assert (step["op"], step["form"], step["precision"], step["source"]) == ("convert", "comfyui", "bf16", "x")
    assert len(str(step["autov3"])) == 12
    assert (metadata["modelspec.title"], metadata["ss_output_name"]) == ("Girl", "y")


def test_no_file_is_replaced_unasked(tmp_path: Path) -> None:
    lora = {f"{LINEAR}.{name}": one for name, one in sample("linear").items()}
    source = write_tensors(tmp_path / "x.safetensors", lora, {})
    options = ConvertOptions("peft")
    (tmp_path / "adapter_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(FileError, match="exists already"):
        write(source, options, tmp_path / "y.safetensors")
    with pytest.raises(InputError, match="made of"):
        write(source, options, source, overwrite=True)
    write(source, options, tmp_path / "y.safetensors", overwrite=True)
    config = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["r"], config["lora_alpha"], config["peft_type"]) == (2, 1.5, "LORA")
    with pytest.raises(AtelierError, match="replace those of the old one"):
        write(tmp_path / "y.safetensors", options, tmp_path / "z.safetensors", overwrite=True)
