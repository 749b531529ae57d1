"""Checkpoints as their headers tell them: family, and which layer each tensor holds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lib_lora.blocks.presets import PresetFile
from lib_lora.errors import FileError
from lib_lora.formats.adapters import read_adapter
from lib_lora.formats.checkpoint import read_checkpoint
from lib_lora.formats.files import read_tensors, write_tensors
from lib_lora.formats.lora import LoraFile, read_lora, write_lora
from lib_lora.merge.extract_spec import ExtractSpec
from lib_lora.merge.rank_rule import RankRule
from lib_lora.merge.spec import Ingredient
from lib_lora.services import extract, into_checkpoint
from tests.merge import checkpoint_pairs as made

FLUX = {"double_blocks.0.img_attn.qkv": (96, 32), "single_blocks.37.linear1": (64, 32), "final_layer.linear": (16, 32)}
ANIMA = {
    "blocks.0.adaln_modulation_mlp.1": (32, 32),
    "blocks.27.self_attn.q_proj": (32, 2048),
    "llm_adapter.blocks.0.mlp.0": (32, 32),
}


def weights(names: dict[str, tuple[int, int]], root: str, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {f"{root}{name}.weight": torch.randn(shape, generator=generator) for name, shape in names.items()}


@pytest.mark.parametrize(
    ("family", "names", "root"),
    [("flux", FLUX, ""), ("flux", FLUX, "model.diffusion_model."), ("anima", ANIMA, "net.")],
)
def test_transformers_are_extracted_from_and_written_into_by_their_own_names(
    tmp_path: Path, family: str, names: dict[str, tuple[int, int]], root: str
) -> None:
    vae = {"vae.decoder.conv_in.weight": torch.zeros(4, 4, 3, 3)}
    old = weights(names, root, 1)
    new = {name: weight + made.low_rank(tuple(weight.shape), 2, seed=2) for name, weight in old.items()}
    original = write_tensors(tmp_path / "a.safetensors", {**old, **vae}, {})
    tuned = write_tensors(tmp_path / "b.safetensors", {**new, **vae}, {})
    assert read_checkpoint(original).family.name == family
    order = ExtractSpec(tuned=tuned, original=original, rule=RankRule("rank", 4), precision="fp32")
    _, path = extract.write(order, tmp_path / "lora.safetensors")
    lora = read_lora(path)
    assert set(lora.adapters) == {f"lora_unet_{name.replace('.', '_')}" for name in names}
    assert lora.family == family
    assert "modelspec.prediction_type" not in lora.metadata
    into = into_checkpoint.IntoSpec(original, (Ingredient(path),))
    written = into_checkpoint.write(into, tmp_path / "c.safetensors", PresetFile.parse(""))
    got, _ = read_tensors(written.path)
    assert all(torch.allclose(got[name], weight, atol=1e-5) for name, weight in new.items())
    assert torch.equal(got["vae.decoder.conv_in.weight"], vae["vae.decoder.conv_in.weight"])


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_a_unet_alone_is_known_by_the_text_that_it_reads(tmp_path: Path, family: str) -> None:
    whole = made.write_original(tmp_path / "whole.safetensors", family)
    tensors = {name: tensor for name, tensor in read_tensors(whole)[0].items() if name.startswith(made.UNET)}
    path = write_tensors(tmp_path / "unet.safetensors", tensors, {})
    found = read_checkpoint(path)
    assert found.family.name == family
    assert all(key.startswith("lora_unet_") for key in found.layers)
    text = next(key for key in read_checkpoint(whole).layers if key.startswith("lora_te"))
    query = next(key for key in found.layers if key.endswith("attn2_to_k"))
    columns = made.CROSS[family]
    parts = {
        text: {"lora_up.weight": torch.ones(192, 1), "lora_down.weight": torch.ones(1, 48)},
        query: {"lora_up.weight": torch.ones(made.WIDE, 1), "lora_down.weight": torch.ones(1, columns)},
    }
    lora = write_lora(LoraFile({k: read_adapter(k, p) for k, p in parts.items()}), tmp_path / "l.safetensors")
    order = into_checkpoint.IntoSpec(path, (Ingredient(lora),))
    written = into_checkpoint.write(order, tmp_path / "new.safetensors", PresetFile.parse(""))
    assert written.plan.unmatched == {"l": (text,)}


def test_the_last_text_layer_that_sd2_leaves_out_is_none(tmp_path: Path) -> None:
    whole = made.write_original(tmp_path / "whole.safetensors", "sd2")
    tensors, _ = read_tensors(whole)
    layer = "cond_stage_model.model.transformer.resblocks.23."
    tensors |= {f"{layer}attn.in_proj_weight": torch.zeros(6, 2), f"{layer}mlp.c_fc.weight": torch.zeros(2, 2)}
    write_tensors(whole, tensors, {}, overwrite=True)
    assert not any("layers_23" in key for key in read_checkpoint(whole).layers)


def test_what_is_no_checkpoint_of_a_known_family_is_refused(tmp_path: Path) -> None:
    refiner = {f"{made.UNET}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": torch.zeros(8, 1280)}
    vae = {"decoder.conv_in.weight": torch.zeros(4, 4)}
    torch.save(vae, tmp_path / "old.ckpt")
    for name, tensors, words in (
        ("refiner.safetensors", refiner, "no checkpoint of a family"),
        ("vae.safetensors", vae, "no checkpoint of a family"),
        ("old.ckpt", None, "is a pickle"),
    ):
        if tensors is not None:
            write_tensors(tmp_path / name, tensors, {})
        with pytest.raises(FileError, match=words):
            read_checkpoint(tmp_path / name)
