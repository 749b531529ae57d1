"""Every spelling of a LoRA's names becomes the same modules, for every family; what is not known is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lib_lora.architectures.modules import ModuleName
from lib_lora.errors import FileError
from lib_lora.formats.contents import contents_of
from lib_lora.formats.dialects import kohya_spelling
from lib_lora.formats.families import family_of
from lib_lora.formats.files import write_tensors
from lib_lora.formats.keys import find_module, module_table
from lib_lora.formats.lora import read_lora
from tests.cases import case

KOHYA = ("lora_down.weight", "lora_up.weight", "alpha")
PEFT = ("lora_A.weight", "lora_B.weight", "")

WIDTHS = {"sd1": 768, "sd2": 1024, "sdxl": 2048}

ENCODERS = {"te": "text_encoder", "te1": "text_encoder", "te2": "text_encoder_2"}
CLIPS = {"te": "clip_l", "te1": "clip_l", "te2": "clip_g"}

Spell = Callable[[ModuleName], str]


def flat(path: str) -> str:
    return path.replace(".", "_")


def spelled(unet: str, text: Spell) -> Spell:
    return lambda module: text(module) if module.part != "unet" else unet.format(d=module.diffusers, l=module.ldm)


def underscored(unet: str, text: str) -> Spell:
    def spell(module: ModuleName) -> str:
        if module.part != "unet":
            return text.format(part=module.part, path=flat(module.diffusers))
        return unet.format(d=flat(module.diffusers), l=flat(module.ldm))

    return spell


def without_model(module: ModuleName) -> str:
    return module.diffusers.removeprefix("text_model.")


DIALECTS: dict[str, tuple[Spell, tuple[str, str, str]]] = {
    "kohya, diffusers names": (underscored("lora_unet_{d}", "lora_{part}_{path}"), KOHYA),
    "kohya, LDM names": (underscored("lora_unet_{l}", "lora_{part}_{path}"), KOHYA),
    "kohya with PEFT's parts": (underscored("lora_unet_{d}", "lora_{part}_{path}"), PEFT),
    "kohya, an adapter's name in the parts": (
        underscored("lora_unet_{d}", "lora_{part}_{path}"),
        ("lora_A.default.weight", "lora_B.default.weight", ""),
    ),
    "text encoder without text_model": (
        lambda m: m.key if m.part == "unet" else f"lora_{m.part}_{flat(without_model(m))}",
        KOHYA,
    ),
    "diffusers": (spelled("unet.{d}", lambda m: f"{ENCODERS[m.part]}.{m.diffusers}"), PEFT),
    "diffusers, transformers 5": (spelled("unet.{d}", lambda m: f"{ENCODERS[m.part]}.{without_model(m)}"), PEFT),
    "diffusers, linear layers": (
        spelled("unet.{d}", lambda m: f"{ENCODERS[m.part]}.{m.diffusers}"),
        ("lora_linear_layer.down.weight", "lora_linear_layer.up.weight", ""),
    ),
    "diffusers, compiled": (
        spelled("unet._orig_mod.{d}", lambda m: f"{ENCODERS[m.part]}._orig_mod.{m.diffusers}"),
        PEFT,
    ),
    "diffusers in PEFT": (
        spelled("base_model.model.unet.{d}", lambda m: f"base_model.model.{ENCODERS[m.part]}.{m.diffusers}"),
        PEFT,
    ),
    "PEFT in diffusers": (
        spelled("unet.base_model.model.{d}", lambda m: f"{ENCODERS[m.part]}.base_model.model.{m.diffusers}"),
        ("lora_A.default.weight", "lora_B.default.weight", ""),
    ),
    "ComfyUI": (
        spelled("diffusion_model.{l}", lambda m: f"text_encoders.{CLIPS[m.part]}.transformer.{m.diffusers}"),
        PEFT,
    ),
    "ComfyUI, short": (spelled("diffusion_model.{l}", lambda m: f"{CLIPS[m.part]}.transformer.{m.diffusers}"), KOHYA),
    "OneTrainer, original": (spelled("unet.{l}", lambda m: f"{CLIPS[m.part]}.{m.diffusers}"), KOHYA),
    "a checkpoint's names": (
        spelled("model.diffusion_model.{l}", lambda m: f"{ENCODERS[m.part]}.{m.diffusers}"),
        KOHYA,
    ),
    "kohya, dotted": (spelled("lora_unet.{d}", lambda m: f"lora_{m.part}.{m.diffusers}"), KOHYA),
}


def tensors_of(
    module: ModuleName, name: str, parts: tuple[str, str, str], *, family: str, number: int
) -> dict[str, Tensor]:
    """Return a module's tensors with widths that tell the family; its first number tells it from all others."""
    inputs = WIDTHS[family] if ".attn2.to_k" in module.diffusers else 8
    down, up, alpha = parts
    found = {f"{name}.{down}": torch.full((2, inputs), float(number)), f"{name}.{up}": torch.ones(4, 2)}
    return {**found, f"{name}.{alpha}": torch.tensor(2.0)} if alpha else found


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_every_spelling_means_the_same_modules(tmp_path: Path, family: str, dialect: str) -> None:
    spell, parts = DIALECTS[dialect]
    table = (
        module_table(family, conv=True)[::7]
        + [m for m in module_table(family) if m.diffusers.endswith("attn2.to_k")][:1]
    )
    table = list(dict.fromkeys(table))
    tensors: dict[str, Tensor] = {}
    for number, module in enumerate(table):
        tensors |= tensors_of(module, spell(module), parts, family=family, number=number)
    lora = read_lora(write_tensors(tmp_path / "x.safetensors", tensors, {}))
    assert lora.family == family
    assert not lora.extras
    assert len(lora.adapters) == len(table)
    for key, adapter in lora.adapters.items():
        module = table[int(adapter.parameters()[1].flatten()[0])]
        assert find_module(key, family) == module
        assert key == module.key or family == "sdxl"
        assert adapter.scale() == 1.0


def only(tmp_path: Path, down: str, up: str, inputs: int = 8) -> list[str]:
    path = write_tensors(tmp_path / "x.safetensors", {down: torch.ones(2, inputs), up: torch.ones(4, 2)}, {})
    return list(read_lora(path).adapters)


def pair(root: str, down: str = "lora_A.weight", up: str = "lora_B.weight") -> tuple[str, str]:
    return f"{root}.{down}", f"{root}.{up}"


@pytest.mark.parametrize(
    ("names", "key"),
    [
        (pair("mid_block.attentions.0.proj_in"), "lora_unet_mid_block_attentions_0_proj_in"),
        (pair("middle_block.1.proj_in"), "lora_unet_middle_block_1_proj_in"),
        (pair("base_model.model.encoder.layers.1.mlp.fc1"), "lora_te_text_model_encoder_layers_1_mlp_fc1"),
        (pair("base_model.model.text_model.encoder.layers.1.mlp.fc1"), "lora_te_text_model_encoder_layers_1_mlp_fc1"),
        (pair("text_encoder_2.text_projection"), "lora_te2_text_projection"),
        (pair("transformer.text_model.encoder.layers.1.mlp.fc1"), "lora_te_text_model_encoder_layers_1_mlp_fc1"),
        (
            pair("mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_out_lora", "down.weight", "up.weight"),
            "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_out_0",
        ),
        (
            pair("text_encoder.text_model.encoder.layers.1.self_attn.to_out_lora", "down.weight", "up.weight"),
            "lora_te_text_model_encoder_layers_1_self_attn_out_proj",
        ),
        (
            pair("lycoris_down_blocks_0_attentions_0_proj_in", "lora_down.weight", "lora_up.weight"),
            "lora_unet_down_blocks_0_attentions_0_proj_in",
        ),
        (
            pair("lycoris_encoder_layers_1_mlp_fc1", "lora_down.weight", "lora_up.weight"),
            "lora_te_text_model_encoder_layers_1_mlp_fc1",
        ),
        (
            pair("cond_stage_model.model.transformer.resblocks.3.mlp.c_fc"),
            "lora_te_text_model_encoder_layers_3_mlp_fc1",
        ),
        (
            pair("lycoris_te2_text_model_encoder_layers_1_mlp_fc1", "lora_down.weight", "lora_up.weight"),
            "lora_te2_text_model_encoder_layers_1_mlp_fc1",
        ),
        (pair("diffusion_model.double_blocks.0.img_attn.proj"), "lora_unet_double_blocks_0_img_attn_proj"),
        (pair("transformer.transformer_blocks.0.attn.to_q"), "lora_transformer_transformer_blocks_0_attn_to_q"),
    ],
)
def test_each_programs_spelling_of_a_module_is_the_same_layer(tmp_path: Path, names: tuple[str, str], key: str) -> None:
    assert only(tmp_path, *names) == [key]


def test_the_wide_second_text_encoder_is_known_by_its_width(tmp_path: Path) -> None:
    names = pair("base_model.model.encoder.layers.0.self_attn.q_proj")
    assert only(tmp_path, *names, inputs=1280) == ["lora_te2_text_model_encoder_layers_0_self_attn_q_proj"]


def test_a_spelling_that_nobody_knows_is_named(tmp_path: Path) -> None:
    tensors = {"model.layers.0.somewhere.lora_A.weight": torch.ones(2, 2), "weird|q|lora_up.weight": torch.ones(2, 2)}
    path = write_tensors(tmp_path / "x.safetensors", tensors, {})
    for read in (read_lora, contents_of):
        with pytest.raises(
            FileError, match=r"spelling of this LoRA's names is not known.*x\.safetensors, model\.layers"
        ):
            read(path)
    mixed = {
        **tensors,
        "lora_unet_a.lora_up.weight": torch.ones(2, 2),
        "lora_unet_a.lora_down.weight": torch.ones(2, 2),
    }
    path = write_tensors(tmp_path / "y.safetensors", mixed, {})
    with pytest.raises(FileError, match="unknown kind"):
        read_lora(path)
    assert set(contents_of(path).unknown) == set(tensors)
    assert contents_of(path).not_applied == ("unknown",)


def test_a_lora_in_an_unknown_spelling_is_not_called_a_checkpoint(tmp_path: Path) -> None:
    names = ("double_blocks.0.processor.qkv_lora1.down.weight", "double_blocks.0.processor.qkv_lora1.up.weight")
    path = write_tensors(tmp_path / "x.safetensors", {name: torch.zeros(2, 2) for name in names}, {})
    with pytest.raises(FileError, match="spelling of this LoRA's names is not known"):
        read_lora(path)


def test_the_projection_behind_sdxls_second_text_encoder_is_a_layer(tmp_path: Path) -> None:
    table = {"text_encoder_2.text_projection": 1280, "text_encoder_2.encoder.layers.0.self_attn.q_proj": 1280}
    tensors: dict[str, Tensor] = {}
    for name, width in table.items():
        tensors |= {f"{name}.lora_A.weight": torch.ones(2, width), f"{name}.lora_B.weight": torch.ones(width, 2)}
    contents = contents_of(write_tensors(tmp_path / "x.safetensors", tensors, {}))
    assert (contents.family, contents.strangers) == ("sdxl", ())
    assert find_module("lora_te1_text_projection", "sdxl") is find_module("lora_te_text_projection", "sd1") is None


def test_a_checkpoint_is_no_lora(tmp_path: Path) -> None:
    names = ("input_blocks.1.0.in_layers.2.weight", "input_blocks.1.0.in_layers.2.bias", "out.2.weight")
    tensors = {f"model.diffusion_model.{name}": torch.ones(2, 2) for name in names}
    path = write_tensors(tmp_path / "x.safetensors", tensors, {})
    for read in (read_lora, contents_of):
        with pytest.raises(FileError, match="holds no LoRA"):
            read(path)


@pytest.mark.parametrize("name", ["diffusion_model", "onetrainer", "attn_procs"])
def test_files_of_other_programs(name: str) -> None:
    lora = read_lora(case("key-dialects") / f"{name}.safetensors")
    assert (lora.family, len(lora.adapters), set(lora.blocks())) == (
        "sd1",
        40,
        {"IN01", "IN02", "IN04", "IN05", "IN07"},
    )
    assert all(find_module(key, "sd1") is not None for key in lora.adapters)


def test_transformers_5_and_peft_alone_are_text_encoders() -> None:
    both = read_lora(case("df_both_transformers5") / "df_both_transformers5.safetensors")
    assert len(both.blocks()["BASE"]) == 12
    alone = read_lora(case("peft_lora_te") / "adapter_model.safetensors")
    assert set(alone.blocks()) == {"BASE"}
    assert all(find_module(key, "sd1") is not None for key in (*both.adapters, *alone.adapters))


UP_CHANNELS = {"sd1": {"up_blocks.1.": 1280, "up_blocks.2.": 640}, "sdxl": {"up_blocks.1.": 640, "up_blocks.2.": 320}}


@pytest.mark.parametrize("family", UP_CHANNELS)
@pytest.mark.parametrize("spelling", ["diffusers", "ldm"])
def test_a_file_of_one_kind_of_layer_is_of_its_own_family(family: str, spelling: str) -> None:
    for kind in ("proj_in", "proj_out", "conv1", "conv2", "attn1.to_q", "ff.net.2", "conv_shortcut", "time_emb_proj"):
        modules = [m for m in module_table(family, conv=True) if m.part == "unet" and m.diffusers.endswith(kind)]
        names = [f"unet.{getattr(module, spelling)}" for module in modules]
        channels = [UP_CHANNELS[family].get(module.diffusers[:12], 4) for module in modules]
        shapes = {f"{name}.lora_A.weight": (4, 4) for name in names}
        shapes |= {f"{name}.lora_B.weight": (out, 4) for name, out in zip(names, channels, strict=True)}
        spelled, _ = kohya_spelling(shapes)
        assert family_of({new: shapes[name] for name, new in spelled.items()}) == family, kind
        assert all(find_module(name.partition(".")[0], family) for name in spelled.values()), kind


def test_half_a_text_encoder_beside_it_changes_nothing() -> None:
    names = ["unet.up_blocks.0.attentions.0.proj_in", "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"]
    spelled, _ = kohya_spelling({f"{name}.lora_{side}.weight": (4, 768) for name in names for side in "AB"})
    assert {name.partition(".")[0] for name in spelled.values()} == {
        "lora_unet_up_blocks_0_attentions_0_proj_in",
        "lora_te1_text_model_encoder_layers_0_self_attn_q_proj",
    }


def test_an_adapters_name_may_hold_dots() -> None:
    path = "unet.mid_block.attentions.0.proj_in"
    for name in ("", ".default", ".my.adapter", ".v1.0.2"):
        spelled, _ = kohya_spelling({f"{path}.lora_{ab}{name}.weight": (4, 4) for ab in "AB"})
        assert {new.partition(".")[2] for new in spelled.values()} == {"lora_down.weight", "lora_up.weight"}, name
    assert kohya_spelling({f"{path}.lora_A.my.adapter.weight_scale": (1,)})[0] == {}
