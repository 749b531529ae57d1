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


TENTHS = ",".join(["0.1"] * 26)
HALVES = ",".join(["0.5"] * 17)
ONES20, ONES26 = ",".join("1" * 20), ",".join("1" * 26)


@pytest.mark.parametrize(
    ("vector", "more", "prompt_sr", "last"),
    [
        (f"A:{TENTHS}", {"fix": "NOT IN00", "step": 0.2, "mode": "subadd"}, "Sub, SubIN00_-0.1, Add, AddIN00_0.3", 0.3),
        (f"A:{TENTHS}", {"fix": "IN00-OUT11", "step": 0.7, "mode": "add"}, "Add, AddBASE_0.8", 0.8),
        (f"A:{HALVES}", {"fix": "BASE,IN02-OUT11"}, "Sub, SubIN01_0", 0),
        (f"A:-{HALVES}", {"fix": "IN01-OUT11", "mode": "addsub"}, "Add, AddBASE_0, Sub, SubBASE_-1", -1),
        (f"A:0.33333333,{HALVES[4:]}", {"fix": "IN01-OUT11", "step": 0.33333}, "Sub, SubBASE_0", 0),
        (f"A:1e-5,{HALVES[4:]}", {"fix": "IN01-OUT11", "step": 0.0001}, "Sub, SubBASE_-0.0001", -0.0001),
        (f"A:-0,{HALVES[4:]}", {"fix": "IN01-OUT11", "step": 0.25, "mode": "add"}, "Add, AddBASE_0.25", 0.25),
        (f"A:{ONES26}", {"fix": "OUT11-OUT01, mid, in00-IN11, base"}, "Sub, SubOUT00_0.5", 0.5),
        (f"A:{ONES20}", {"fix": "IN00-OUT07", "mode": "add"}, "Add, AddBASE_1.5, AddOUT08_1.5", 1.5),
        ("A:1,.5,1,1,1,1,1,1,1,1,1,1", {"fix": "NOT IN04", "step": 0.25}, "Sub, SubIN04_0.25", 0.25),
        (f"A:{ONES26}", {"fix": "BASE-OUT11", "mode": "addsub"}, "Add, Sub", None),
        (f"A:{','.join('1' * 61)}", {"fix": "T5-OUT", "step": 0.05, "mode": "add"}, "Add, AddCLIP_1.05", 1.05),
    ],
)
def test_names_and_values_of_variants(vector: str, more, prompt_sr: str, last: float | None) -> None:
    plan = planned(vector, **more).plan
    assert plan.prompt_sr == prompt_sr
    assert plan.variants[-1].name == prompt_sr.rpartition(", ")[2]
    assert (plan.variants[-1].weights[plan.free[-1]] if plan.free else None) == last
    assert [line.partition(":")[0] for line in plan.presets] == prompt_sr.split(", ")


@pytest.mark.parametrize(
    ("text", "family", "down", "mid", "up"),
    [
        ('"down_lr_weight=0,0.5,1" "mid_lr_weight=0" "up_lr_weight=0.25"', None, "0,0.5,1" + ",1" * 9, "0", "0.25"),
        (
            "down_lr_weight=sine+0.25",
            "sdxl",
            "0.25,0.4451,0.6327,0.8056,0.9571,1.0815,1.1739,1.2308,1.25",
            "1,1,1",
            "1",
        ),
        ("up_lr_weight=reverse_linear", "sdxl", "1", "1,1,1", "1,0.875,0.75,0.625,0.5,0.375,0.25,0.125,0"),
        ("mid_lr_weight=1,0.5,1", "sdxl", "1", "0.5,0.5,0.5", "1"),
        ('{"down_lr_weight": "0.5", "mid_lr_weight": "0.25", "up_lr_weight": ""}', None, "0.5", "0.25", "1"),
        ("network_args = ['down_lr_weight=0.5', 'mid_lr_weight=0', 'up_lr_weight=1']", None, "0.5", "0", "1"),
        ("up_lr_weight = '0,0,0,1,1,1,0,0,0'", None, "1", "1,1,1", "0,0,0,1,1,1,0,0,0"),
    ],
)
def test_rates_are_read_and_written_back(text: str, family: str | None, down: str, mid: str, up: str) -> None:
    count = 9 if "," in mid else 12
    found = planned(text, family=family)
    rates = answer(found)["lr_weights"]
    wide = {name: value if "," in value else ",".join([value] * count) for name, value in (("down", down), ("up", up))}
    assert rates == {
        "down_lr_weight": wide["down"],
        "mid_lr_weight": mid,
        "up_lr_weight": wide["up"],
    }
    assert planned(found.plan.lr_weight, family=family).plan.base == found.plan.base


def test_what_stands_beside_rates_is_said_not_to_be_used() -> None:
    notes = " ".join(map(str, planned('{"down_lr_weight": "1", "unet_lr": 0.0001, "network_args": [], "x": ""}').notes))
    assert "Not used: unet_lr: 0.0001." in notes
    assert "network_args" not in notes
    assert "Not used" not in " ".join(map(str, planned('network_args = ["down_lr_weight=1"]').notes))


def test_a_short_vectors_rates_of_0_are_said() -> None:
    assert "not name get 0 and are not trained: IN00, IN03, IN06" in str(planned(SAMPLE17).notes[-1])
    assert not any("not trained" in str(note) for note in planned(SAMPLE17, fill=1).notes)


@pytest.mark.parametrize("after", ["# note", "  #1,2,3", " ", "\u200b"])
def test_a_line_may_end_with_a_comment(after: str) -> None:
    assert planned(SAMPLE17 + after).line == SAMPLE17


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (f"A:{HALVES},", "got 18 .1 of them empty"),
        (f"A:0.5,,{HALVES[8:]}", "Value 2 is empty"),
        (f"A:nan{HALVES[3:]}", "Value 1, “nan”"),
        (f"A:1e400{HALVES[3:]}", "Value 1|finite|large"),
        (f"A:B:{HALVES}", "Value 1, “B:0.5”"),
        ("26ALL", "no preset “26ALL”"),
        ("down_lr_weight=-1", "below 0"),
        ("down_lr_weight=1 down_lr_weight=0", "twice"),
        ("down_lr_weight=tan", "neither numbers"),
    ],
)
def test_lines_that_cannot_be_right(wrong: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        planned(wrong)


@pytest.mark.parametrize(
    ("text", "down"),
    [
        ("down_lr_weight=0,,0.5", "0,0,0.5,1,1,1,1,1,1,1,1,1"),  # nothing between two commas is 0
        ("down_lr_weight=zeros +0.5", "0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5"),
        ("down_lr_weight=zeros+.5,mid_lr_weight=1,up_lr_weight=1", ",".join(["0.5"] * 12)),
        ('{"down_lr_weight": [0, 0.5], "mid_lr_weight": 0.5}', "0,0.5,1,1,1,1,1,1,1,1,1,1"),
        ('{"mid_lr_weight": 0.5, "down_lr_weight": 0.25}', ",".join(["0.25"] * 12)),
        ("down_lr_weight＝０、０．５", "0,0.5,1,1,1,1,1,1,1,1,1,1"),
        ("down_lr_weight= mid_lr_weight=0.5", ",".join(["1"] * 12)),
    ],
)
def test_rates_are_read_to_their_end(text: str, down: str) -> None:
    _, weights, _ = read_vector(text, SHIPPED)
    assert ",".join(weights.format().split(",")[1:13]) == down


def test_rates_without_commas_are_refused_and_not_cut_off() -> None:
    with pytest.raises(InputError, match="0 0.5 1.*neither numbers"):
        read_vector("down_lr_weight=0 0.5 1", SHIPPED)


def test_a_copied_tag_is_read_with_its_x() -> None:
    line = FIRST.partition(":")[2]
    assert planned(f"<lora:n:0.8:lbw={line}>").line == line
    assert planned("<lora:n:1:Gobuhime:start=5>").name == "Gobuhime"
    found = planned("<lora:n:1:lbw=X," + "0," * 24 + "0:x=0.3>")
    assert (found.plan.base["BASE"], any("X counts" in note for note in found.notes)) == (0.3, False)
    with pytest.raises(InputError, match="no block weights"):
        planned("<lora:n:1>")


def test_a_fill_value_without_effect_is_said() -> None:
    assert any("nothing to fill" in note for note in planned(FIRST, fill=0.5).notes)
    assert not any("nothing to fill" in note for note in planned(NIN, fill=0.5).notes)
