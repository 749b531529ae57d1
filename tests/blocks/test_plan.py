"""The plan of variants: the texts that people followed with a spreadsheet, to the letter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_lora.blocks.layouts import full_layout, layout_of
from lib_lora.blocks.lr_weights import lr_weight_text, read_lr_weights
from lib_lora.blocks.plan import MODES, BlockPlan, in_layouts
from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.weights import BlockWeights
from lib_lora.errors import InputError

FIRST = "1,0,0.5,1,0.5,0.5,0.5,0,1,1,0,0,0,1,0.5,0.5,1,1,1,1,0.5,0.5,0.5,0.5,0,0.5"
THIRD = "1,0,0,1,0,0.5,0.5,0,1,1,0,0,0,1,0,0,1,1,1,1,0.5,0,0.5,0,0,0"
FINAL = "1,0,0,1,0,0,0,0,1,1,0,0,0,1,0,0,1,1,1,1,0.5,0,0,0,0,0"


def plan(vector: str, free, step: float = 0.5, mode: str = "sub", family: str | None = None) -> BlockPlan:
    """Plan with those blocks free whose value ``free`` is true for."""
    base = BlockWeights.parse(vector, family)
    return BlockPlan(base, frozenset(name for name, value in base.as_dict().items() if not free(value)), step, mode)


def halves(value: float) -> bool:
    return value == 0.5


def test_less_is_the_spreadsheets_text() -> None:
    found = plan(FIRST, halves)
    assert found.presets == (
        "Sub:1,0,0.5,1,0.5,0.5,0.5,0,1,1,0,0,0,1,0.5,0.5,1,1,1,1,0.5,0.5,0.5,0.5,0,0.5",
        "SubIN01_0:1,0,0,1,0.5,0.5,0.5,0,1,1,0,0,0,1,0.5,0.5,1,1,1,1,0.5,0.5,0.5,0.5,0,0.5",
        "SubIN03_0:1,0,0.5,1,0,0.5,0.5,0,1,1,0,0,0,1,0.5,0.5,1,1,1,1,0.5,0.5,0.5,0.5,0,0.5",
        "SubIN04_0:1,0,0.5,1,0.5,0,0.5,0,1,1,0,0,0,1,0.5,0.5,1,1,1,1,0.5,0.5,0.5,0.5,0,0.5",
        "SubIN05_0:1,0,0.5,1,0.5,0.5,0,0,1,1,0,0,0,1,0.5,0.5,1,1,1,1,0.5,0.5,0.5,0.5,0,0.5",
        "SubOUT00_0:1,0,0.5,1,0.5,0.5,0.5,0,1,1,0,0,0,1,0,0.5,1,1,1,1,0.5,0.5,0.5,0.5,0,0.5",
        "SubOUT01_0:1,0,0.5,1,0.5,0.5,0.5,0,1,1,0,0,0,1,0.5,0,1,1,1,1,0.5,0.5,0.5,0.5,0,0.5",
        "SubOUT06_0:1,0,0.5,1,0.5,0.5,0.5,0,1,1,0,0,0,1,0.5,0.5,1,1,1,1,0,0.5,0.5,0.5,0,0.5",
        "SubOUT07_0:1,0,0.5,1,0.5,0.5,0.5,0,1,1,0,0,0,1,0.5,0.5,1,1,1,1,0.5,0,0.5,0.5,0,0.5",
        "SubOUT08_0:1,0,0.5,1,0.5,0.5,0.5,0,1,1,0,0,0,1,0.5,0.5,1,1,1,1,0.5,0.5,0,0.5,0,0.5",
        "SubOUT09_0:1,0,0.5,1,0.5,0.5,0.5,0,1,1,0,0,0,1,0.5,0.5,1,1,1,1,0.5,0.5,0.5,0,0,0.5",
        "SubOUT11_0:1,0,0.5,1,0.5,0.5,0.5,0,1,1,0,0,0,1,0.5,0.5,1,1,1,1,0.5,0.5,0.5,0.5,0,0",
    )
    assert found.prompt_sr == (
        "Sub, SubIN01_0, SubIN03_0, SubIN04_0, SubIN05_0, SubOUT00_0, SubOUT01_0, SubOUT06_0, SubOUT07_0, SubOUT08_0, "
        "SubOUT09_0, SubOUT11_0"
    )
    assert found.prompt_sr_safe.startswith("lbw=Sub, lbw=SubIN01_0, lbw=SubIN03_0")
    assert found.eba_blocks == "IN01,IN03,IN04,IN05,OUT00,OUT01,OUT06,OUT07,OUT08,OUT09,OUT11"
    assert found.lr_weight == (
        '"down_lr_weight=0,0.5,1,0.5,0.5,0.5,0,1,1,0,0,0" "mid_lr_weight=1" '
        '"up_lr_weight=0.5,0.5,1,1,1,1,0.5,0.5,0.5,0.5,0,0.5"'
    )
    assert not found.notes


def test_what_is_planned_can_be_saved_as_presets() -> None:
    every = [line for mode in MODES for line in plan(FIRST, lambda value: True, 0.3, mode).presets]
    assert not [one for one in PresetFile.parse("\n".join(every)).problems if one.fatal]


def test_both_ways_in_both_orders() -> None:
    both = plan(THIRD, halves, mode="subadd")
    with_06 = "Sub, SubIN04_0, SubIN05_0, SubOUT06_0, SubOUT08_0, Add, AddIN04_1, AddIN05_1, AddOUT06_1, AddOUT08_1"
    assert both.prompt_sr == with_06
    assert both.presets[-1] == "AddOUT08_1:1,0,0,1,0,0.5,0.5,0,1,1,0,0,0,1,0,0,1,1,1,1,0.5,0,1,0,0,0"
    other = plan(THIRD, halves, mode="addsub")
    assert other.presets == (*both.presets[5:], *both.presets[:5])
    assert len(both.variants) == 10
    assert [one.name for one in both.pictures][0] == "Sub = Add"
    assert len(both.pictures) == 9, "the base is rendered once"


def test_the_last_round_in_quarters() -> None:
    add = plan(FINAL, lambda value: value < 1, 0.25, "add")
    names = "IN00_0.25 IN01_0.25 IN03_0.25 IN04_0.25 IN05_0.25 IN06_0.25 IN09_0.25 IN10_0.25 IN11_0.25 OUT00_0.25"
    names += " OUT01_0.25 OUT06_0.75 OUT07_0.25 OUT08_0.25 OUT09_0.25 OUT10_0.25 OUT11_0.25"
    assert add.prompt_sr == ", ".join(["Add", *(f"Add{name}" for name in names.split())])
    sub = plan(FINAL, lambda value: value > 0, 0.25)
    names = "BASE_0.75 IN02_0.75 IN07_0.75 IN08_0.75 M00_0.75 OUT02_0.75 OUT03_0.75 OUT04_0.75 OUT05_0.75 OUT06_0.25"
    assert sub.prompt_sr == ", ".join(["Sub", *(f"Sub{name}" for name in names.split())])


def test_all_blocks_fixed_leave_the_base() -> None:
    for mode, sr in (("sub", "Sub"), ("add", "Add"), ("subadd", "Sub, Add"), ("addsub", "Add, Sub")):
        found = plan(FIRST, lambda value: False, mode=mode)
        assert (found.prompt_sr, found.eba_blocks, len(found.pictures)) == (sr, "", 1)
        assert "nothing to try" in found.notes[-1]


def test_values_are_rounded_and_never_cut_off() -> None:
    base = BlockWeights.uniform(full_layout("sd1"), 0.1)
    found = BlockPlan(base, step=0.2, mode="addsub")
    assert {"AddM00_0.3", "SubM00_-0.1"} <= {one.name for one in found.variants}
    assert "SubM00_-0.1" in str(found.notes[0])
    high = BlockPlan(BlockWeights.uniform(full_layout("sd1"), 1.0), frozenset(), 0.5, "add")
    assert "AddBASE_1.5" in str(high.notes[0])
    assert high.variants[1].weights["BASE"] == 1.5


@given(st.sampled_from([26, 17, 20, 12, 61, 57, 29, 28]), st.sampled_from(MODES), st.floats(0.0001, 3))
def test_each_variant_changes_its_block_alone(length: int, mode: str, step: float) -> None:
    layout = layout_of(length)
    found = BlockPlan(BlockWeights.uniform(layout, 0.5), frozenset(layout.names[1:4]), step, mode)
    for one in found.variants:
        changed = {name for name, value in one.weights.as_dict().items() if value != 0.5}
        assert changed == ({one.block} if one.block else set())
        assert one.block not in layout.names[1:4]
    drawn = [one.weights for one in found.pictures]
    assert len(set(drawn)) == len(drawn)
    assert set(drawn) == {one.weights for one in found.variants}


@pytest.mark.parametrize("step", [0, -0.5, 0.00004, float("nan"), float("inf")])
def test_a_step_that_is_none_is_refused(step: float) -> None:
    with pytest.raises(InputError):
        BlockPlan(BlockWeights.parse(FIRST), step=step)


def test_a_mode_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="less"):
        BlockPlan(BlockWeights.parse(FIRST), mode="less")


def test_a_vector_in_every_length_of_its_family_and_what_is_lost() -> None:
    texts, lost = in_layouts(BlockWeights.parse(FINAL))
    assert texts == {26: FINAL, 17: "1,0,1,0,0,1,1,1,1,1,1,0.5,0,0,0,0,0"}
    assert lost == {17: ("OUT02",)}
    texts, lost = in_layouts(BlockWeights.uniform(full_layout("sdxl"), 1.0))
    assert set(texts) == {20, 12}
    assert len(lost[12]) == 8


C186 = (
    '"down_lr_weight=0.6,0.8,1,0.8,0.8,0.6,0.6,0.6,1,0.6,0.6,0.6" "mid_lr_weight=1" '
    '"up_lr_weight=0.8,0.6,1,1,1,1,0.8,0.8,0.8,0.6,0.6,0.8"'
)
C721 = (
    '"down_lr_weight=0.1,0.2,0.7,0.2,0.2,0.1,0.1,0.1,0.7,0.1,0.1,0.1" "mid_lr_weight=0.7" '
    '"up_lr_weight=0.2,0.1,0.7,0.7,0.7,0.7,0.2,0.2,0.2,0.1,0.1,0.2"'
)


@pytest.mark.parametrize(("name", "text"), [("C186", C186), ("C721", C721)])
def test_rates_of_sd_scripts_both_ways(name: str, text: str) -> None:
    assert lr_weight_text(PresetFile.shipped().resolve(name, "sd1")) == text
    weights, notes = read_lr_weights(text)
    assert lr_weight_text(weights) == text
    assert "BASE" in str(notes[-1])


def test_sdxl_has_nine_three_nine() -> None:
    weights = BlockWeights.parse("1,0,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,1,0.9,0.8,0.7,0.6,0.5,0.4,0.3,0.2")
    text = lr_weight_text(weights)
    assert text == (
        '"down_lr_weight=0,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8" "mid_lr_weight=0.9,0.9,0.9" '
        '"up_lr_weight=1,0.9,0.8,0.7,0.6,0.5,0.4,0.3,0.2"'
    )
    assert read_lr_weights(text)[0] == weights


def test_a_short_vector_and_a_family_without_rates() -> None:
    assert lr_weight_text(BlockWeights.uniform(layout_of(17), 1.0)) == (
        '"down_lr_weight=0,1,1,0,1,1,0,1,1,0,0,0" "mid_lr_weight=1" "up_lr_weight=0,0,0,1,1,1,1,1,1,1,1,1"'
    )
    assert lr_weight_text(BlockWeights.uniform(layout_of(61), 1.0)) == ""


def test_rates_as_a_command_or_a_settings_file_has_them() -> None:
    command = '--network_args "conv_dim=4" "down_lr_weight=sine" mid_lr_weight=0.5 "up_lr_weight=1, 0.5"'
    weights, notes = read_lr_weights(command)
    said = " ".join(map(str, notes))
    assert (weights["IN00"], weights["IN11"], weights["M00"]) == (0, 1, 0.5)
    assert [weights[f"OUT{n:02d}"] for n in range(3)] == [1, 0.5, 1]
    assert "conv_dim=4" in said
    assert "up_lr_weight has 2 numbers for 12 blocks" in said
    weights, notes = read_lr_weights("down_lr_weight = '0,1,1,0,1,1,0,1,1'\nmid_lr_weight = \"1, 0.4, 1\"")
    assert weights.layout.family == "sdxl"
    assert (weights["M00"], weights["OUT08"], weights["IN06"]) == (0.4, 1, 0)
    said = " ".join(map(str, notes))
    assert "up_lr_weight is not there" in said
    assert "parts of the middle differ" in said


@pytest.mark.parametrize("text", ["down_lr_weight=1,a", "down_lr_weight=-1", "mid_lr_weight=1 mid_lr_weight=2", "x=1"])
def test_rates_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        read_lr_weights(text)
