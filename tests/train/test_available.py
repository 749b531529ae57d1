"""A machine without an optimizer's package: said before anything is read, with what trains the same recipe there."""

from __future__ import annotations

import sys

import pytest
import torch

from lib_lora.cli import main as cli
from lib_lora.errors import InputError
from lib_lora.train.available import check_optimizer, instead, is_available
from lib_lora.train.optimizers import OPTIMIZERS
from lib_lora.train.options import from_mapping
from lib_lora.train.recipes import ModelFacts

LARGE, SMALL = ModelFacts(512, "epsilon"), ModelFacts(128, "v_prediction")


@pytest.fixture
def bare(monkeypatch):
    """A Python without any package of an optimizer, as after ``--skip-install``."""
    for known in OPTIMIZERS.values():
        if known.module not in ("torch", "transformers", "lib_lora"):
            monkeypatch.setitem(sys.modules, known.module, None)


def test_every_optimizer_is_here_where_run_py_made_the_environment():
    assert [name for name, known in OPTIMIZERS.items() if not (known.optional or is_available(name))] == []


def test_what_is_missing_is_named_and_adamw_stands_in_at_a_rate_that_fits_the_model(bare):
    always = {"AdamW", "SGD", "AdaFactor"} | ({"Muon"} if hasattr(torch.optim, "Muon") else set())
    assert {name for name in OPTIMIZERS if is_available(name)} == always
    with pytest.raises(InputError, match=r"DAdaptAdanIP needs the package dadaptation.*AdamW \(learning rate 0.0001\)"):
        check_optimizer("DAdaptAdanIP", LARGE)
    with pytest.raises(InputError, match=r"AdamW \(learning rate 0.002\).*pip install --no-deps dadaptation"):
        check_optimizer("DAdaptAdanIP", SMALL)


@pytest.mark.parametrize("model", [LARGE, SMALL])
def test_what_is_offered_is_the_recipe_with_adamw_chosen_by_hand(model):
    given = {"images": "p", "name": "n", "kind": "character"}
    chosen = from_mapping({**given, "optimizer": "AdamW"}, where="test", model=model)
    assert from_mapping({**given, **instead(model)}, where="test", model=model) == chosen
    assert chosen.dim == from_mapping(given, where="test", model=model).dim


def test_the_terminal_refuses_before_a_picture_is_read_and_nothing_is_left(bare, pictures, tmp_path, capsys):
    (pictures / "broken.png").write_bytes(b"no picture")
    command = ["train", "--images", str(pictures), "--name", "x", "--runs", str(tmp_path / "runs"), "--steps", "1"]
    assert cli.main([*command]) == 2
    said = capsys.readouterr().err
    assert "dadaptation" in said
    assert "AdamW" in said
    assert "broken" not in said
    assert not (tmp_path / "runs").exists()
