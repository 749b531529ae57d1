"""Modules of a LoRA that fit no layer are told wherever it is used, never dropped in silence."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lib_lora.analysis.effective_block import SweepSpec, analyze
from lib_lora.blocks.layouts import full_layout
from lib_lora.formats.files import read_tensors, write_tensors
from lib_lora.formats.lora import read_lora, write_lora
from lib_lora.host.base import GenerateRequest
from lib_lora.host.studio import StudioHost
from lib_lora.host.webui.prompt import host_loader as placed
from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.live.targets import find_targets, left_out
from tests.cases import case
from tests.conftest import random_lora


@pytest.fixture(scope="module")
def partial(studio, tmp_path_factory) -> Path:
    """A LoRA of which three modules in four have names of no layer, with embeddings and a stranger in it."""
    folder = tmp_path_factory.mktemp("partial")
    tensors, metadata = read_tensors(write_lora(random_lora(studio.model), folder / "whole.safetensors"))
    keys = {key: number for number, key in enumerate(dict.fromkeys(name.partition(".")[0] for name in tensors))}
    renamed = {}
    for name, tensor in tensors.items():
        key, _, part = name.partition(".")
        renamed[f"{key.replace('lora_unet_', 'lora_unet_x_') if keys[key] % 4 else key}.{part}"] = tensor
    more = {"bundle_emb.girl.string_to_param.*": torch.ones(1, 4), "stranger": torch.ones(1)}
    return write_tensors(folder / "partial.safetensors", {**renamed, **more}, metadata)


def test_the_sentence_has_count_and_examples(model, partial: Path) -> None:
    lora = read_lora(partial)
    _, unmatched = find_targets(model, lora)
    assert 0 < len(unmatched) < len(lora.adapters)
    first, bundled, stranger = left_out(model, lora)
    start = f"{len(unmatched)} of {len(lora.adapters)} modules of partial fit no layer of this model (e.g. lora_unet_x_"
    assert first.startswith(start)
    assert "girl" in bundled
    assert stranger.startswith("1 tensor of partial")
    assert "stranger" in stranger
    said = sentence_in_words(first, "ja")
    assert f"{len(lora.adapters)} 個のうち {len(unmatched)} 個" in said
    assert "lora_unet_x_" in said


def test_a_picture_and_an_analysis_say_it(studio: StudioHost, partial: Path) -> None:
    host = StudioHost(studio.model, (partial.parent,), studio.presets)
    result = host.generate(GenerateRequest(prompt="apple <lora:partial:0.1>", steps=1))
    assert [note for note in result.notes if "fit no layer" in note]
    assert "fit no layer" not in result.infotexts[0]
    layout = full_layout(studio.model.family)
    plan = SweepSpec(examined=0, others=1, entries=(("M00",),), layout=layout)
    request = GenerateRequest(prompt="apple <lora:partial:0.1:XYZ>", steps=1)
    found = analyze(host, request, plan, filled=frozenset(host.read_lora("partial").blocks()))
    assert len([note for note in found.notes if "fit no layer" in note]) == 1


def test_a_text_encoders_file_alone_fits_the_model_that_is_loaded(model, tmp_path: Path) -> None:
    key = next(key for key in model.layers if key.startswith("lora_te_"))
    layer = model.layers[key]
    down, up = torch.ones(2, layer.in_features), torch.ones(layer.out_features, 2)
    tensors = {
        f"{key.replace('lora_te_', 'lora_te1_')}.{name}.weight": t for name, t in (("lora_down", down), ("lora_up", up))
    }
    lora = read_lora(write_tensors(tmp_path / "x.safetensors", tensors, {}))
    assert lora.family == "sdxl"  # by its name; the layers say better
    targets, unmatched = find_targets(model, lora)
    assert (targets[0].layer, unmatched) == (layer, ())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("partial-lora-silent/partial", "41 of 46 modules of partial fit no layer of this model (e.g. lora_unet_x_"),
        (
            "text-projection-silent/projection",
            "1 of 47 modules of projection fit no layer of this model (e.g. lora_te_text_projection).",
        ),
    ],
)
def test_files_that_were_dropped_in_silence(model, name: str, said: str) -> None:
    folder, stem = name.split("/")
    assert any(note.startswith(said) for note in left_out(model, read_lora(case(folder) / f"{stem}.safetensors")))


def loaded(path: Path, keys: list[str]) -> SimpleNamespace:
    """A file as the host's loader keeps it, with the modules that it placed."""
    modules = {key: SimpleNamespace(network_key=f"{key}.lora_up.weight") for key in keys}
    return SimpleNamespace(
        name=path.stem, mentioned_name=path.stem, modules=modules, network_on_disk=SimpleNamespace(filename=str(path))
    )


def test_what_the_hosts_loader_did_not_place_is_told(model, partial: Path, monkeypatch) -> None:
    lora = read_lora(partial)
    _, unmatched = find_targets(model, lora)
    keys = [key for key in lora.adapters if key not in unmatched]
    nets = [loaded(partial, keys), loaded(partial.with_name("whole.safetensors"), ["nothing"])]
    monkeypatch.setattr(placed, "host_networks", lambda: SimpleNamespace(loaded_networks=nets))
    one, other = placed.misfits(())
    assert one.startswith(f"{len(unmatched)} of ")
    assert "partial fit no layer" in one
    assert "whole fit no layer" in other
    # Of ours only the text encoder's part is the host's; a host that does not keep what it placed is not asked.
    assert list(placed.misfits(("partial", "whole")))[0].startswith(
        f"{sum('lora_te' in key for key in lora.adapters)} of "
    )
    nets[:] = [loaded(partial, list(lora.adapters)), loaded(partial.with_name("gone.safetensors"), [])]
    assert list(placed.misfits(())) == []
    parts = {f"unet.mid_block.attentions.{n}.to_q.lora_{ab}.weight": torch.ones(2, 2) for n in range(3) for ab in "AB"}
    nets[:] = [loaded(write_tensors(partial.with_name("dotted.safetensors"), parts, {}), [])]
    assert [text[:22] for text in placed.misfits(())] == ["3 of 3 modules of dott"]
