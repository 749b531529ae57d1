"""Tier 3: splits by a mask, colors against light, where a change falls, and the plain sentence."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from lib_lora.analysis.effective_block import Analysis, Cell, Row, SweepSpec
from lib_lora.analysis.options import AnalyzeOptions
from lib_lora.analysis.tiers.bars import draw_bars
from lib_lora.analysis.tiers.picture_tier import change_map, color_share, draw_maps, in_one_place, picture_result, split
from lib_lora.blocks.layouts import full_layout

SIZE = 40


def picture(*, left=(0, 0, 0), right=(0, 0, 0)):
    """A picture of two halves."""
    levels = np.zeros((SIZE, SIZE, 3), np.uint8) + 100
    levels[:, : SIZE // 2] += np.array(left, np.uint8)
    levels[:, SIZE // 2 :] += np.array(right, np.uint8)
    return Image.fromarray(levels)


def analysis_of(floor=0.0, **changed):
    """An analysis of one seed; ``changed`` are pictures by block, None for a block without modules."""
    plan = SweepSpec(0, 1, tuple((name,) for name in changed), full_layout("sd1"), AnalyzeOptions())
    percents = {"IN01": 25.0, "M00": 50.0, "OUT03": 0.0}
    rows = tuple(
        Row((name,), image is not None, (Cell(image, percents.get(name, 10.0) if image else 0.0),))
        for name, image in changed.items()
    )
    return Analysis(plan, (picture(),), floor, rows, True)


LEFT = Image.fromarray(np.repeat(np.arange(SIZE)[None] < SIZE // 2, SIZE, 0).astype(np.uint8) * 255)


def test_a_mask_splits_the_percentage_into_wanted_and_unwanted():
    levels = np.asarray(picture(left=(50, 0, 0), right=(30, 30, 0)), np.float32) - np.asarray(picture(), np.float32)
    subject = np.asarray(LEFT) > 127
    wanted, unwanted = split(levels, subject, 20)
    assert (wanted, unwanted) == (pytest.approx(100 / 6), pytest.approx(100 / 3))
    assert split(levels, subject, 50) == (0.0, 0.0)  # strictly more than the threshold


def test_color_against_light():
    assert color_share(np.full((4, 4, 3), 7, np.float32)) == pytest.approx(0, abs=1e-9)
    blue = np.zeros((4, 4, 3), np.float32)
    blue[..., 2] = 50
    assert color_share(blue) > 0.9
    assert math.isnan(color_share(np.zeros((4, 4, 3), np.float32)))


def test_one_place_or_all_over():
    spot = np.zeros((20, 20, 3), np.float32)
    spot[:5, :5] = 90
    assert in_one_place([spot])
    assert not in_one_place([spot, np.full((20, 20, 3), 9, np.float32)])


def test_each_block_gets_a_plain_sentence_and_what_the_mask_splits():
    found = picture_result(
        analysis_of(IN01=picture(left=(0, 0, 90)), M00=picture(right=(60, 60, 60)), OUT03=picture(), IN00=None),
        lora="krnk",
        mask=LEFT,
    )
    said = {row.block: row.said for row in found.rows}
    assert said["IN01"] == "IN01 changes mostly colors of the subject; the background stays (25.0 %)."
    assert said["M00"] == "M00 changes mostly shapes and light of the background; the subject stays (50.0 %)."
    assert said["OUT03"] == "OUT03 changes nothing that noise would not change as well."
    assert said["IN00"] == "IN00 has no modules in this LoRA."
    row = found.rows[0].values
    assert (row["wanted"].mean, row["unwanted"].mean) == (pytest.approx(100 / 6), 0.0)
    assert found.ranking() == ["M00", "IN01", "OUT03"]


def test_without_a_mask_the_sentence_says_where():
    found = picture_result(analysis_of(M00=picture(left=(60, 60, 60), right=(60, 60, 60))))
    assert found.rows[0].said == "M00 changes mostly shapes and light all over the picture (50.0 %)."
    assert "wanted" not in found.rows[0].values


def test_maps_are_red_where_a_block_changes_the_picture():
    analysis = analysis_of(M00=picture(left=(60, 60, 60)))
    drawn = np.asarray(change_map(analysis, analysis.rows[0]), np.int16)
    assert drawn[5, 5, 0] - drawn[5, 5, 2] > 150
    assert abs(drawn[5, 35, 0] - drawn[5, 35, 2]) == 0
    assert draw_maps(analysis, picture_result(analysis), title="krnk").width > 200


def test_bars_show_values_spreads_and_the_floor():
    drawn = draw_bars(picture_result(analysis_of(30.0, IN01=picture(left=(90, 0, 0)), M00=picture())), title="krnk")
    colors = {tuple(color) for color in np.asarray(drawn).reshape(-1, 3)}
    assert {(11, 143, 136), (195, 202, 213), (190, 62, 20)} <= colors  # above the floor, below it, the floor
