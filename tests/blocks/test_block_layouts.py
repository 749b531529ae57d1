"""Promises of the layouts: names by length, and every module path in exactly one block."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib_lora.architectures.registry import layouts
from lib_lora.blocks.block_list import parse_block_list
from lib_lora.blocks.errors import PositionError
from lib_lora.blocks.layouts import (
    BASE,
    OTHER,
    Layout,
    attention_layout,
    block_of_path,
    blocked_families,
    canonical,
    full_layout,
    layout_of,
    prefixes,
)
from lib_lora.errors import InputError

FAMILIES = blocked_families()
LENGTHS = sorted({layout.length for layout in layouts()})


def test_every_layout_has_as_many_distinct_names_as_its_length() -> None:
    assert LENGTHS == [12, 17, 20, 26, 28, 29, 40, 41, 52, 53, 57, 61]
    for layout in layouts():
        assert len(layout.names) == len(set(layout.names)) == layout.length


def test_layouts_list_the_blocks_in_the_order_of_the_written_vectors() -> None:
    seventeen = "BASE IN01 IN02 IN04 IN05 IN07 IN08 M00 OUT03 OUT04 OUT05 OUT06 OUT07 OUT08 OUT09 OUT10 OUT11"
    assert " ".join(layout_of(17).names) == seventeen
    assert " ".join(layout_of(12).names) == "BASE IN04 IN05 IN07 IN08 M00 OUT00 OUT01 OUT02 OUT03 OUT04 OUT05"
    assert layout_of(26).names[:2] + layout_of(26).names[12:15] == ("BASE", "IN00", "IN11", "M00", "OUT00")
    assert layout_of(20).names[-1] == "OUT08"
    assert layout_of(61).names[:4] + layout_of(61).names[-2:] == ("CLIP", "T5", "IN", "D00", "S37", "OUT")


def test_sd2_shares_the_layouts_of_sd1() -> None:
    assert full_layout("sd2") is full_layout("sd1") is layout_of(26)
    assert attention_layout("sdxl") is layout_of(12)
    with pytest.raises(InputError, match="sd3"):
        full_layout("sd3")


@pytest.mark.parametrize(
    ("path", "family", "block"),
    [
        ("down_blocks_1_attentions_0_proj_in", "sd1", "IN04"),
        ("lora_unet_down_blocks_2_attentions_1_transformer_blocks_0_attn1_to_q", "sd1", "IN08"),
        ("input_blocks.4.1.proj_in", "sd1", "IN04"),
        ("input_blocks.11.0.in_layers.2", "sd1", "IN11"),
        ("diffusion_model_output_blocks_10_1_proj_out", "sd1", "OUT10"),
        ("model.diffusion_model.output_blocks.1.0.emb_layers.1", "sd1", "OUT01"),
        ("conv_in", "sd1", "IN00"),
        ("down_blocks.0.downsamplers.0.conv", "sd1", "IN03"),
        ("down_blocks_2_downsamplers_0_conv", "sd1", "IN09"),
        ("down_blocks_3_resnets_1_conv1", "sd1", "IN11"),
        ("mid_block_attentions_0_proj_in", "sd1", "M00"),
        ("middle_block_2_in_layers_2", "sdxl", "M00"),
        ("up_blocks_0_upsamplers_0_conv", "sd1", "OUT02"),
        ("up_blocks_2_upsamplers_0_conv", "sd1", "OUT08"),
        ("up_blocks_3_attentions_2_proj_in", "sd1", "OUT11"),
        ("input_blocks_8_1_transformer_blocks_9_ff_net_2", "sdxl", "IN08"),
        ("up_blocks_0_upsamplers_0_conv", "sdxl", "OUT02"),
        ("up_blocks_2_resnets_2_conv2", "sdxl", "OUT08"),
        ("time_embedding_linear_1", "sd1", OTHER),
        ("label_emb.0.2", "sdxl", OTHER),
        ("out_2", "sd1", OTHER),
        ("conv_out", "sd1", OTHER),
        ("down_blocks_3_resnets_0_conv1", "sdxl", OTHER),
        ("double_blocks_18_img_attn_qkv", "flux", "D18"),
        ("lora_unet_single_blocks_3_linear1", "flux", "S03"),
        ("transformer.transformer_blocks.1.attn.to_q", "flux", "D01"),
        ("single_transformer_blocks_37_attn_to_q", "flux", "S37"),
        ("img_in", "flux", "IN"),
        ("final_layer_linear", "flux", "OUT"),
    ],
)
def test_a_path_finds_its_block_in_every_spelling(path: str, family: str, block: str) -> None:
    assert block_of_path(path, family) == block


@pytest.mark.parametrize("family", FAMILIES)
def test_every_prefix_leads_back_to_its_own_block_only(family: str) -> None:
    for block in (*full_layout(family).names, OTHER):
        both = prefixes(block, family)
        for prefix in (*both.ldm, *both.diffusers):
            assert block_of_path(prefix + ".x", family) == block
            assert block_of_path("lora_unet_" + prefix.replace(".", "_"), family) == block


@given(path=st.text(max_size=60), family=st.sampled_from(FAMILIES))
def test_any_path_is_in_a_block_of_the_family_or_in_other(path: str, family: str) -> None:
    assert block_of_path(path, family) in (*full_layout(family).names, OTHER)


@given(data=st.data(), family=st.sampled_from(FAMILIES))
def test_a_name_is_recognized_in_any_case(data: st.DataObject, family: str) -> None:
    name = data.draw(st.sampled_from((*full_layout(family).names, BASE, OTHER)))
    mixed = "".join(c.upper() if data.draw(st.booleans()) else c.lower() for c in name)
    assert canonical(mixed, family) == name


def test_the_middle_block_has_three_names() -> None:
    assert {canonical(name, "sdxl") for name in ("M00", "mid", "M")} == {"M00"}


def test_an_unknown_block_names_near_ones() -> None:
    with pytest.raises(InputError, match="IN04"):
        canonical("IN4", "sd1")
    with pytest.raises(InputError, match="sdxl"):
        canonical("OUT11", "sdxl")


def test_a_block_list_takes_single_grouped_ranged_and_inverted_entries() -> None:
    layout = layout_of(26)
    assert parse_block_list("base, in01 IN04,mid", layout) == [("BASE",), ("IN01", "IN04"), ("M00",)]
    assert parse_block_list("OUT01 - IN11", layout) == [("IN11", "M00", "OUT00", "OUT01")]
    assert parse_block_list("NOT IN00-OUT11", layout) == [("BASE",)]
    assert parse_block_list("not BASE IN01-OUT11", layout) == [("IN00",)]
    assert parse_block_list("other, M00 other", layout) == [("other",), ("M00", "other")]
    assert parse_block_list("  ", layout) == []
    assert parse_block_list("ＩＮ０１、ｍｉｄ －out00,", layout) == [("IN01",), ("M00", "OUT00")]


def test_block_list_shortcuts_mean_every_block_of_that_layout() -> None:
    assert parse_block_list(" 17all ", layout_of(26)) == [(name,) for name in layout_of(17).names]
    assert len(parse_block_list("20ALL", layout_of(20))) == 20
    with pytest.raises(PositionError, match="OUT09"):
        parse_block_list("26ALL", layout_of(20))


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("IN01,,IN02", 5),
        ("IN01, FOO", 6),
        ("IN08-M00-OUT03", 8),
        ("IN01-", 4),
        ("IN01-IN99", 5),
        ("NOT", 0),
        ("NOT BASE-OUT11", 0),
        ("17ALL,IN00", 0),
        ("other-IN02", 0),
    ],
)
def test_a_wrong_block_list_points_at_the_entry(text: str, position: int) -> None:
    with pytest.raises(PositionError) as caught:
        parse_block_list(text, layout_of(26))
    assert caught.value.position == position


@given(text=st.text(alphabet="INOUTM0123 -,other\t", max_size=80), length=st.sampled_from(LENGTHS))
def test_any_block_list_gives_known_blocks_or_a_position(text: str, length: int) -> None:
    groups = outcome(text, layout_of(length))
    if isinstance(groups, PositionError):
        assert 0 <= groups.position <= len(text)
        return
    assert all(groups)
    assert {name for group in groups for name in group} <= {*layout_of(length).names, OTHER}


def outcome(text: str, layout: Layout) -> list[tuple[str, ...]] | PositionError:
    try:
        return parse_block_list(text, layout)
    except PositionError as error:
        return error
