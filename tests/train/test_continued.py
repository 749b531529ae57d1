"""Going on from a LoRA file, and LoRAs that lie under a training."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from lib_lora.errors import AtelierError
from lib_lora.formats.adapters.ia3 import Ia3Adapter
from lib_lora.formats.adapters.lora import LoraAdapter
from lib_lora.formats.keys import block_of_key
from lib_lora.formats.lora import LoraFile, read_lora, write_lora
from lib_lora.live.attach import attach
from lib_lora.progress import Progress, Stoppable
from lib_lora.train import network
from lib_lora.train.loop import run
from lib_lora.train.option_files import read_values
from lib_lora.train.options.network import split_strength
from lib_lora.train.remarks import remarks_on
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.training import start
from tests.conftest import random_lora, same

FEW = {"train_blocks": "BASE,M00,OUT03", "optimizer": "AdamW", "learning_rate": 1e-2, "steps": 2}


class StopAfter(Stoppable):
    def update(self, done: int, total: int, text: str = "") -> None:
        if text.startswith("loss"):
            self.stop()


def trained(model, options, path, progress=None):
    folder = RunFolder.open(path) if path.exists() else RunFolder.create(path, options)
    training = start(model, options, folder, Progress())
    return training, run(training, progress or Progress())


@pytest.fixture
def beginning(model, tmp_path):
    """A file with ranks and alphas of its own on three blocks."""
    given = random_lora(model, rank=3, conv=True)
    chosen = {k: a for k, a in given.adapters.items() if block_of_key(k, "sd1") in ("IN04", "M00", "OUT03")}
    own = {k: replace(a, alpha=2.0 + (n % 2)) for n, (k, a) in enumerate(chosen.items())}
    (tmp_path / "given").mkdir()
    return write_lora(LoraFile(own), tmp_path / "given" / "first.safetensors", dtype=torch.float16)


@pytest.fixture
def planned(model, options_for):
    def say(**changes):
        options = options_for(**changes)
        remarks_on(model, options)
        return network.new_lora(model, options)

    return say


def test_kind_rank_and_alpha_come_from_the_file_and_contradictions_are_said(model, options_for, beginning):
    options = options_for(continue_from=str(beginning), dim=7, network="loha", alpha=5.0)
    begun, given = network.new_lora(model, options), read_lora(beginning)
    assert begun.adapters.keys() == given.adapters.keys()
    for key, adapter in begun.adapters.items():
        assert isinstance(adapter, LoraAdapter)
        assert (adapter.rank, adapter.alpha) == (given.adapters[key].rank, given.adapters[key].alpha)
        assert torch.equal(adapter.up.detach(), given.adapters[key].up.float())
        assert adapter.up.dtype == torch.float32
    said = remarks_on(model, options)
    assert any(text.startswith("goes on from first: ") and "dim 3, alpha Dynamic" in text for text in said)
    assert any("not used: network, dim, alpha" in text and "brings its own" in text for text in said)
    numbers = sum(p.numel() for a in begun.adapters.values() for p in a.parameters())
    assert network.trained_numbers(model, options) == numbers


def test_layers_that_the_options_leave_out_stay_as_they_are(model, options_for, beginning, tmp_path):
    options = options_for(continue_from=str(beginning), **{**FEW, "train_blocks": "M00"})
    training, result = trained(model, options, tmp_path / "run")
    given, made = read_lora(beginning), read_lora(result.lora)
    assert made.adapters.keys() == given.adapters.keys()
    for key, adapter in made.adapters.items():
        untouched = torch.equal(adapter.up, given.adapters[key].up)
        assert untouched == (block_of_key(key, "sd1") != "M00"), key
    kept = [text for text in training.data.problems if "stay as they are" in text]
    assert len(kept) == 1


def test_a_continued_run_is_resumed_to_the_bit_without_the_file(model, options_for, beginning, tmp_path):
    options = options_for(continue_from=str(beginning), **FEW)
    whole, _ = trained(model, options, tmp_path / "whole")
    trained(model, options, tmp_path / "parts", StopAfter())
    beginning.unlink()
    parts, result = trained(model, options, tmp_path / "parts")
    assert result.finished
    for (name, one), two in zip(
        network.parameters_of(whole.lora).items(), network.parameters_of(parts.lora).values(), strict=True
    ):
        assert same(one, two), name
    assert json.loads(read_lora(result.lora).metadata["atelier_options"])["continue_from"] == "first.safetensors"


@pytest.mark.parametrize("network_kind", [{"network": "lokr"}, {"network": "loha", "dora": True}])
def test_every_trained_kind_goes_on(model, options_for, tmp_path, network_kind):
    options = options_for(**FEW, **network_kind)
    _, first = trained(model, options, tmp_path / "first")
    again = options_for(**{**FEW, "steps": 1}, continue_from=str(first.lora), name="second")
    second, result = trained(model, again, tmp_path / "second")
    given, made = read_lora(first.lora), read_lora(result.lora)
    assert {k: type(a) for k, a in made.adapters.items()} == {k: type(a) for k, a in given.adapters.items()}
    assert any(not torch.equal(a.parameters()[0], given.adapters[k].parameters()[0]) for k, a in made.adapters.items())


def test_what_cannot_be_continued_is_said_with_the_plan(model, planned, beginning, tmp_path):
    layer = nn.Linear(4, 4)
    other = LoraAdapter.new("lora_unet_output_blocks_99_x", layer, rank=1, alpha=1.0)
    write_lora(LoraFile({other.key: other}), tmp_path / "other.safetensors")
    key = next(key for key in model.layers if key.endswith("attn1_to_k") and key.startswith("lora_unet"))
    ia3 = Ia3Adapter(key, torch.ones(model.layers[key].weight.shape[0]), torch.tensor(False), 0, False)
    write_lora(LoraFile({key: ia3}), tmp_path / "ia3.safetensors")
    for changes, said in (
        ({"continue_from": str(tmp_path / "none.safetensors")}, "none.safetensors"),
        ({"continue_from": str(tmp_path / "other.safetensors")}, "fits none"),
        ({"continue_from": str(tmp_path / "ia3.safetensors")}, "cannot be trained here"),
        ({"continue_from": str(beginning), "train_blocks": "IN01"}, "left to train"),
    ):
        with pytest.raises(AtelierError) as caught:
            planned(**changes)
        assert said in str(caught.value)


def test_base_loras_lie_under_the_training_and_leave_no_trace(model, options_for, lora, tmp_path):
    under = write_lora(lora, tmp_path / "under.safetensors", dtype=torch.float16)
    weights = {key: layer.weight for key, layer in model.layers.items()}
    before = {key: weight.detach().clone() for key, weight in weights.items()}
    options = options_for(**FEW, base_loras=[f"{under}:0.7"])
    training, result = trained(model, options, tmp_path / "run")
    assert all(layer.weight is weights[key] for key, layer in model.layers.items())
    assert all(torch.equal(weights[key], before[key]) for key in weights)
    plain = options_for(**FEW, name="plain")
    alone = start(model, plain, RunFolder.create(tmp_path / "plain", plain), Progress())
    with attach(model, read_lora(under), 0.7, strategy="folded"):
        run(alone, Progress())
    for one, two in zip(
        network.parameters_of(training.lora).values(), network.parameters_of(alone.lora).values(), strict=True
    ):
        assert same(one, two)
    made = read_lora(result.lora)
    assert made.adapters.keys() == training.lora.adapters.keys()
    assert json.loads(made.metadata["atelier_options"])["base_loras"] == ["under.safetensors:0.7"]
    assert any("trained on top of under.safetensors at strength 0.7" in text for text in training.data.problems)
    gone = replace(options, base_loras=("gone.safetensors",), name="x")
    with pytest.raises(AtelierError, match="gone"):
        start(model, gone, RunFolder.fresh(tmp_path / "x"), Progress())
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.safetensors", ("a.safetensors", 1.0)),
        ("a.safetensors:0.5", ("a.safetensors", 0.5)),
        (r"C:\x\a.safetensors", (r"C:\x\a.safetensors", 1.0)),
        (r"C:\x\a.safetensors:-1", (r"C:\x\a.safetensors", -1.0)),
    ],
)
def test_a_strength_stands_behind_a_file(text, expected):
    assert split_strength(text) == expected


def test_files_in_a_file_of_options_are_meant_from_its_folder(tmp_path):
    (tmp_path / "o.json").write_text('{"continue_from": "a.safetensors", "base_loras": ["b.safetensors:0.5"]}')
    values = read_values(tmp_path / "o.json")
    assert values["continue_from"] == str(tmp_path / "a.safetensors")
    assert values["base_loras"] == [f"{tmp_path / 'b.safetensors'}:0.5"]
