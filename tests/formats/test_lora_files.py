from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from lib_lora.errors import FileError, InputError
from lib_lora.formats.files import read_tensors, write_tensors
from lib_lora.formats.hashes import legacy_hash, tensor_hash
from lib_lora.formats.header import read_header
from lib_lora.formats.keys import module_table
from lib_lora.formats.lora import LoraFile, read_lora, write_lora
from tests.formats.lora_samples import SHAPES, TEXT, key_for, reference, relative, sample

Q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"


def save(path: Path, modules: dict[str, dict[str, Tensor]], metadata: dict | None = None, **extras: Tensor) -> Path:
    tensors = {f"{key}.{part}": tensor for key, parts in modules.items() for part, tensor in parts.items()}
    safetensors.torch.save_file({**tensors, **extras}, path, metadata)
    return path


@pytest.mark.parametrize("kind", sorted(SHAPES))
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_every_kind_and_type_survives_a_round_trip(tmp_path: Path, kind: str, dtype: torch.dtype) -> None:
    parts = sample(kind, dtype=dtype)
    source = save(tmp_path / "x.safetensors", {key_for(kind): parts}, {"ss_seed": "7"})
    target = write_lora(read_lora(source), tmp_path / "y.safetensors")
    found, metadata = read_tensors(target)
    assert metadata["ss_seed"] == "7"
    for name, tensor in parts.items():
        again = found[f"{key_for(kind)}.{name}"]
        assert torch.equal(again.float(), tensor.float())
        assert again.dtype == (torch.float32 if name == "alpha" else dtype)


def test_bundled_embeddings_and_strangers_are_written_back(tmp_path: Path) -> None:
    extras = {"bundle_emb.face.string_to_param.*": torch.ones(2, 3), "emb_params": torch.arange(3)}
    source = save(tmp_path / "x.safetensors", {key_for("linear"): sample("linear")}, **extras)
    lora = read_lora(source)
    assert lora.extras.keys() == extras.keys()
    found, _ = read_tensors(write_lora(lora, tmp_path / "y.safetensors", dtype=torch.float16))
    assert all(
        torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype for name, tensor in extras.items()
    )


def test_written_files_have_true_hashes_and_what_readers_need(tmp_path: Path) -> None:
    source = save(tmp_path / "x.safetensors", {key_for("linear"): sample("linear")}, {"sshs_model_hash": "0xbad"})
    target = write_lora(read_lora(source), tmp_path / "新しい 名前, (1).safetensors")
    metadata = read_header(target).metadata
    assert metadata["sshs_model_hash"] == tensor_hash(target)
    assert metadata["sshs_legacy_hash"] == legacy_hash(target)
    assert metadata["ss_output_name"] == "新しい 名前, (1)"
    assert metadata["ss_base_model_version"] == "sd_v1"
    assert metadata["ss_v2"] == "False"
    assert (metadata["ss_network_dim"], metadata["ss_network_alpha"]) == ("2", "1.5")
    assert metadata["modelspec.architecture"] == "stable-diffusion-v1/lora"


def test_blocks_and_family_follow_from_the_keys(tmp_path: Path) -> None:
    modules = {key_for("conv3x3"): sample("conv3x3"), TEXT: sample("linear"), key_for("linear"): sample("linear")}
    modules["lora_unet_time_embedding_linear_1"] = sample("linear")
    lora = read_lora(save(tmp_path / "x.safetensors", modules))
    assert lora.family == "sd1"
    assert list(lora.blocks()) == ["BASE", "IN01", "M00", "other"]
    assert lora.blocks()["BASE"] == [TEXT]
    assert lora.name == "x"


@pytest.mark.parametrize(
    ("family", "conv", "count"),
    [("sd1", False, 264), ("sd1", True, 350), ("sd2", False, 330), ("sdxl", False, 986), ("sdxl", True, 1052)],
)
def test_complete_files_of_a_family_are_read_whole(tmp_path: Path, family: str, conv: bool, count: int) -> None:
    widths = {"sd1": 768, "sd2": 1024, "sdxl": 2048}
    table = module_table(family, conv)
    tensors = {}
    for module in table:
        width = widths[family] if module.diffusers.endswith(("attn2.to_k", "attn2.to_v")) else 8
        tensors[f"{module.key}.lora_down.weight"] = torch.ones(1, width)
        tensors[f"{module.key}.lora_up.weight"] = torch.ones(8, 1)
    lora = read_lora(write_tensors(tmp_path / "x.safetensors", tensors, {}))
    assert lora.family == family
    assert len(lora.adapters) == count
    blocks = {key: block for block, keys in lora.blocks().items() for key in keys}
    assert blocks == {module.key: module.block for module in table}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_numbers_are_refused_with_module_names(tmp_path: Path, value: float) -> None:
    parts = sample("linear")
    parts["lora_up.weight"][1, 1] = value
    path = save(tmp_path / "x.safetensors", {key_for("linear"): parts, TEXT: sample("linear")})
    with pytest.raises(FileError, match=f"1 module holds NaN.*{key_for('linear')}"):
        read_lora(path)


def test_files_without_a_lora_or_of_mixed_kinds_say_so(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no LoRA"):
        read_lora(save(tmp_path / "a.safetensors", {}, a=torch.ones(2)))
    parts = {**sample("linear"), "oft_diag": torch.ones(2, 3, 3)}
    with pytest.raises(FileError, match=r"oft_diag is not understood.*b\.safetensors, lora_unet"):
        read_lora(save(tmp_path / "b.safetensors", {key_for("linear"): parts}))


STYLES = {
    "peft": (f"unet.{Q}.lora_A.weight", f"unet.{Q}.lora_B.weight"),
    "peft_named": (f"unet.{Q}.lora_A.default.weight", f"unet.{Q}.lora_B.default.weight"),
    "plain_peft": (f"base_model.model.{Q}.lora_A.weight", f"base_model.model.{Q}.lora_B.weight"),
    "linear_layer": (f"unet.{Q}.lora_linear_layer.down.weight", f"unet.{Q}.lora_linear_layer.up.weight"),
    "lora": (f"unet.{Q}.lora.down.weight", f"unet.{Q}.lora.up.weight"),
    "processor": (
        f"unet.{Q.removesuffix('.to_q')}.processor.to_q_lora.down.weight",
        f"unet.{Q.removesuffix('.to_q')}.processor.to_q_lora.up.weight",
    ),
    "kohya_peft": (f"{key_for('linear')}.lora_A.weight", f"{key_for('linear')}.lora_B.weight"),
}


@pytest.mark.parametrize("style", sorted(STYLES))
def test_dotted_names_become_kohyas_with_the_same_delta(tmp_path: Path, style: str) -> None:
    parts = sample("linear", alpha=None)
    down, up = STYLES[style]
    path = write_tensors(tmp_path / "x.safetensors", {down: parts["lora_down.weight"], up: parts["lora_up.weight"]}, {})
    lora = read_lora(path)
    assert list(lora.adapters) == [key_for("linear")]
    assert relative(lora.adapters[key_for("linear")].delta(), reference(parts)) < 1e-6


def test_text_encoders_and_out_projections_get_their_kohya_names(tmp_path: Path) -> None:
    out = Q.replace("to_q", "to_out.0")
    text = "text_model.encoder.layers.0.self_attn.q_proj"
    tensors = {}
    for path in (f"unet.{out}", f"text_encoder.{text}"):
        tensors |= {f"{path}.lora_A.weight": torch.ones(2, 8), f"{path}.lora_B.weight": torch.ones(6, 2)}
    lora = read_lora(write_tensors(tmp_path / "x.safetensors", tensors, {}))
    assert set(lora.adapters) == {key_for("linear").replace("to_q", "to_out_0"), TEXT}
    for part in ("A", "B"):
        tensors[f"text_encoder_2.{text}.lora_{part}.weight"] = torch.ones(2, 2)
    second = read_lora(write_tensors(tmp_path / "y.safetensors", tensors, {}))
    assert {key.split("_")[1] for key in second.adapters} == {"unet", "te1", "te2"}


def test_alpha_comes_from_the_headers_options_and_only_once(tmp_path: Path) -> None:
    other = Q.replace("to_q", "to_k")
    tensors = {f"unet.{path}.lora_{ab}.weight": torch.ones(2, 2) for path in (Q, other) for ab in "AB"}
    options = {"unet.r": 2, "unet.lora_alpha": 6, "unet.alpha_pattern": {"attn1.to_k": 1}}
    metadata = {"lora_adapter_metadata": json.dumps(options)}
    lora = read_lora(write_tensors(tmp_path / "x.safetensors", tensors, metadata))
    assert [adapter.scale() for adapter in lora.adapters.values()] == [0.5, 3.0]
    again = read_lora(write_lora(lora, tmp_path / "y.safetensors"))
    assert [adapter.scale() for adapter in again.adapters.values()] == [0.5, 3.0]
    options["unet.use_rslora"] = True
    metadata = {"lora_adapter_metadata": json.dumps(options)}
    root = read_lora(write_tensors(tmp_path / "z.safetensors", tensors, metadata))
    assert root.adapters[key_for("linear")].scale() == pytest.approx(6 / 2**0.5)


def test_dotted_names_that_are_not_understood_are_never_dropped(tmp_path: Path) -> None:
    down, up = STYLES["peft"]
    good = {down: torch.ones(2, 2), up: torch.ones(2, 2)}
    bad = {
        "do not fit": {f"unet.{Q}.lora_magnitude_vector": torch.ones(3)},
        "boft_R is not understood": {f"unet.{Q}.boft_R": torch.ones(1, 1, 2, 2)},
        "unknown kind": {f"unet.{Q}.lora_embedding_A": torch.ones(2)},
        "mean the same": {f"{key_for('linear')}.lora_up.weight": 2 * torch.ones(2, 2)},
    }
    for words, more in bad.items():
        path = write_tensors(tmp_path / "x.safetensors", {**good, **more}, {}, overwrite=True)
        with pytest.raises(FileError, match=words):
            read_lora(path)
    path = write_tensors(tmp_path / "x.safetensors", good, {"lora_adapter_metadata": "{"}, overwrite=True)
    with pytest.raises(FileError, match="options"):
        read_lora(path)


def test_saving_refuses_what_the_type_cannot_hold_and_an_empty_file(tmp_path: Path) -> None:
    parts = {name: tensor * 1e6 for name, tensor in sample("linear").items()}
    lora = read_lora(save(tmp_path / "x.safetensors", {key_for("linear"): parts}))
    with pytest.raises(InputError, match="too large"):
        write_lora(lora, tmp_path / "y.safetensors", dtype=torch.float16)
    with pytest.raises(InputError, match="nothing"):
        write_lora(LoraFile({}), tmp_path / "y.safetensors")
    with pytest.raises(FileError, match="exists"):
        write_lora(lora, tmp_path / "x.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]
