"""A person's own presets name rates, ranks and alphas of a training alike in page, REST and terminal."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from PIL import Image

from lib_lora.blocks.presets import PresetFile
from lib_lora.errors import InputError
from lib_lora.progress import QUIET
from lib_lora.services.atelier import Atelier, Folders
from lib_lora.services.given_options import run_options
from lib_lora.services.given_presets import with_presets
from lib_lora.services.notebook import add, bake
from lib_lora.services.picture_folder import look
from lib_lora.services.start_check import fresh_run
from lib_lora.train.options import TrainOptions, from_mapping, usual_values

MINE = "1,0,0,1,0,0,0,0.5,1,1,1,1,1,0,0,0,0"
OWN = f"MINE:{MINE}\nRANKS:{MINE.replace('0.5', '4').replace('1', '8')}\nRANDOM:{MINE[:-1]}R\nC186:{MINE}\n"


def host_with(text: str) -> SimpleNamespace:
    return SimpleNamespace(model=SimpleNamespace(family="sd1"), presets=PresetFile.parse(text))


def made(**more: str) -> TrainOptions:
    return from_mapping({"images": "p", "name": "n", **more}, where="t")


def test_own_presets_become_numbers_that_the_run_keeps() -> None:
    got = with_presets(made(block_lr_weight="mine", block_dims="RANKS", block_alphas=" RANKS "), host_with(OWN))
    assert got.block_lr_weight == MINE
    assert got.block_dims == got.block_alphas == "8,0,0,8,0,0,0,4,8,8,8,8,8,0,0,0,0"


def test_shipped_presets_keep_their_names_unless_ones_own_file_says_otherwise() -> None:
    shipped = SimpleNamespace(model=SimpleNamespace(family="sd1"), presets=PresetFile.shipped())
    assert with_presets(made(block_lr_weight="C186"), shipped).block_lr_weight == "C186"
    assert with_presets(made(block_lr_weight="C186"), host_with(OWN)).block_lr_weight == MINE
    plain = made(block_lr_weight=MINE, block_dims="4")
    assert with_presets(plain, host_with(OWN)) is plain


@pytest.mark.parametrize("name", ["NOWHERE", "RANDOM"])
def test_what_gives_no_numbers_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="NOWHERE|R, U or X"):
        with_presets(made(block_lr_weight=name), host_with(OWN))


def test_page_rest_and_terminal_read_the_same(studio, tmp_path, monkeypatch) -> None:
    pytest.importorskip("gradio", exc_type=ImportError)
    from lib_lora.ui.train.draft import Draft
    from lib_lora.ui.train.options import NAMES

    monkeypatch.setattr(studio, "presets", PresetFile.parse(OWN))
    atelier = Atelier(studio, Folders.under(tmp_path / "data"))
    atelier.host.presets = PresetFile.parse(OWN)
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("RGB", (64, 64), (40, 90, 200)).save(folder / "0.png")
    given = {"images": str(folder), "name": "n", "optimizer": "AdamW", "block_lr_weight": "MINE"}
    assert run_options(atelier, given).block_lr_weight == MINE
    assert fresh_run(studio, given, tmp_path / "runs", where="t")[0].block_lr_weight == MINE
    usual = usual_values("character", optimizer="AdamW")
    values = {name: {**usual, **given}[name] for name in NAMES} | {"steps": 3, "name": "n"}
    draft = Draft(look(folder, studio.model, QUIET), "", "character", values)
    assert draft.options(usual, atelier).block_lr_weight == MINE


def test_a_sum_of_files_takes_ones_own_presets_too(lora) -> None:
    alone, _ = bake(lora, "MINE", presets=PresetFile.parse(OWN))
    summed, _ = add([(lora, "MINE")], presets=PresetFile.parse(OWN))
    assert alone.adapters.keys() == summed.adapters.keys() < lora.adapters.keys()
