from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from lib_lora.analysis.difference import changed_percentage, difference_picture, gain_for, typical_peak
from lib_lora.analysis.effective_block import Analysis, Cell, Row, SweepSpec, analyze, pictures_of
from lib_lora.analysis.grid import GridStyle, draw_grid
from lib_lora.analysis.norms import block_norms, delta_shares
from lib_lora.analysis.options import AnalyzeOptions, parse_range
from lib_lora.blocks.layouts import attention_layout, full_layout
from lib_lora.errors import InputError
from lib_lora.formats.lora import LoraFile, write_lora
from lib_lora.host.base import GenerateRequest
from lib_lora.progress import Stoppable

LAYOUT = full_layout("sd1")
REQUEST = GenerateRequest("red apple <lora:strong:1:XYZ>", seed=2, steps=3)
FILLED = frozenset(attention_layout("sd1").names)
"""The blocks that the file has modules in."""


@pytest.fixture(scope="module")
def host(studio, lora, tmp_path_factory):
    folder = tmp_path_factory.mktemp("loras")
    write_lora(lora, folder / "strong.safetensors")
    studio.lora_folders = (folder,)
    return studio


def plan_of(*entries, **more):
    usual = {name: more.pop(name, value) for name, value in (("examined", 0.0), ("others", 1.0), ("layout", LAYOUT))}
    parts = tuple(e if isinstance(e, tuple) else (e,) for e in entries)
    return SweepSpec(**usual, entries=parts, options=AnalyzeOptions(**more))


def test_the_percentage_counts_channels_that_differ_by_more_than_the_threshold():
    source = np.zeros((10, 10, 3), np.uint8)
    changed = source.copy()
    changed[0, 0], changed[0, 1], changed[0, 2] = (21, 0, 0), (20, 20, 20), (100, 100, 100)
    assert changed_percentage(Image.fromarray(changed), Image.fromarray(source), threshold=20) == 1.333


def test_the_difference_picture_is_absolute_and_white_is_inverted():
    one, two = Image.new("RGB", (2, 2), (10, 50, 0)), Image.new("RGB", (2, 2), (30, 20, 0))
    assert difference_picture(one, two, color="black", gain=1).getpixel((0, 0)) == (20, 30, 0)
    assert difference_picture(one, two, color="white", gain=2).getpixel((0, 0)) == (215, 195, 255)


def test_the_gain_makes_the_largest_change_bright_and_is_the_same_for_all_blocks():
    source = Image.new("RGB", (100, 100))
    slight, strong = (Image.fromarray(np.full((100, 100, 3), level, np.uint8)) for level in (4, 40))
    cells = [Cell(image, 0.0, typical_peak(image, source)) for image in (slight, strong, source)]
    rows = tuple(Row((name,), True, (cell,)) for name, cell in zip(("IN04", "M00", "OUT05"), cells, strict=True))
    found = Analysis(plan_of("IN04", "M00", "OUT05"), (source,), 0.0, rows, True)
    assert found.gain == 6.4
    assert replace(found, plan=plan_of("M00", gain=2.0)).gain == 2.0
    grid = np.asarray(draw_grid(found, title="x", style=GridStyle(cell=32)))
    shown = {tuple(color) for color in grid.reshape(-1, 3)}
    assert {(25, 25, 25), (255, 255, 255)} <= shown  # 4 and 40 levels, times 6.4


@pytest.mark.parametrize(("peak", "gain"), [(0, 1.0), (1, 16.0), (40, 6.4), (255, 1.0)])
def test_gains_stay_between_nothing_and_rounding_noise(peak, gain):
    assert gain_for(peak) == gain


def test_a_few_wild_values_do_not_darken_the_rest():
    changed = np.full((100, 100, 3), 10, np.uint8)
    changed[0, 0] = 255
    assert typical_peak(Image.fromarray(changed), Image.new("RGB", (100, 100))) == 10


@pytest.mark.parametrize("transpose", [True, False])
def test_headings_stay_in_the_picture_and_name_what_is_shown(transpose, monkeypatch):
    written = []
    original = ImageDraw.ImageDraw.text

    def text(pen, place, words, **more):
        written.append((words, place[0] + more["font"].getlength(words) <= pen.im.size[0], place[1] >= 0))
        return original(pen, place, words, **more)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    source = Image.new("RGB", (64, 64))
    entry = ("IN04", "M00", "OUT03", "OUT04", "OUT05", "OUT06", "OUT07")
    found = Analysis(plan_of(entry), (source,), 0.0, (Row(entry, True, (Cell(source, 12.5, 51),)),), True)
    draw_grid(found, title="many words, " * 40, style=GridStyle(cell=96, transpose=transpose))
    assert all(inside for _, *places in written for inside in places), written
    said = " ".join(words for words, *_ in written)
    for part in ("source", "block at 0", "difference x5", "12.500 %", "share of color values", "IN04"):
        assert part in said


def test_pictures_of_different_sizes_are_refused():
    with pytest.raises(InputError):
        changed_percentage(Image.new("RGB", (2, 2)), Image.new("RGB", (3, 2)), threshold=20)


def test_every_cell_is_the_picture_that_its_numbers_make(host):
    plan = plan_of("OUT05", ("IN04", "M00"), examined=0.25, threshold=0)
    found = analyze(host, REQUEST, plan, filled=FILLED)
    for row in found.rows:
        weights = plan.weights(row.entry)
        prompt = f"red apple <lora:strong:1:lbw={weights.format()}>"
        alone = host.generate(GenerateRequest(prompt, seed=2, steps=3)).images[0]
        assert np.abs(np.asarray(alone, np.int16) - np.asarray(row.cells[0].image, np.int16)).max() <= 1
        assert row.mean == changed_percentage(row.cells[0].image, found.sources[0], threshold=0)
        assert row.mean > 0


def test_blocks_without_modules_are_exactly_zero_and_not_rendered(host):
    found = analyze(host, REQUEST, plan_of("IN00", "IN01", "OUT00"), filled=FILLED)
    table = {row.name: row for row in found.rows}
    assert [table[name].has_modules for name in ("IN00", "IN01", "OUT00")] == [False, True, False]
    assert table["IN00"].cells[0].image is None
    assert table["IN00"].mean == 0.0
    assert found.noise_floor <= 0.1


def test_several_seeds_count_up_and_give_mean_and_spread(host):
    found = analyze(host, REQUEST, plan_of("OUT05", seeds=2), filled=FILLED)
    cells = [cell.percentage for cell in found.rows[0].cells]
    assert len(cells) == len(found.sources) == 2
    assert found.rows[0].mean == pytest.approx(sum(cells) / 2)
    assert not np.array_equal(np.asarray(found.sources[0]), np.asarray(found.sources[1]))
    rows = list(csv.reader(io.StringIO(found.to_csv())))
    assert rows[1][0] == "OUT05" and float(rows[1][3]) == cells[0]  # noqa: PT018
    assert rows[-1][0] == "noise floor"


def test_a_stop_keeps_what_is_finished(host):
    class After(Stoppable):
        def update(self, done, total, text=""):
            if done > 9:  # of 21; the first half of six pictures is finished at 9
                self.stop()

    request = GenerateRequest(REQUEST.prompt, seed=2, steps=3, sweep_chunk=3)
    entries = ("IN00", "IN01", "IN02", "OUT05", "OUT06")
    found = analyze(host, request, plan_of(*entries), filled=FILLED, progress=After())
    assert not found.finished
    assert [row.name for row in found.rows] == ["IN00", "IN01", "IN02"]
    assert draw_grid(found, title="partial").width > 0


@pytest.mark.parametrize("transpose", [True, False])
def test_the_grid_shows_every_block(host, transpose):
    found = analyze(host, REQUEST, plan_of("BASE", "IN00", "OUT05"), filled=FILLED)
    grid = draw_grid(found, title="test", style=GridStyle(transpose=transpose))
    cell = np.asarray(found.rows[2].cells[0].image)
    page = np.asarray(grid)
    places = [
        (top, left)
        for top in range(page.shape[0] - 127)
        for left in range(page.shape[1] - 127)
        if np.array_equal(page[top, left], cell[0, 0])
        and np.array_equal(page[top : top + 128, left : left + 128], cell)
    ]
    assert len(places) == 1


def test_a_prompt_without_xyz_is_told_what_to_write(host):
    with pytest.raises(InputError, match="XYZ"):
        analyze(host, GenerateRequest("red apple <lora:strong:1>"), plan_of("IN01"), filled=frozenset())


@pytest.mark.parametrize("text", ["1", "1,2,3", "a,b", ""])
def test_range_takes_two_numbers(text):
    with pytest.raises(InputError, match="two numbers"):
        parse_range(text)


def test_norms_are_exact_and_relative_to_the_base(model, lora):
    keys = [key for key in lora.adapters if "_mid_block_" in key]
    some = LoraFile({key: lora.adapters[key] for key in keys})
    (norm,) = block_norms(model, some)
    delta = sum(float(a.delta().double().square().sum()) for a in some.adapters.values()) ** 0.5
    base = sum(float(model.layers[key].weight.double().square().sum()) for key in keys) ** 0.5
    assert (norm.block, norm.modules) == ("M00", 12)
    assert norm.delta == pytest.approx(delta, rel=1e-5)
    assert norm.relative == pytest.approx(delta / base, rel=1e-5)


def test_parts_give_the_same_analysis_and_show_it_growing(host):
    plan = plan_of("IN00", "IN01", "M00", "OUT05")
    seen, steps = [], []

    class Watch(Stoppable):
        def update(self, done, total, text=""):
            steps.append((done, total))

    whole = analyze(host, REQUEST, plan, filled=FILLED)
    parts = analyze(host, REQUEST, plan, filled=FILLED, progress=Watch(), part=2, show=seen.append)
    assert [row.entry for row in parts.rows] == [row.entry for row in whole.rows]
    for one, other in zip(parts.rows, whole.rows, strict=True):
        assert one.mean == pytest.approx(other.mean, abs=0.5)
    assert [len(found.rows) for found in seen] == [2, 2, 4]
    assert parts.finished
    assert not any(found.finished for found in seen)
    assert steps == sorted(steps)
    assert steps[-1] == (pictures_of(plan, FILLED) * 3,) * 2


def test_a_stop_between_parts_keeps_the_parts(host):
    progress = Stoppable()
    found = analyze(
        host,
        REQUEST,
        plan_of("IN01", "M00", "OUT05"),
        filled=FILLED,
        progress=progress,
        part=2,
        show=lambda found: progress.stop(),
    )
    assert not found.finished
    assert [row.name for row in found.rows] == ["IN01"]
    assert draw_grid(found, title="so far").size[0] > 0


def test_shares_of_the_change_sum_up_to_one_and_need_no_model(lora, model):
    shares = delta_shares(lora)
    assert sum(shares.values()) == pytest.approx(1.0)
    norms = {norm.block: norm.delta**2 for norm in block_norms(model, lora)}
    for block, share in shares.items():
        assert share == pytest.approx(norms[block] / sum(norms.values()))
