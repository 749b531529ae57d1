"""Anima's and Flux' files are read, labeled, baked and merged by block, in kohya's and in ComfyUI's names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lib_lora.blocks.layouts import attention_layout, full_layout
from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.weights import BlockWeights, fit
from lib_lora.errors import InputError
from lib_lora.formats.contents import contents_of
from lib_lora.formats.editing import Edit, write_copy
from lib_lora.formats.families import family_of
from lib_lora.formats.files import read_tensors, write_tensors
from lib_lora.formats.inspection import inspection
from lib_lora.formats.keys import block_of_key
from lib_lora.formats.lora import read_lora, write_lora
from lib_lora.merge.make import make
from lib_lora.merge.spec import Ingredient, MergeSpec

ANIMA = [
    ("self_attn.q_proj", 2048),
    ("cross_attn.k_proj", 1024),
    ("mlp.layer1", 2048),
    ("adaln_modulation_mlp.1", 2048),
]
"""Modules of a block and what they read, as other programs' lists of Anima's keys have them."""
DEPTHS = [("anima", 28), ("anima-2.9b", 40), ("anima-3.8b", 52)]
PRESETS = PresetFile.shipped()


def pair(name: str, width: int, *, comfy: bool) -> dict[str, Tensor]:
    """Return a module of rank 1 that reads ``width`` numbers; kohya's with alpha 1."""
    generator = torch.Generator().manual_seed(len(name))
    down, up = torch.randn(1, width, generator=generator), torch.randn(4, 1, generator=generator)
    if comfy:
        return {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
    return {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": torch.tensor(1.0)}


def anima(path: Path, *, depth: int = 28, comfy: bool = False, text: bool = True) -> Path:
    tensors: dict[str, Tensor] = {}
    modules = [(f"blocks.{n}.{leaf}", width) for n in range(depth) for leaf, width in ANIMA]
    for name, width in [*modules, ("llm_adapter.blocks.0.self_attn.q_proj", 1024)] if text else modules:
        key = f"diffusion_model.{name}" if comfy else "lora_unet_" + name.replace(".", "_")
        tensors |= pair(key, width, comfy=comfy)
    if text:
        key = "text_encoder.qwen3.layers.0.self_attn.q_proj" if comfy else "lora_te_layers_0_self_attn_q_proj"
        tensors |= pair(key, 1024, comfy=comfy)
    return write_tensors(path, tensors, {"ss_output_name": path.stem})


def flux(path: Path) -> Path:
    tensors: dict[str, Tensor] = {}
    modules = {
        "lora_unet_double_blocks_3_img_attn_qkv": 3072,
        "lora_unet_single_blocks_37_linear1": 3072,
        "lora_unet_img_in": 64,
        "lora_te1_text_model_encoder_layers_0_mlp_fc1": 768,
        "lora_te3_encoder_block_0_layer_0_SelfAttention_q": 4096,
    }
    for key, width in modules.items():
        tensors |= pair(key, width, comfy=False)
    return write_tensors(path, tensors, {})


@pytest.mark.parametrize(("family", "depth"), DEPTHS)
def test_anima_is_told_with_its_depth(tmp_path: Path, family: str, depth: int) -> None:
    told = inspection(anima(tmp_path / "x.safetensors", depth=depth))
    assert told["family"] == family
    assert list(told["blocks"]) == ["BASE", *(f"B{n:02d}" for n in range(depth))]
    assert len(attention_layout(family).names) == depth
    assert full_layout(family).names[1:] == attention_layout(family).names


def test_both_spellings_of_anima_are_the_same_modules(tmp_path: Path) -> None:
    kohya = read_lora(anima(tmp_path / "a.safetensors"))
    comfy = read_lora(anima(tmp_path / "b.safetensors", comfy=True))
    assert set(comfy.adapters) == set(kohya.adapters)
    assert comfy.blocks().keys() == kohya.blocks().keys()
    assert contents_of(tmp_path / "b.safetensors").unknown == ()


def in_diffusers_names(path: Path, names: Mapping[str, int]) -> Path:
    tensors: dict[str, Tensor] = {}
    for name, width in names.items():
        tensors |= pair(name, width, comfy=True)
    return write_tensors(path, tensors, {})


@pytest.mark.parametrize("root", ["transformer.", "base_model.model."])
def test_diffusers_names_of_anima_are_the_same_modules(tmp_path: Path, root: str) -> None:
    converted = pytest.importorskip("diffusers.loaders.lora_conversion_utils")
    own = read_tensors(anima(tmp_path / "a.safetensors", comfy=True, text=False))[0]
    own |= pair("diffusion_model.final_layer.linear", 2048, comfy=True)
    own |= pair("diffusion_model.t_embedder.1.linear_1", 2048, comfy=True)
    theirs = converted._convert_non_diffusers_anima_lora_to_diffusers(own)
    theirs = {name.replace("transformer.", root, 1): tensor for name, tensor in theirs.items()}
    wanted = read_lora(write_tensors(tmp_path / "own.safetensors", own, {}))
    lora = read_lora(write_tensors(tmp_path / "theirs.safetensors", theirs, {}))
    assert (lora.family, set(lora.adapters)) == ("anima", set(wanted.adapters))
    assert all(torch.equal(lora.adapters[key].delta(), one.delta()) for key, one in wanted.adapters.items())
    assert (contents_of(lora.path).unknown, lora.blocks().keys()) == ((), wanted.blocks().keys())


def test_animas_text_conditioner_is_its_adapter(tmp_path: Path) -> None:
    name = "text_conditioner.blocks.0.self_attn.q_proj"
    lora = read_lora(in_diffusers_names(tmp_path / "x.safetensors", {name: 1024}))
    assert (lora.family, list(lora.adapters)) == ("anima", ["lora_unet_llm_adapter_blocks_0_self_attn_q_proj"])
    assert list(lora.blocks()) == ["BASE"]


@pytest.mark.parametrize(
    "names",
    [
        {"transformer.transformer_blocks.0.attn1.to_q": 2048, "transformer.transformer_blocks.0.attn2.to_k": 2048},
        {"transformer.transformer_blocks.0.attn1.to_q": 2048},
        {"transformer.transformer_blocks.0.attn1.to_q": 1152, "transformer.transformer_blocks.0.attn2.to_k": 1152},
        {"transformer.transformer_blocks.0.attn1.to_q": 5120, "transformer.transformer_blocks.0.attn2.to_k": 1024},
    ],
)
def test_other_transformers_with_diffusers_names_are_not_anima(tmp_path: Path, names: Mapping[str, int]) -> None:
    assert inspection(in_diffusers_names(tmp_path / "x.safetensors", names))["family"] == "unknown"


@pytest.mark.parametrize(
    ("name", "width", "family"),
    [
        ("lora_unet_blocks_0_self_attn_q_proj", 2048, "anima"),
        ("lora_unet_llm_adapter_blocks_5_mlp_0", 1024, "anima"),
        ("lora_te_layers_20_self_attn_q_proj", 1024, "anima"),
        ("lora_unet_blocks_0_self_attn_q_proj", 5120, "unknown"),  # Cosmos-Predict2 14B
        ("lora_unet_blocks_52_self_attn_q_proj", 2048, "unknown"),
        ("lora_unet_blocks_0_self_attn_q", 5120, "unknown"),  # Wan
        ("lora_te_layers_20_self_attn_q_proj", 2560, "unknown"),  # Qwen3-4B
    ],
)
def test_models_with_similar_names_are_told_apart(name: str, width: int, family: str) -> None:
    assert family_of({f"{name}.lora_down.weight": (4, width), f"{name}.lora_up.weight": (4, 4)}) == family


def test_llm_adapter_belongs_to_the_text() -> None:
    for key in ("lora_unet_llm_adapter_blocks_0_x", "lora_llm_adapter_blocks_0_x", "lora_te_layers_0_x"):
        assert block_of_key(key, "anima") == "BASE"
    assert block_of_key("lora_unet_final_layer_linear", "anima") == "other"


def test_vector_of_the_blocks_alone_leaves_the_text_encoder() -> None:
    weights = fit(BlockWeights.parse(",".join(["0.5"] * 28)), "anima")
    assert (weights["BASE"], weights["B00"], weights["B27"]) == (1.0, 0.5, 0.5)
    assert fit(BlockWeights.parse(",".join(["0"] * 57)), "flux")["T5"] == 1.0
    with pytest.raises(InputError, match="B28"):
        fit(BlockWeights.parse(",".join(["1"] * 28)), "anima-2.9b")
    with pytest.raises(InputError, match="B28"):
        fit(BlockWeights.parse(",".join(["1"] * 40)), "anima")
    with pytest.raises(InputError, match=r"written for Anima 2\.9B"):  # B05 is another layer there
        fit(BlockWeights.parse(",".join(["1"] * 28 + ["0"] * 12)), "anima")


@pytest.mark.parametrize("front", [(), ("0.25",)], ids=["28", "29"])
def test_anima_is_baked_by_block_and_labeled(tmp_path: Path, front: tuple[str, ...]) -> None:
    path = anima(tmp_path / "x.safetensors", comfy=True)
    before = read_lora(path)
    vector = ",".join((*front, *["1"] * 3, "0.5", *["0"] * 24))
    made = make(MergeSpec((Ingredient(path, blocks=vector),)), PRESETS)
    saved = read_lora(write_lora(made.lora, tmp_path / "y.safetensors"))
    assert list(saved.blocks()) == ["BASE", "B00", "B01", "B02", "B03"]
    wanted = {"BASE": float(front[0]) if front else 1.0, "B00": 1.0, "B03": 0.5}
    for block, q in wanted.items():
        for key in saved.blocks()[block]:
            torch.testing.assert_close(saved.adapters[key].delta(), q * before.adapters[key].delta())
    assert saved.metadata["ss_base_model_version"] == "anima"
    assert saved.metadata["modelspec.architecture"] == "anima-preview/lora"
    write_copy(tmp_path / "y.safetensors", tmp_path / "z.safetensors", Edit({"title": "Z"}))
    assert inspection(tmp_path / "z.safetensors")["family"] == "anima"


def test_anima_files_are_added_in_either_spelling_but_not_across_depths(tmp_path: Path) -> None:
    one, two = anima(tmp_path / "a.safetensors"), anima(tmp_path / "b.safetensors", comfy=True, text=False)
    made = make(MergeSpec((Ingredient(one), Ingredient(two, 0.5))), PRESETS)
    key = "lora_unet_blocks_7_mlp_layer1"
    first, second = read_lora(one).adapters[key], read_lora(two).adapters[key]
    torch.testing.assert_close(made.lora.adapters[key].delta(), first.delta() + 0.5 * second.delta())
    assert len(made.lora.adapters) == 28 * len(ANIMA) + 2
    deep = anima(tmp_path / "c.safetensors", depth=40)
    with pytest.raises(InputError, match=r"anima-2\.9b"):
        make(MergeSpec((Ingredient(one), Ingredient(deep))), PRESETS)


@pytest.mark.parametrize("count", [57, 61])
def test_flux_is_baked_with_either_length(tmp_path: Path, count: int) -> None:
    path = flux(tmp_path / "x.safetensors")
    names = (full_layout if count == 61 else attention_layout)("flux").names
    vector = ",".join("0.5" if name == "D03" else "1" for name in names)
    made = make(MergeSpec((Ingredient(path, blocks=vector),)), PRESETS)
    (used,) = made.used
    assert used[1] == {"CLIP": 1.0, "T5": 1.0, "D03": 0.5, "S37": 1.0} | {"IN": 1.0 if count == 61 else 0.0}
    saved = write_lora(made.lora, tmp_path / "y.safetensors")
    assert inspection(saved)["family"] == "flux"
    assert read_lora(saved).metadata["ss_base_model_version"] == "flux1"
