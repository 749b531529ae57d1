"""What people write of a plan, and the answer for every door."""

from __future__ import annotations

import pytest

from lib_lora.blocks.presets import PresetFile
from lib_lora.errors import InputError
from lib_lora.services.block_plan import PlanOptions, answer, plan_of, read_vector

SHIPPED = PresetFile.shipped()
FIRST = "Gobuhime:1,0,0.5,1,0.5,0.5,0.5,0,1,1,0,0,0,1,0.5,0.5,1,1,1,1,0.5,0.5,0.5,0.5,0,0.5"
SAMPLE26 = "SAMPLE26:1,0,1,2,3,4,5,6,7,8,9,10,11,1,0,1,2,3,4,5,6,7,8,9,10,11"
SAMPLE17 = "SAMPLE17:1,1,2,4,5,7,8,1,3,4,5,6,7,8,9,10,11"
NIN = "NIN:1,0,0,0,0,0,0,0,1,1,1,1,1,1,1,1,1"


def planned(vector: str, **more):
    return plan_of(PlanOptions(vector, **more), SHIPPED)


def test_a_line_is_read_and_written_alike() -> None:
    assert planned(FIRST).line == FIRST
    padded = "Gobuhime: 1.0,0.0,0.50,1,.5,0.500,0.5,0,1,1,0,0,0,1,0.5,0.5,1,1,1,1,0.5,0.5,0.5,0.5,0,0.5"
    assert planned(padded).line == FIRST
    assert planned(FIRST.partition(":")[2]).line == FIRST.partition(":")[2]


def test_twenty_six_values_keep_their_places() -> None:
    found = planned(SAMPLE26)
    assert found.name == "SAMPLE26"
    table = found.plan.base.as_dict()
    assert (table["BASE"], table["M00"]) == (1, 1)
    assert [table[f"IN{n:02d}"] for n in range(12)] == [*range(12)] == [table[f"OUT{n:02d}"] for n in range(12)]


@pytest.mark.parametrize(
    ("vector", "fill", "whole"),
    [
        (SAMPLE17, 0, "SAMPLE17:1,0,1,2,0,4,5,0,7,8,0,0,0,1,0,0,0,3,4,5,6,7,8,9,10,11"),
        (NIN, 0.5, "NIN:1,0.5,0,0,0.5,0,0,0.5,0,0,0.5,0.5,0.5,0,0.5,0.5,0.5,1,1,1,1,1,1,1,1,1"),
        ("S12:1,4,5,7,8,1,2,3,4,5,6,7", 0.5, "S12:1,0.5,0.5,0.5,0.5,4,5,0.5,7,8,1,2,3,4,5,6,7,0.5,0.5,0.5"),
        ("S20:" + ",".join("1" * 20), 0.5, "S20:" + ",".join("1" * 20)),
    ],
)
def test_a_shorter_vector_is_filled(vector: str, fill: float, whole: str) -> None:
    assert planned(vector, fill=fill).line == whole


def test_without_a_fill_value_a_vector_keeps_its_length() -> None:
    found = answer(planned(SAMPLE17))
    assert found["weight"] == SAMPLE17
    assert len(found["free"]) == 17
    assert found["layouts"]["26"] == "1,0,1,2,0,4,5,0,7,8,0,0,0,1,0,0,0,3,4,5,6,7,8,9,10,11"


def test_a_presets_name_is_its_numbers_and_may_get_another_name() -> None:
    found = planned("gobuhime")
    assert found.line == "Gobuhime:1,0,0,1,0,0,0,0,1,1,0,0,0,1,0,0,1,1,1,1,0.5,0,0,0,0,0"
    assert planned("mine:Gobuhime").line == found.line.replace("Gobuhime", "mine")
    assert planned("ALL", family="sdxl").plan.layout.length == 20
    assert planned("FLUXALL").plan.layout.length == 61


def test_rates_of_sd_scripts_become_a_plan() -> None:
    found = planned('"down_lr_weight=0,0.5" "mid_lr_weight=1"')
    assert found.plan.base["IN01"] == 0.5
    assert "up_lr_weight is not there" in " ".join(map(str, found.notes))


def test_full_width_signs_are_read() -> None:
    assert planned(FIRST.replace(",", "，").replace(":", "：")).line == FIRST
    assert planned(FIRST, fix="ＩＮ００、mid").plan.fixed == {"IN00", "M00"}


def test_what_is_fixed_stays() -> None:
    found = planned(SAMPLE17, fix="BASE, IN00, NOT OUT11")
    assert found.plan.free == ("OUT11",)
    assert "no IN00" in str(found.notes[0])
    present = plan_of(PlanOptions(FIRST, fix="BASE"), SHIPPED, present=["BASE", "IN01", "M00"])
    assert present.plan.free == ("IN01", "M00")
    assert "no modules in IN00" in str(present.notes[0])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"vector": FIRST, "fix": "IN00,IN50"}, "IN50"),
        ({"vector": FIRST, "fix": "IN00-"}, "range|IN00"),
        ({"vector": "Gobuhimee"}, "Gobuhimee"),
        ({"vector": "A:1,2,3"}, "26"),
        ({"vector": "A:"}, "no block weights"),
        ({"vector": "R" + ",1" * 16}, "random"),
        ({"vector": FIRST, "family": "sdxl"}, "26 block weights"),
        ({"vector": FIRST, "step": 0}, "out of range"),
        ({"vector": FIRST, "mode": "less"}, "less"),
    ],
)
def test_what_cannot_be_right_is_refused(wrong, said: str) -> None:
    with pytest.raises(InputError, match=said):
        planned(**wrong)


def test_a_block_that_is_none_gets_its_nearest_names() -> None:
    with pytest.raises(InputError) as error:
        planned(FIRST, fix="IN00, OUT12")
    assert "OUT" in str(error.value.cure)
    assert error.value.option == "fix"


def test_an_x_counts_one_and_that_is_said() -> None:
    _, weights, notes = read_vector("X" + ",0.5" * 16, SHIPPED)
    assert weights["BASE"] == 1
    assert "X counts 1" in str(notes[0])


def test_the_answer_has_the_texts_for_others() -> None:
    found = answer(planned(FIRST, fix="BASE-OUT05", mode="addsub"))
    assert {"presets", "prompt_sr", "eba_blocks", "lr_weight"} <= set(found)
    assert found["presets"][0] == FIRST.replace("Gobuhime", "Add")
    assert found["prompt_sr"].startswith("Add, AddOUT06_1, AddOUT07_1")
    assert found["eba_blocks"] == "OUT06,OUT07,OUT08,OUT09,OUT10,OUT11"
    assert found["pictures"] == 13
    assert answer(planned("FLUXALL"))["lr_weight"] == ""
    assert "no rates" in str(planned("FLUXALL").notes[-1])
