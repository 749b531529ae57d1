"""Files that are trained here have the very tensors that other programs' own loaders took, each and no other.

What loads where was found by `bench/loads.py --record`, which trains a file of every kind on every family and asks
sd-scripts, LyCORIS and diffusers. Here it is held that files still look like those.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from bench.loaders.models import SHAPES, model_of
from bench.loaders.ours import FAMILIES, KINDS, digest
from lib_lora.train import network
from lib_lora.train.options import from_mapping

FOUND = json.loads(Path(__file__).with_name("loaded_elsewhere.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=FAMILIES)
def small(request):
    return model_of(SHAPES[FAMILIES[request.param]], torch.device("cpu"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_tensors_of_a_file_are_those_that_other_loaders_took(small, kind):
    values = {"images": "p", "name": "n", "kind": "concept", "dim": 4, "alpha": 3.0, **KINDS[kind]}
    made = network.new_lora(small, from_mapping(values, where="test"))
    tensors = {
        f"{key}.{part}": tensor for key, adapter in made.adapters.items() for part, tensor in adapter.tensors().items()
    }
    known = FOUND[small.family][kind]
    assert len(made.adapters) == known["modules"]
    assert digest(tensors) == known["sha256"], f"{known['loaders']} have not been asked about these names and shapes"


def test_every_kind_was_asked_of_every_loader_that_reads_it():
    of_loras = {"sd_scripts", "lycoris_kohya", "lycoris", "diffusers"}
    for family in FAMILIES:
        for kind in KINDS:
            assert set(FOUND[family][kind]["loaders"]) == of_loras - (
                {"diffusers"} if kind in _NOT_DIFFUSERS else set()
            )


_NOT_DIFFUSERS = ("loha", "lokr", "dora")
"""Its loader for these pipelines refuses or drops their parts, whoever trained them."""
