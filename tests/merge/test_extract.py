"""Extract: what a tuned checkpoint learned, against the dense difference."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from lib_lora.architectures.registry import architecture_of
from lib_lora.architectures.stored import stored_layers
from lib_lora.errors import AtelierError, InputError, StoppedError
from lib_lora.formats.files import read_tensors, write_tensors
from lib_lora.formats.lora import LoraFile, read_lora
from lib_lora.host.studio import POCKET
from lib_lora.merge.extract_spec import ExtractSpec
from lib_lora.merge.rank_rule import RankRule
from lib_lora.merge.recipe import read_recipe
from lib_lora.services import extract
from tests.merge import checkpoint_pairs as made
from tests.told import Told

KEYS = {
    "sd1": (
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q",
        "lora_unet_down_blocks_1_resnets_0_conv1",
        "lora_te_text_model_encoder_layers_0_",
    ),
    "sd2": (
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q",
        "lora_unet_down_blocks_1_resnets_0_conv1",
        "lora_te_text_model_encoder_layers_0_",
    ),
    "sdxl": (
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q",
        "lora_unet_input_blocks_4_0_in_layers_2",
        "lora_te2_text_model_encoder_layers_0_",
    ),
}


def changed(name: str, tensor: Tensor) -> Tensor:
    """A change of rank 4 in every layer but one; norms and biases move a little."""
    if tensor.ndim == 1:
        return tensor + 0.01
    return tensor if name == made.POINT else tensor + made.low_rank(tuple(tensor.shape), 4, seed=len(name))


def pair_of(folder: Path, family: str, dtype: torch.dtype = torch.float32) -> tuple[Path, Path]:
    original = made.write_original(folder / "base.safetensors", family, dtype=dtype)
    return made.tuned_from(original, folder / "tuned.safetensors", changed), original


def extracted(folder: Path, tuned: Path, original: Path, **more: object) -> tuple[LoraFile, list[str], extract.Made]:
    order = ExtractSpec(tuned=tuned, original=original, **more)
    result, path = extract.write(order, folder / "out.safetensors", overwrite=True)
    return read_lora(path), [note for _, note in result.notes], result


def differences(tuned: Path, original: Path) -> dict[str, Tensor]:
    new, old = read_tensors(tuned)[0], read_tensors(original)[0]
    return {name: new[name].double() - old[name].double() for name in new}


def relative(got: Tensor, wanted: Tensor) -> float:
    return float((got.double().flatten() - wanted.double().flatten()).norm() / wanted.double().norm())


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_a_change_of_low_rank_is_found_whole_in_every_layer_and_the_fused_ones(tmp_path: Path, family: str) -> None:
    tuned, original = pair_of(tmp_path, family)
    before = made.digest(tuned), made.digest(original)
    lora, notes, result = extracted(tmp_path, tuned, original, rule=RankRule("rank", 12), precision="fp32")
    assert (lora.family, lora.metadata["ss_v2"]) == (family, str(family == "sd2"))
    wanted, (query, conv, text) = differences(tuned, original), KEYS[family]
    assert relative(lora.adapters[query].delta(), wanted[made.QUERY]) < 1e-5
    assert relative(lora.adapters[conv].delta(), wanted[made.CONV]) < 1e-5
    assert {lora.adapters[key].rank for key in (query, conv)} == {4}  # of 12 that were asked for
    assert lora.adapters[conv].shape == (made.WIDE, made.WIDE, 3, 3)
    assert relative(lora.adapters[f"{text}mlp_fc1"].delta(), wanted[made.text_weight(family, "fc1")]) < 1e-5
    thirds = wanted[made.text_weight(family, "q")].split(made.TEXT)
    leaves = [f"{text}self_attn_{leaf}_proj" for leaf in "qkv"][: len(thirds)]
    assert len(thirds) == (1 if family == "sd1" else 3)
    for leaf, third in zip(leaves, thirds, strict=True):
        assert relative(lora.adapters[leaf].delta(), third) < 1e-5
    assert not any(key.endswith(("_proj_in", "4_1_proj_in")) for key in lora.adapters)
    assert result.report.dropped == ()  # its bias moved
    layers = 3 if family == "sdxl" else 2
    assert any(f"norms and biases in {layers} layers" in note for note in notes)
    assert any("autoencoder" in note and made.VAE in note for note in notes)
    assert all(row.relative_error < 1e-4 and row.energy_kept > 0.999 for row in result.report.rows)
    assert (made.digest(tuned), made.digest(original)) == before


def test_noise_of_fp16_is_neither_a_rank_nor_a_change(tmp_path: Path) -> None:
    original = made.write_original(tmp_path / "base.safetensors", "sd1")

    def some(name: str, tensor: Tensor) -> Tensor:
        return changed(name, tensor) if name == made.QUERY else tensor

    tuned = made.tuned_from(original, tmp_path / "tuned.safetensors", some, dtype=torch.float16)
    lora, notes, _ = extracted(tmp_path, tuned, original, rule=RankRule("rank", 20))
    assert [adapter.rank for adapter in lora.adapters.values()] == [4]
    assert any("no stronger than rounding" in note for note in notes)
    assert any("5 layers are left out: unchanged" in note for note in notes), notes


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_a_lora_cannot_hold_is_said_whatever_the_types_are(tmp_path: Path, dtype: torch.dtype) -> None:
    original = made.write_original(tmp_path / "base.safetensors", "sd1")

    def moved(name: str, tensor: Tensor) -> Tensor:
        return changed(name, tensor) if name == made.QUERY or name.endswith(made.VAE) else tensor

    def kept(name: str, tensor: Tensor) -> Tensor:
        return changed(name, tensor) if name == made.QUERY else tensor

    said = "outside of what a LoRA can hold"
    for change, count in ((moved, 1), (kept, 0)):
        tuned = made.tuned_from(original, tmp_path / f"{count}.safetensors", change, dtype=dtype)
        _, notes, _ = extracted(tmp_path, tuned, original, rule=RankRule("rank", 4))
        assert sum(said in note for note in notes) == count, notes
    tensors = safetensors.torch.load_file(tuned)
    tensors["model_ema.diffusion_modelinput_blocks00weight"] = torch.zeros(2)
    safetensors.torch.save_file(tensors, tmp_path / "ema.safetensors")
    _, notes, _ = extracted(tmp_path, tmp_path / "ema.safetensors", original, rule=RankRule("rank", 4))
    assert any("ema.safetensors holds averaged weights (EMA)" in note for note in notes)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_very_different_sizes_round_to_no_change(tmp_path: Path, dtype: torch.dtype) -> None:
    """Rounding is coarse where numbers are large: the few large ones of trained layers make the strongest noise."""
    tensors = safetensors.torch.load_file(POCKET)
    base, copy, tuned = (tmp_path / f"{name}.safetensors" for name in ("base", "copy", "tuned"))
    tails = torch.Generator().manual_seed(5)
    whole = {
        name: t.float() * (torch.randn(t.shape, generator=tails) * (0.7 if t.ndim > 1 else 0)).exp()
        for name, t in tensors.items()
    }
    safetensors.torch.save_file(whole, base)
    safetensors.torch.save_file({name: t.to(dtype) for name, t in whole.items()}, copy)
    with pytest.raises(InputError, match="differ by rounding at most"):
        extracted(tmp_path, copy, base, rule=RankRule("rank", 4))
    layer = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight"
    rows, columns = whole[layer].shape
    whole[layer] += torch.randn(rows, 2, generator=tails) @ torch.randn(2, columns, generator=tails) * 0.3
    safetensors.torch.save_file({name: t.to(dtype) for name, t in whole.items()}, tuned)
    lora, _, _ = extracted(tmp_path, tuned, base, rule=RankRule("rank", 4))
    assert [adapter.rank for adapter in lora.adapters.values()] == [2]


@pytest.mark.parametrize(
    ("rule", "wish"),
    [
        (RankRule("rank", 5), lambda s: 5),
        (RankRule("sv_ratio", 3.0), lambda s: int((s > s[0] / 3).sum())),
        (RankRule("energy", 0.6), lambda s: int((s.square().cumsum(0) < 0.6 * s.square().sum()).sum()) + 1),
        (RankRule("cumulative", 0.3), lambda s: int((s.cumsum(0) < 0.3 * s.sum()).sum()) + 1),
        (RankRule("energy", 0.99, cap=7), lambda s: 7),
    ],
)
def test_each_rule_keeps_what_it_keeps_of_the_dense_spectrum_at_the_least_error(
    tmp_path: Path, rule: RankRule, wish: object
) -> None:
    decay = torch.arange(1, 401).float() ** -0.8
    basis = [torch.linalg.qr(torch.randn(400, 400, generator=torch.Generator().manual_seed(n)))[0] for n in (1, 2)]
    change = (basis[0] * decay) @ basis[1]
    weight = torch.randn(400, 400, generator=torch.Generator().manual_seed(3)) * 0.02
    others = {made.KEY: torch.zeros(400, 768), made.text_weight("sd1", "fc1"): torch.zeros(8, 8)}
    original = write_tensors(tmp_path / "a.safetensors", {made.QUERY: weight, **others}, {})
    tuned = write_tensors(tmp_path / "b.safetensors", {made.QUERY: weight + change, **others}, {})
    lora, _, result = extracted(tmp_path, tuned, original, rule=rule, precision="fp32")
    (adapter,) = lora.adapters.values()
    sigma = torch.linalg.svdvals(change.double())
    assert adapter.rank == wish(sigma)  # type: ignore[operator]
    least = float(sigma[adapter.rank :].square().sum().sqrt() / sigma.norm())
    got = relative(adapter.delta(), change)
    assert got == pytest.approx(least, rel=2e-3)
    assert result.report.relative_error == pytest.approx(got, rel=1e-4)
    assert result.report.energy_kept == pytest.approx(1 - got**2, rel=1e-4)


def test_a_size_is_kept_and_shared_by_what_the_layers_learned(tmp_path: Path) -> None:
    original = made.write_original(tmp_path / "base.safetensors", "sdxl")

    def uneven(name: str, tensor: Tensor) -> Tensor:
        strength = 0.2 if name == made.QUERY else 0.002
        return (
            tensor if tensor.ndim == 1 else tensor + made.low_rank(tuple(tensor.shape), 30, seed=1, strength=strength)
        )

    tuned = made.tuned_from(original, tmp_path / "tuned.safetensors", uneven)
    lora, notes, result = extracted(tmp_path, tuned, original, rule=RankRule("size", 0.03))
    assert 0.029e6 < (tmp_path / "out.safetensors").stat().st_size <= 0.03e6
    ranks = {key: adapter.rank for key, adapter in lora.adapters.items()}
    assert max(ranks, key=lambda key: ranks[key]) == KEYS["sdxl"][0]
    assert ranks[KEYS["sdxl"][0]] == 30
    assert any("do not fit into the size" in note for note in notes) == (len(ranks) < 8)
    assert 0.9 < result.report.energy_kept < 1
    with pytest.raises(InputError, match="smallest possible one has") as refused:
        extracted(tmp_path, tuned, original, rule=RankRule("size", 0.001))
    least = re.search(r"has ([\d.]+) MB", str(refused.value))
    assert least is not None
    extracted(tmp_path, tuned, original, rule=RankRule("size", float(least[1])))
    assert (tmp_path / "out.safetensors").stat().st_size <= float(least[1]) * 1e6


def test_what_is_weak_beside_the_originals_own_layers_is_left_out(tmp_path: Path) -> None:
    tuned, original = pair_of(tmp_path, "sd1")
    kept = read_tensors(original)[0]
    whole, _, _ = extracted(tmp_path, tuned, original, rule=RankRule("rank", 99), precision="fp32")
    lora, _, _ = extracted(tmp_path, tuned, original, rule=RankRule("base_ratio", 1.0), precision="fp32")
    names = stored_layers(architecture_of("sd1"), kept)
    ranks = {key: lora.adapters[key].rank if key in lora.adapters else 0 for key in whole.adapters}
    for key, rank in ranks.items():
        own = torch.linalg.svdvals(kept[str(names[key].weight)].double().flatten(1))
        change = torch.linalg.svdvals(whole.adapters[key].delta().double().flatten(1))
        assert rank == int((change > own[0]).sum()), key
    assert len(set(ranks.values())) > 1


def test_convolutions_have_a_rank_of_their_own_and_text_encoders_can_stay(tmp_path: Path) -> None:
    tuned, original = pair_of(tmp_path, "sd1")
    lora, _, _ = extracted(tmp_path, tuned, original, rule=RankRule("rank", 3), conv_rank=2)
    query, conv, _ = KEYS["sd1"]
    assert (lora.adapters[query].rank, lora.adapters[conv].rank) == (3, 2)
    lora, notes, _ = extracted(tmp_path, tuned, original, conv_rank=0, text=False)
    assert conv not in lora.adapters
    assert any("1 3×3 convolution is left out" in note for note in notes)
    assert all(key.startswith("lora_unet_") for key in lora.adapters)


def test_norms_and_biases_are_kept_number_by_number_where_asked(tmp_path: Path) -> None:
    tuned, original = pair_of(tmp_path, "sd1")
    lora, notes, _ = extracted(tmp_path, tuned, original, norms=True, precision="fp32")
    wanted = differences(tuned, original)
    norm = lora.adapters["lora_unet_down_blocks_1_attentions_0_norm"]
    assert torch.allclose(norm.delta().double(), wanted[made.NORM], atol=1e-7)
    proj = lora.adapters["lora_unet_down_blocks_1_attentions_0_proj_in"]
    bias = proj.bias_delta(None)
    assert bias is not None
    assert torch.allclose(bias.double(), wanted[made.BIAS], atol=1e-7)
    assert proj.weight_part is None
    query = lora.adapters[KEYS["sd1"][0]]
    assert relative(query.delta(), wanted[made.QUERY]) < 1e-4
    assert not any("norms and biases" in note for note in notes)


def test_a_layer_whose_svd_does_not_converge_is_kept_number_by_number(tmp_path: Path, monkeypatch) -> None:
    def failing(matrix: Tensor, *_: object, **__: object) -> None:
        raise torch.linalg.LinAlgError("it does not converge")

    monkeypatch.setattr("lib_lora.merge.extract.leading", failing)
    tuned, original = pair_of(tmp_path, "sd1")
    lora, notes, result = extracted(tmp_path, tuned, original, precision="fp32")
    wanted = differences(tuned, original)
    assert relative(lora.adapters[KEYS["sd1"][0]].delta(), wanted[made.QUERY]) < 1e-6
    assert relative(lora.adapters[KEYS["sd1"][1]].delta(), wanted[made.CONV]) < 1e-6
    assert result.report.relative_error < 1e-6
    assert any("kept number by number" in note for note in notes)


def test_the_recipe_names_both_parents_by_hash_and_the_method(tmp_path: Path) -> None:
    tuned, original = pair_of(tmp_path, "sdxl")
    tensors, _ = read_tensors(tuned)
    write_tensors(tuned, tensors, {"modelspec.prediction_type": "v"}, overwrite=True)
    lora, notes, _ = extracted(tmp_path, tuned, original, rule=RankRule("energy", 0.9, cap=8), conv_rank=4)
    (step,) = read_recipe(lora.metadata)
    assert step["tuned"] == {"name": "tuned.safetensors", "sha256": made.digest(tuned)}
    assert step["original"] == {"name": "base.safetensors", "sha256": made.digest(original)}
    assert (step["op"], step["rule"], step["value"], step["cap"], step["conv_rank"]) == ("extract", "energy", 0.9, 8, 4)
    assert lora.metadata["ss_new_sd_model_hash"] == made.digest(original)
    assert lora.metadata["modelspec.prediction_type"] == "v"
    assert lora.metadata["ss_v_parameterization"] == "True"
    assert any("predicts the velocity, the original the noise" in note for note in notes)
    assert "conv_dim" in json.loads(lora.metadata["ss_network_args"])


def test_sd2_says_what_it_predicts_only_where_somebody_knows(tmp_path: Path) -> None:
    tuned, original = pair_of(tmp_path, "sd2")
    lora, notes, _ = extracted(tmp_path, tuned, original)
    assert "modelspec.prediction_type" not in lora.metadata
    assert any("does not say whether it predicts" in note for note in notes)
    lora, _, _ = extracted(tmp_path, tuned, original, prediction="v")
    assert (lora.metadata["modelspec.prediction_type"], lora.metadata["modelspec.resolution"]) == ("v", "768x768")


def test_layers_of_one_file_only_and_of_another_size_are_named(tmp_path: Path) -> None:
    tuned, original = pair_of(tmp_path, "sd1")
    tensors, _ = read_tensors(original)
    del tensors[made.POINT], tensors[made.BIAS]
    tensors[made.CONV] = torch.zeros(made.WIDE, 9, 3, 3)
    write_tensors(original, tensors, {}, overwrite=True)
    lora, notes, _ = extracted(tmp_path, tuned, original)
    assert any("1 layer is in tuned.safetensors only" in note and "proj_in" in note for note in notes)
    assert any("1 layer has another size" in note for note in notes)
    assert KEYS["sd1"][1] not in lora.adapters


def test_what_cannot_go_together_is_refused_before_any_work(tmp_path: Path) -> None:
    tuned, original = pair_of(tmp_path, "sd1")
    other = made.write_original(tmp_path / "xl.safetensors", "sdxl")
    target = tmp_path / "new.safetensors"
    lora, _, _ = extracted(tmp_path, tuned, original)
    broken = made.tuned_from(original, tmp_path / "nan.safetensors", lambda name, tensor: tensor * float("nan"))
    eighths = tmp_path / "fp8.safetensors"
    small = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in read_tensors(original)[0].items()}
    write_tensors(eighths, small, {})
    for new, old, words in (
        (tuned, other, "different families: SD1 and SDXL"),
        (tuned, tmp_path / "out.safetensors", "This is a LoRA"),
        (tuned, tmp_path / "gone.safetensors", "no such file"),
        (broken, original, "NaN or infinite"),
        (eighths, original, "quantized"),
        (
            original,
            made.tuned_from(original, tmp_path / "same.safetensors", lambda name, tensor: tensor),
            "by rounding",
        ),
    ):
        with pytest.raises(AtelierError, match=words):
            extract.write(ExtractSpec(tuned=new, original=old), target)
        assert not target.exists()
    with pytest.raises(InputError, match="are one file"):
        ExtractSpec(tuned=tuned, original=tuned)
    with pytest.raises(InputError, match="holds for no module"):
        extract.write(
            ExtractSpec(tuned=tuned, original=original, rule=RankRule("rank", 4, parts=(":nothing:2",))), target
        )
    with pytest.raises(InputError, match="would replace one"):
        extract.write(ExtractSpec(tuned=tuned, original=original), tuned, overwrite=True)


@pytest.mark.parametrize("doing", ["hashing", "extracting", "comparing the rest", "saving"])
def test_an_extraction_that_is_stopped_leaves_no_file(tmp_path: Path, doing: str) -> None:
    tuned, original = pair_of(tmp_path, "sd1")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(StoppedError):
        extract.write(
            ExtractSpec(tuned=tuned, original=original), tmp_path / "new.safetensors", progress=Told(stop_at=doing)
        )
    assert sorted(tmp_path.iterdir()) == before
