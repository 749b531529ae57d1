"""Promises of preset and element files: checked by line, saved whole, resolved per family."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_lora.blocks.elements import BESIDE, ElementFile
from lib_lora.blocks.errors import TagError
from lib_lora.blocks.layouts import full_layout, layout_of
from lib_lora.blocks.presets import PresetFile
from lib_lora.blocks.tag import parse_tag, resolve
from lib_lora.blocks.weights import BlockWeights
from lib_lora.errors import FileError, InputError

ONES17 = ",".join(["1"] * 17)
SHIPPED = PresetFile.shipped()


def test_the_shipped_files_have_no_problem() -> None:
    assert SHIPPED.problems == ()
    assert ElementFile.shipped().problems == ()


def test_the_shipped_presets_hold_the_known_vectors() -> None:
    known = "NONE ALL INS IND INALL MIDD OUTD OUTS OUTALL ALL0.5 FLUXALL Gobuhime NIN FACE Face_c BODY Body_c"
    known += " BODY_soft CharLrWeight Char876_c Char654_c Char432_c Face_4 Face_k Face_s UpperBody_4"
    assert set(known.split()) <= set(SHIPPED.names())
    assert SHIPPED.resolve("Gobuhime", "sd1").format() == "1,0,0,1,0,0,0,0,1,1,0,0,0,1,0,0,1,1,1,1,0.5,0,0,0,0,0"
    assert SHIPPED.resolve("Char432_c", "sd1").format().startswith("0.4,0.2,0.3,0.4,0.3,0.3,0.2")
    assert SHIPPED.resolve("NIN", "sd1") == SHIPPED.resolve("OUTALL", "sd1")
    face_s = SHIPPED.resolve("Face_s", "sd1").as_dict()
    assert {name: v for name, v in face_s.items() if v} == {
        "BASE": 1, "OUT03": 0.8, "OUT04": 1, "OUT05": 1, "OUT06": 0.2
    }  # fmt: skip


@pytest.mark.parametrize("text", ["1 0 0.5", "1;0;0.5", "1 | 0 | 0.5"])
def test_numbers_without_commas_are_told_to_have_some(text: str) -> None:
    with pytest.raises(InputError) as error:
        SHIPPED.vector(text, "sd1")
    assert "1,0,0.5" in str(error.value.cure)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl", "flux"])
@pytest.mark.parametrize(("name", "value"), [("ALL", 1), ("none", 0), ("ALL0.5", 0.5), ("all0.7", 0.7)])
def test_all_and_none_mean_every_block_of_every_family(family: str, name: str, value: float) -> None:
    expected = BlockWeights.uniform(full_layout(family), value)
    assert SHIPPED.resolve(name, family) == expected
    assert PresetFile.parse(f"ALL:{ONES17}").resolve(name, family) == expected


def test_an_all_that_a_user_changed_is_what_the_user_wrote() -> None:
    changed = PresetFile.parse("ALL:0" + ",1" * 16)
    assert changed.resolve("ALL", "sd1")["BASE"] == 0.0
    with pytest.raises(InputError, match="OUT00"):
        changed.resolve("ALL", "sdxl")


def test_exact_spelling_comes_before_any_case() -> None:
    presets = PresetFile.parse("Face:1" + ",0" * 16 + "\nFACE:0" + ",0" * 16)
    assert presets.problems == ()
    assert presets.resolve("Face", "sd1")["BASE"] == 1.0
    assert presets.resolve("FACE", "sd1")["BASE"] == 0.0
    assert presets.resolve("face", "sd1")["BASE"] == 0.0


def test_one_name_may_have_a_vector_for_each_family() -> None:
    assert SHIPPED.resolve("OUTALL", "sdxl")["OUT00"] == 1.0
    assert SHIPPED.resolve("OUTALL", "sd1")["OUT00"] == 0.0


def test_an_unknown_name_lists_near_ones() -> None:
    with pytest.raises(InputError, match="Gobuhime"):
        SHIPPED.resolve("Gobuhimee", "sd1")


def test_each_broken_line_is_named_by_number_and_the_others_still_count() -> None:
    text = f"\ufeff# head\nA:{ONES17} # kept\nno colon\nB:1,1\nC,D:{ONES17}\nE:F:{ONES17}\n7:{ONES17}\nA:{ONES17}\n"
    presets = PresetFile.parse(text.lstrip("\ufeff"))
    assert presets.names() == ("A",)
    assert [(p.line, p.fatal) for p in presets.problems] == [
        (3, True), (4, True), (5, True), (6, True), (7, True), (8, False)
    ]  # fmt: skip
    assert "got 2, allowed 12/17/20/26/28" in str(presets.problems[1])
    assert "line 8: A is already on line 2" in str(presets.problems[-1])


def test_saving_keeps_the_old_contents_as_backups(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    for number in range(4):
        PresetFile.parse(f"P{number}:{ONES17}\n").save(path, backups=2)
    assert PresetFile.load(path).names() == ("P3",)
    assert PresetFile.load(tmp_path / "p.txt.bak1").names() == ("P2",)
    assert PresetFile.load(tmp_path / "p.txt.bak2").names() == ("P1",)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.txt", "p.txt.bak1", "p.txt.bak2"]


def test_saving_the_same_text_again_makes_no_backup(tmp_path: Path) -> None:
    SHIPPED.save(tmp_path / "p.txt")
    SHIPPED.save(tmp_path / "p.txt")
    assert [p.name for p in tmp_path.iterdir()] == ["p.txt"]


def test_broken_or_empty_presets_never_replace_a_file(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    SHIPPED.save(path)
    before = path.read_bytes()
    with pytest.raises(InputError, match="line 2"):
        PresetFile.parse(f"A:{ONES17}\nB:1").save(path)
    with pytest.raises(InputError, match="no preset left"):
        PresetFile.parse("").save(path)
    assert path.read_bytes() == before
    PresetFile.parse("").save(path, allow_empty=True)
    assert path.read_bytes() == b""
    assert (tmp_path / "p.txt.bak1").read_bytes() == before


def test_a_failed_write_leaves_no_temporary_file(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(FileError):
        SHIPPED.save(target)
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"A\xff:1")
    for name in ("latin", "missing"):
        with pytest.raises(FileError, match=name):
            PresetFile.load(tmp_path / name)


def test_a_preset_is_replaced_in_place_or_added() -> None:
    presets = PresetFile.parse(f"# c\nA:{ONES17}\n").with_preset("A", "0" + ",0" * 16).with_preset("B", ONES17)
    assert presets.text == "# c\nA:0" + ",0" * 16 + f"\nB:{ONES17}\n"


@given(st.text(max_size=200))
def test_any_text_is_read_without_an_exception(text: str) -> None:
    PresetFile.parse(text)
    ElementFile.parse(text)


@given(st.text(alphabet="INOUTM0123456789:-,. \nattnNOT#", max_size=120))
def test_any_element_text_is_read_or_has_a_line(text: str) -> None:
    for problem in ElementFile.parse(text).problems:
        assert 1 <= problem.line <= len(text.splitlines())


def test_the_last_matching_element_rule_wins() -> None:
    rules = ElementFile.parse("A:IN05-OUT05:attn:1,IN08:attn2:0.25\nM00::0.5").resolve("a")
    assert rules.ratio("IN08", "lora_unet_x_attn1_to_q") == 1.0
    assert rules.ratio("IN08", "lora_unet_x_attn2_to_q") == 0.25
    assert rules.ratio("M00", "lora_unet_mid_block_resnets_0_conv1") == 0.5
    assert rules.ratio("IN08", "lora_unet_x_ff_net_2") is None
    assert rules.ratio("IN04", "lora_unet_x_attn1_to_q") is None


def test_element_presets_beside_the_preset_file_are_known_to_its_tags(tmp_path: Path) -> None:
    path = tmp_path / "lbwpresets.txt"
    path.write_text("MINE:" + ",".join("1" * 17) + "\n", encoding="utf-8")
    (tmp_path / BESIDE).write_text("\ufeffEYES:OUT05:attn:0.5\n\nattndeepon:M00::2\n\nBAD:OUT99::1\n", encoding="utf-8")
    presets = PresetFile.load(path)
    eyes = resolve(parse_tag("<lora:n:1:MINE:lbwe=eyes>"), presets, "sd1", 0).elements
    assert eyes.ratio("OUT05", "lora_unet_x_attn1") == 0.5
    own = resolve(parse_tag("<lora:n:1:MINE:lbwe=ATTNDEEPON>"), presets, "sd1", 0).elements
    assert own.ratio("M00", "x") is None  # the exact spelling comes first, and that one is shipped
    assert presets.elements.resolve("attndeepon").ratio("M00", "x") == 2
    with pytest.raises(TagError, match="BAD") as told:
        resolve(parse_tag("<lora:n:1:MINE:lbwe=BAD>"), presets, "sd1", 0)
    assert "elempresets.txt" in str(told.value.cure)
    assert PresetFile.shipped().elements == ElementFile.shipped()


def test_element_blocks_are_exact_ids_and_not_inverts_them() -> None:
    rules = ElementFile.parse("A:NOT IN01:NOT attn ff:0\n\nB:::1\n\nC:D01-S00 other::0.5").resolve
    assert rules("A").ratio("IN10", "conv1") == 0.0
    assert rules("A").ratio("IN01", "conv1") is None
    assert rules("A").ratio("IN10", "ff_net_2") is None
    assert rules("A").ratio("other", "time_embed") is None
    assert rules("B").ratio("other", "time_embed") == 1.0
    assert (rules("C").ratio("S00", ""), rules("C").ratio("other", ""), rules("C").ratio("IN", "")) == (0.5, 0.5, None)


def test_wrong_element_rules_are_named_by_line_and_left_out() -> None:
    text = "GOOD:::1\n\nA:IN0:attn:1\n\nB:IN05:attn\n\nC:IN00::x\nD:IN01::1\n\nE::NOT:1\n\nF:\n\nencoder"
    elements = ElementFile.parse(text)
    assert [preset.name for preset in elements.presets] == ["GOOD"]
    assert [problem.line for problem in elements.problems] == [3, 5, 7, 8, 10, 12, 14]
    with pytest.raises(InputError, match="GOOD"):
        elements.resolve("GOOOD")


def test_shipped_element_presets_act_on_the_deep_blocks() -> None:
    off = ElementFile.shipped().resolve("ATTNDEEPOFF")
    inside = {name for name in layout_of(26).names if off.ratio(name, "x_attn1_to_q") == 0.0}
    assert inside == {*layout_of(26).names[6:20]}
    assert off.ratio("M00", "proj_in") is None


@pytest.mark.parametrize(
    "line",
    [
        "顔：" + ONES17,
        "顔:" + "，".join("１" * 17),
        "顔:" + "、".join("1" * 17),
        "\ufeff顔\u200b: " + ONES17 + "\u200b",
    ],
)
def test_a_japanese_keyboards_signs_are_read_in_files_as_in_tags(line: str) -> None:
    file = PresetFile.parse(line)
    assert file.problems == ()
    assert file.lookup("顔", "sd1").weights().values == (1.0,) * 17
    assert PresetFile.parse(f"顔：笑顔:{ONES17}").names() == ("顔：笑顔",)


def test_a_minus_of_a_japanese_keyboard_and_rules_of_elements() -> None:
    minus = PresetFile.parse("A:−0.5," + ",".join("1" * 16))
    assert minus.lookup("A", "sd1").weights().values[0] == -0.5
    elements = ElementFile.parse("深い：ＩＮ０５：attn：０．５")
    assert elements.problems == ()
    assert elements.resolve("深い").ratio("IN05", "lora_unet_attn") == 0.5


def test_a_name_cannot_steer_a_terminal() -> None:
    assert PresetFile.parse("\x1b[31mA:" + ONES17).presets == ()


def test_a_name_of_the_file_is_looked_up_before_it_is_read_as_numbers() -> None:
    mine = PresetFile.parse(f"顔、体:{ONES17}\n１２:{ONES17}\n顔，髪:0{ONES17[1:]}")
    assert [problem.line for problem in mine.problems] == [2]  # a number would be a strength in a tag
    assert mine.vector("顔、体", "sd1").name == "顔、体"
    assert mine.vector("顔，髪", "sd1").weights()["BASE"] == 0
    assert SHIPPED.vector("all 0.5", "sd1").weights() == BlockWeights.uniform(full_layout("sd1"), 0.5)


@pytest.mark.parametrize(
    ("name", "cure"),
    [("2b_facs", "2b_face"), ("1/2", "strength like 0.8"), ("100%", "strength like 0.8"), ("nan", "strength like 0.8")],
)
def test_a_name_that_begins_with_a_number_gets_near_names_too(name: str, cure: str) -> None:
    with pytest.raises(InputError) as error:
        PresetFile.parse(f"2b_face:{ONES17}\nNIN:{ONES17}").vector(name, "sd1")
    assert cure in str(error.value.cure)
