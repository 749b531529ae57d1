"""PEFT's own deltas from its own files: alpha, rsLoRA, patterns of rank and alpha, LoHa, LoKr; and without options."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from lib_lora.errors import FileError, InputError
from lib_lora.formats.contents import contents_of
from lib_lora.formats.files import read_tensors, write_tensors
from lib_lora.formats.lora import read_lora, write_lora
from lib_lora.formats.peft import PeftOptions
from tests.cases import case

peft = pytest.importorskip("peft")


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_q, self.to_k = nn.Linear(8, 8), nn.Linear(768, 8)
        self.to_out = nn.ModuleList([nn.Linear(8, 8)])


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn1, self.attn2 = Attention(), Attention()


class Unet(nn.Module):
    """The names of a UNet's middle block, and nothing behind them."""

    def __init__(self) -> None:
        super().__init__()
        attention = nn.Module()
        attention.transformer_blocks = nn.ModuleList([Block()])
        resnet = nn.Module()
        resnet.conv1 = nn.Conv2d(4, 6, 3, padding=1)
        self.mid_block = nn.Module()
        self.mid_block.attentions = nn.ModuleList([attention])
        self.mid_block.resnets = nn.ModuleList([resnet])


TARGETS = ["to_q", "to_k", "to_out.0"]
OPTIONS = {
    "alpha": (peft.LoraConfig, {"r": 4, "lora_alpha": 16}),
    "rslora": (peft.LoraConfig, {"r": 4, "lora_alpha": 16, "use_rslora": True}),
    "patterns": (
        peft.LoraConfig,
        {
            "r": 4,
            "lora_alpha": 3,
            "rank_pattern": {r"attn1\.to_.": 2, "to_q": 6},
            "alpha_pattern": {"attn2.to_q": 7, r".*attentions\.\d+.*to_out\.0": 0.5, "o_q": 99},
        },
    ),
    "pattern from the start": (peft.LoraConfig, {"r": 4, "alpha_pattern": {r"^mid_block\.attentions.*to_q": 1}}),
    "rslora with patterns": (
        peft.LoraConfig,
        {"r": 4, "lora_alpha": 2, "use_rslora": True, "rank_pattern": {"attn1.to_q": 1}},
    ),
    "convolution": (peft.LoraConfig, {"r": 2, "lora_alpha": 5, "target_modules": [*TARGETS, "conv1"]}),
    "loha": (peft.LoHaConfig, {"r": 2, "alpha": 6, "alpha_pattern": {"attn1.to_q": 3}}),
    "lokr": (peft.LoKrConfig, {"r": 2, "alpha": 6}),
    "lokr, whole": (peft.LoKrConfig, {"r": 64, "alpha": 16}),
    "lokr, both low": (peft.LoKrConfig, {"r": 1, "alpha": 6, "decompose_both": True}),
}


@pytest.fixture(params=OPTIONS)
def saved(request, tmp_path: Path):
    """A folder as PEFT saves it, and PEFT's own delta of each layer."""
    kind, options = OPTIONS[request.param]
    torch.manual_seed(0)
    model = peft.get_peft_model(Unet(), kind(**{"target_modules": TARGETS, **options}))
    deltas = {}
    for name, layer in model.base_model.model.named_modules():
        if hasattr(layer, "get_delta_weight"):
            with torch.no_grad():
                for parameter_name, parameter in layer.named_parameters():
                    if "base_layer" not in parameter_name:
                        parameter.copy_(torch.randn(parameter.shape))
                deltas["lora_unet_" + name.replace(".", "_")] = layer.get_delta_weight("default").float()
    model.save_pretrained(tmp_path)
    return tmp_path, deltas


def test_the_change_is_pefts_own(saved) -> None:
    folder, deltas = saved
    lora = read_lora(folder / "adapter_model.safetensors")
    assert set(lora.adapters) == set(deltas)
    assert lora.notes == ()
    for key, delta in deltas.items():
        ours = lora.adapters[key].delta().reshape(delta.shape)
        assert torch.allclose(ours, delta, rtol=1e-4, atol=1e-5 * float(delta.abs().max())), key


def test_without_the_options_the_assumption_is_told(saved, tmp_path: Path) -> None:
    folder, _ = saved
    alone = tmp_path / "alone"
    alone.mkdir()
    path = shutil.copy(folder / "adapter_model.safetensors", alone / "girl.safetensors")
    for read in (read_lora, contents_of):
        assert any("adapter_config.json" in note and "alpha" in note for note in read(path).notes)


def test_the_case_of_an_alpha_of_four_times_the_rank(tmp_path: Path) -> None:
    folder = case("peft_lora_alpha")
    assert {adapter.scale() for adapter in read_lora(folder / "adapter_model.safetensors").adapters.values()} == {4.0}
    alone = read_lora(shutil.copy(folder / "adapter_model.safetensors", tmp_path / "x.safetensors"))
    assert {adapter.scale() for adapter in alone.adapters.values()} == {1.0}
    assert len(alone.notes) == 1


@pytest.mark.parametrize("ends", [["conv1"], [], r".*resnets\.\d\.conv1", r"resnets\.0\.conv1"])
def test_which_side_of_a_convolution_is_multiplied_stands_in_the_options(tmp_path: Path, ends: object) -> None:
    model = Unet()
    model.mid_block.resnets[0].conv1 = nn.Conv2d(6, 6, 3)
    base = model.mid_block.resnets[0].conv1
    weight, bias = base.weight.detach().clone(), base.bias.detach().clone()
    wrapped = peft.get_peft_model(model, peft.IA3Config(target_modules=["conv1"], feedforward_modules=ends))
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn(parameter.shape))
    wrapped.save_pretrained(tmp_path)
    wrapped.merge_and_unload()
    lora = read_lora(tmp_path / "adapter_model.safetensors")
    (adapter,) = read_lora(write_lora(lora, tmp_path / "again.safetensors")).adapters.values()
    assert torch.allclose(adapter.delta(weight), base.weight - weight, atol=1e-6)
    change = adapter.bias_delta(bias)
    assert torch.allclose(bias if change is None else bias + change, base.bias, atol=1e-6)
    alone = tmp_path / "alone"
    alone.mkdir()
    copy = read_lora(shutil.copy(tmp_path / "adapter_model.safetensors", alone / "x.safetensors"))
    (silent,) = copy.adapters.values()
    with pytest.raises(InputError, match=r"inputs or outputs.*adapter_config\.json"):
        silent.fitting_shape(base)
    assert silent.fitting_shape(nn.Conv2d(6, 8, 3)) == (8, 6, 3, 3)


NAMES = {f"base_model.model.mid_block.attentions.0.to_q.lora_{ab}.weight": torch.ones(2, 2) for ab in "AB"}


def write(folder: Path, config: object) -> Path:
    text = config if isinstance(config, str) else json.dumps(config)
    (folder / "adapter_config.json").write_text(text, encoding="utf-8")
    return write_tensors(folder / "adapter_model.safetensors", NAMES, {}, overwrite=True)


def test_options_of_another_file_are_left_alone_and_told(tmp_path: Path) -> None:
    lora = read_lora(write(tmp_path, {"r": 8, "lora_alpha": 32}))
    assert next(iter(lora.adapters.values())).scale() == 1.0
    assert "tells other ranks" in lora.notes[0]


@pytest.mark.parametrize("config", ["{", "[]", "null", "\x00", {"r": 2, "lora_alpha": 1, "alpha_pattern": {"(": 1}}])
def test_broken_options_are_refused_with_a_cure(tmp_path: Path, config: object) -> None:
    with pytest.raises(FileError, match=r"options.*adapter_config\.json.*take the options away"):
        read_lora(write(tmp_path, config))


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+b", "(.*)*x", "(a|a)*b", ".*.*.*.*.*.*x", "a{1,}" * 9 + "x", "((a?){65000}){65000}b", "(a|a)" * 50],
)
def test_a_pattern_that_would_run_for_ever_in_python_is_answered_at_once(pattern: str) -> None:
    options = PeftOptions({"lora_alpha": 1, "alpha_pattern": {pattern: 2}}, "adapter_config.json")
    begun = time.process_time()
    assert options.scale("a" * 49, 1) == 1.0
    assert time.process_time() - begun < 2


@pytest.mark.parametrize(
    "pattern", ["a" * 400 + "+", "(", r"(a)\1", "(?=a)b", "(?i)a", "(?i:a)", "(" * 20 + "a" + ")" * 20]
)
def test_a_pattern_that_is_not_followed_is_refused(pattern: str) -> None:
    options = PeftOptions({"lora_alpha": 1, "alpha_pattern": {pattern: 2}}, "adapter_config.json")
    with pytest.raises(FileError, match="pattern"):
        options.scale("a" * 60, 1)


@pytest.mark.parametrize(
    ("config", "scale", "note"),
    [
        ({"lora_alpha": "16"}, 8.0, None),
        ({"r": "2", "lora_alpha": 16}, 8.0, None),
        ({"lora_alpha": -4}, -2.0, "is -4, so the LoRA acts in reverse"),
        ({"lora_alpha": 0}, 1.0, "lora_alpha in the LoRA's options is 0"),
        ({"lora_alpha": float("nan")}, 1.0, "lora_alpha in the LoRA's options is NaN"),
        ({"lora_alpha": "much"}, 1.0, 'lora_alpha in the LoRA\'s options is "much"'),
        ({"lora_alpha": [16]}, 1.0, "which cannot be used"),
        ({"lora_alpha": None}, 1.0, "does not say its alpha"),
        ({"lora_alpha": 16, "alpha_pattern": [["to_q", 8]]}, 8.0, "alpha_pattern in the LoRA's options is no table"),
        ({"lora_alpha": 16, "alpha_pattern": {"to_q": "x"}}, 1.0, r"alpha_pattern\[to_q\] in the LoRA's options"),
    ],
)
def test_what_stands_in_the_options_is_used_or_told(
    tmp_path: Path, config: dict, scale: float, note: str | None
) -> None:
    lora = read_lora(write(tmp_path, {"r": 2, **config}))
    assert next(iter(lora.adapters.values())).scale() == scale
    assert len(lora.notes) == (note is not None)
    assert note is None or re.search(note, lora.notes[0])


def test_patterns_fit_as_pefts_own() -> None:
    from peft.utils.other import get_pattern_key

    numbers = itertools.product((0, 1), (0, 10), (1, 2), "qk")
    paths = [f"down_blocks.{i}.attentions.{j}.attn{k}.to_{leaf}" for i, j, k, leaf in numbers]
    patterns = [
        "to_q",
        "o_q",
        "attn1.to_q",
        r"down_blocks\.1.*",
        "^down_blocks.0.*to_k",
        r"attentions\.(0|1)\..*",
        "0.attn2.to_k",
        r"(attn1|attn2)\.to_q",
        r".*(attn1\.)?to_q",
        r"(down_blocks\.\d+\.)+attentions.*to_q",
        ".*down.*attentions.*attn1.*to_q",
        r"[^a]+\.(?:\d{1,2}\.)?attn[0-1]\.to_[k-q]",
        r"(\w+\.\d\.){2}attn1.*?[qk]",
    ]
    for path in paths:
        for pattern in patterns:
            options = PeftOptions({"lora_alpha": 1, "alpha_pattern": {pattern: 2}}, "x")
            known = get_pattern_key([pattern], path) == pattern
            assert options.scale(path, 1) == (2.0 if known else 1.0), (pattern, path)
            assert known == bool(re.match(rf"(.*\.)?({pattern})$", path))


def test_the_second_text_encoder_is_known_by_its_class(tmp_path: Path) -> None:
    name = "base_model.model.encoder.layers.0.mlp.fc1"
    tensors = {f"{name}.lora_{ab}.weight": torch.ones(2, 2) for ab in "AB"}
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"r": 2, "lora_alpha": 2, "auto_mapping": {"base_model_class": "CLIPTextModelWithProjection"}})
    )
    lora = read_lora(write_tensors(tmp_path / "adapter_model.safetensors", tensors, {}))
    assert list(lora.adapters) == ["lora_te2_text_model_encoder_layers_0_mlp_fc1"]
    assert read_tensors(lora.path)[1] == {}
