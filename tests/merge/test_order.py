"""Orders: rows in words become a file, its report and its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.tag import parse_tag
from lib_lora.blocks.weights import BlockWeights
from lib_lora.errors import InputError, StoppedError
from lib_lora.formats.adapters import read_adapter
from lib_lora.formats.lora import LoraFile, write_lora
from lib_lora.merge.make import make
from lib_lora.merge.precision import convert
from lib_lora.merge.rank_rule import RankRule
from lib_lora.merge.spec import Ingredient, MergeSpec, proposed_name, resolve_blocks, row_of_tag, shown_weights
from lib_lora.services import merge
from tests.formats.lora_samples import LINEAR, TEXT, reference, relative, sample
from tests.told import Told

PRESETS = PresetFile.parse("HALF:" + ",".join(["0.5"] * 17) + "\nRAND:R" + ",1" * 16 + "\nXS:1" + ",X" * 16 + "\n")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    lora = LoraFile({key: read_adapter(key, sample("linear", seed=n)) for n, key in enumerate((LINEAR, TEXT))})
    return write_lora(lora, tmp_path / "girl.safetensors")


def test_strength_blocks_te_and_unet_multiply(path: Path) -> None:
    made = make(MergeSpec((Ingredient(path, 0.5, "HALF", te=0.2, unet=3.0),)), PRESETS)
    (used,) = made.used
    assert used == ("girl", {"BASE": pytest.approx(0.05), "IN01": pytest.approx(0.75)})
    assert relative(made.lora.adapters[LINEAR].delta(), 0.75 * reference(sample("linear"))) < 1e-6


def test_the_report_goes_over_all_steps(path: Path) -> None:
    told = Told()
    order = MergeSpec((Ingredient(path), Ingredient(path, 0.5)), RankRule("rank", 1), "fp16")
    made = make(order, PRESETS, told)
    assert list(dict.fromkeys(told.texts)) == ["reading", "comparing", "adding", "converting"]
    wanted = 1.5 * reference(sample("linear"))
    got = relative(made.lora.adapters[LINEAR].delta(), wanted)
    row = next(row for row in made.report.rows if row.block == "IN01")
    assert row.relative_error == pytest.approx(got, rel=1e-3)
    assert (row.rank_before, row.rank_after) == (2, 1)
    assert row.energy_kept == pytest.approx(1 - got**2, rel=1e-3)
    assert made.report.energy_kept < 1
    written = write_lora(made.lora, path.with_name("unsaved.safetensors"))
    assert (made.report.bytes_after, made.report.bytes_before) == (written.stat().st_size, path.stat().st_size)


@pytest.mark.parametrize("doing", ["reading", "adding", "baking", "compressing", "converting", "saving"])
def test_work_that_is_stopped_leaves_no_file_wherever_it_is(path: Path, doing: str) -> None:
    rows = (Ingredient(path, 0.5),) * (2 if doing == "adding" else 1)
    target, told = path.with_name("new.safetensors"), Told(stop_at=doing)
    with pytest.raises(StoppedError):
        merge.write(MergeSpec(rows, RankRule("rank", 1), "fp16"), target, PRESETS, progress=told)
    assert told.texts[-1] == doing
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    merge.write(MergeSpec(rows), target, PRESETS)
    before = target.read_bytes()
    with pytest.raises(StoppedError):
        merge.write(
            MergeSpec(rows, RankRule("rank", 1), "bf16"), target, PRESETS, overwrite=True, progress=Told(stop_at=doing)
        )
    assert target.read_bytes() == before


@pytest.mark.parametrize(
    ("blocks", "what"), [("NOSUCH", "NOSUCH"), ("1,2", "2"), ("RAND", "Random"), ("R" + ",1" * 16, "Random")]
)
def test_blocks_that_cannot_be_baked_are_refused(blocks: str, what: str) -> None:
    with pytest.raises(InputError, match=what):
        resolve_blocks(blocks, PRESETS, "sd1")


def test_an_empty_order_and_wild_strengths_are_refused(path: Path) -> None:
    with pytest.raises(InputError, match="No LoRA"):
        MergeSpec(())
    for strength in (float("nan"), float("inf"), 1e9):
        with pytest.raises(InputError, match="strength"):
            Ingredient(path, strength)


def test_weights_are_shown_in_the_shortest_layout_that_names_the_files_blocks() -> None:
    weights = BlockWeights.parse(",".join(["1"] * 26))
    assert shown_weights(weights, ["BASE", "IN01", "other"], "sd1").layout.length == 17
    assert shown_weights(weights, ["BASE", "IN00"], "sd1").layout.length == 26


@pytest.mark.parametrize("row", [{"blocks": "HALF", "x": 0.5}, {"blocks": ",".join(["1"] * 26), "fill": 1.0}])
def test_a_value_that_changes_nothing_is_refused(path: Path, row: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="changes nothing"):
        make(MergeSpec((Ingredient(path, **row),)), PRESETS)
    both = make(MergeSpec((Ingredient(path, blocks="XS", x=0.5, fill=0.25),)), PRESETS)
    assert both.used[0][1] == {"BASE": 1.0, "IN01": 0.5}


def test_names_tell_what_is_in_the_file() -> None:
    girl, dress = Path("girl.safetensors"), Path("dress.safetensors")
    assert proposed_name(MergeSpec((Ingredient(girl, 1.0, "FACE"),))) == "girl_1_FACE"
    assert proposed_name(MergeSpec((Ingredient(girl, 1.0, "FACE"),)), taken=["Girl_1_face"]) == "girl_1_FACE_2"
    order = MergeSpec((Ingredient(girl, 0.8, "ALL"), Ingredient(dress, -0.5, "1,0")), RankRule("energy", 0.95), "bf16")
    assert proposed_name(order) == "girl_0.8+dress_-0.5_blocks_e0.95_bf16"


def test_a_tag_becomes_a_row_and_says_what_is_lost() -> None:
    row, lost = row_of_tag(parse_tag("<lora:girl:0.5:2:XS:x=0.25:stop=9>"), Path("girl.safetensors"), PRESETS, "sd1")
    assert (row.strength * row.te, row.strength * row.unet, lost) == (0.5, 2.0, ("stop",))
    assert BlockWeights.parse(row.blocks)["IN01"] == 0.25
    row, _ = row_of_tag(parse_tag("<lora:girl:te=0.5:unet=0>"), Path("girl.safetensors"), PRESETS, "sd1")
    assert (row.strength * row.te, row.strength * row.unet) == (0.5, 0.0)


def test_another_precision_reports_its_error_and_refuses_what_it_cannot_hold() -> None:
    lora = LoraFile({LINEAR: read_adapter(LINEAR, sample("linear"))})
    half, report = convert(lora, "bf16")
    error = relative(half.adapters[LINEAR].delta(), reference(sample("linear")))
    assert report.rows[0].relative_error == pytest.approx(error, rel=1e-3)
    assert convert(half, "fp32")[1].rows[0].relative_error == 0
    huge = {name: tensor * 1e6 if name == "lora_up.weight" else tensor for name, tensor in sample("linear").items()}
    with pytest.raises(InputError, match="too large"):
        convert(LoraFile({LINEAR: read_adapter(LINEAR, huge)}), "fp16")
    assert half.adapters[LINEAR].parameters()[0].dtype == torch.bfloat16
