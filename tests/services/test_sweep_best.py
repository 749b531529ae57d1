"""Which run of a sweep is marked, by which rule; the grid in both languages."""

from __future__ import annotations

import csv
import io

import pytest
from PIL import Image

from lib_lora.analysis import grid
from lib_lora.analysis.comparison import GOOD
from lib_lora.host.base import GenerateRequest
from lib_lora.i18n.error_words import sentence_in_words
from lib_lora.services.sweep.best import verdict_of
from lib_lora.services.sweep.compared import BASE, Compared, csv_of
from lib_lora.services.sweep.facts import RunFacts
from lib_lora.services.sweep.record import Sweep
from lib_lora.services.sweep.sheet import facts_lines, grid_of
from lib_lora.train.sweep_table import SweepTable


def run(name, *, state="done", before=0.1, **numbers):
    return RunFacts(name, {"dim": name}, state, before=before, **numbers)


def test_of_those_that_learned_nearly_the_most_the_least_drift_is_best():
    runs = [run("4", steady=0.08, drift=0.01), run("8", steady=0.061, drift=0.05), run("16", steady=0.06, drift=0.2)]
    found = verdict_of([*runs, run("32", steady=0.01, state="stopped")])
    assert found.run == "8"
    assert "95 %" in found.text
    assert "dim 8" in sentence_in_words(found.text, "ja")
    assert "ドリフト" in sentence_in_words(found.text, "ja")


def test_held_out_pictures_judge_where_all_runs_measured_the_same_ones():
    runs = [run("4", steady=0.02, held_before=0.1, held=0.09), run("8", steady=0.08, held_before=0.1, held=0.07)]
    assert (verdict_of(runs).run, "held-out" in verdict_of(runs).text) == ("8", True)
    others = [runs[0], run("8", steady=0.08, held_before=0.2, held=0.07)]
    assert (verdict_of(others).run, "held-out" in verdict_of(others).text) == ("4", False)


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([run("4", before=None), run("8", before=None)], "no finished run measured"),
        ([run("4", steady=0.05), run("8", before=None)], "only one"),
        ([run("4", steady=0.05), run("8", steady=0.05, state="failed")], "only one"),
        ([run("4", steady=0.05), run("8", steady=0.05, before=0.2)], "different pictures"),
        ([run("4", steady=0.1), run("8", steady=0.2)], "no LoRA"),
        ([run("4", steady=0.1, held_before=0.1, held=0.2), run("8", steady=0.1, held_before=0.1, held=0.1)], "no LoRA"),
    ],
)
def test_where_nothing_can_be_judged_that_is_said_and_no_run_is_marked(runs, said):
    found = verdict_of(runs)
    assert found.run is None
    assert said in found.text
    assert "最良の印は付けていません" in sentence_in_words(found.text, "ja")


def test_runs_that_were_not_measured_are_counted():
    found = verdict_of([run("4", steady=0.05), run("8", steady=0.06), run("16", before=None)])
    assert found.run == "4"
    assert "1 run was not measured" in found.text


@pytest.fixture
def made(tmp_path):
    """A comparison of two values, the second of them the best, in one size and color for each picture."""
    sweep = Sweep(tmp_path / "krnk", {}, SweepTable.read(["dim: 4, 8"]), language="ja")
    names, pictures = [*sweep.runs], {}
    for name, color in ((BASE, (0, 0, 255)), *((one, (255, 0, 0)) for one in names)):
        pictures[name] = tmp_path / f"{name}.png"
        Image.new("RGB", (64, 64), color).save(pictures[name])
    rows = zip(names, sweep.table.rows, (0.08, 0.05), strict=True)
    facts = [RunFacts(name, values, "done", 10, 10, None, 0.1, steady, drift=0.1) for name, values, steady in rows]
    return Compared(sweep, tuple(facts), verdict_of(facts), pictures, {}, GenerateRequest("krnk"))


def test_the_grid_begins_without_a_lora_and_frames_the_best(made):
    shown = grid_of(made)
    assert shown.width > 3 * 224
    blue = [x for x in range(shown.width) if any(shown.getpixel((x, y)) == (0, 0, 255) for y in (140, 200))]
    assert blue
    assert max(blue) < shown.width / 3
    frames = {x for x in range(shown.width) if shown.getpixel((x, 200)) == GOOD}
    assert min(frames) > shown.width * 0.6
    assert len(frames) == 8  # two sides of one frame


def test_a_japanese_grid_needs_a_font_with_its_letters(made, monkeypatch):
    english = grid_of(made).tobytes()
    if grid.draws_japanese():
        assert grid_of(made, "ja").tobytes() != english
    monkeypatch.setattr(grid, "SYSTEM_FONTS", ())
    assert grid_of(made, "ja").tobytes() == english


def test_the_table_names_the_rule_in_the_language_of_whoever_started_it(made):
    base, first, second = csv.DictReader(io.StringIO(csv_of(made)))
    assert (base["run"], base["best"], base["picture"]) == ("LoRA なし", "", f"pictures/{BASE}.png")
    assert first["best"] == ""
    assert second["best"].startswith("最良：dim 8")


def test_a_table_over_steps_keeps_both_columns(made):
    sweep = Sweep(made.sweep.folder, {}, SweepTable.read(["steps: 4, 8"]))
    facts = [RunFacts(name, values, "stopped", 3) for name, values in sweep.runs.items()]
    _, first, _ = csv.DictReader(io.StringIO(csv_of(Compared(sweep, tuple(facts), made.verdict, {}, {}, made.request))))
    assert (first["steps"], first["steps_at_end"]) == ("4", "3")


def test_facts_are_said_in_japanese():
    lines = facts_lines(
        run("4", steps=320, loss=0.05, steady=0.06, held=0.07, drift=0.012, seconds=60, bytes=3_450_000)
    )
    said = [sentence_in_words(line, "ja") for line in lines]
    assert said == [
        "固定条件の損失 0.0600 · 損失 0.0500",
        "検証用 0.0700 · ドリフト 1.2 %",
        "320 ステップ · 60 秒 · 3.45 MB",
    ]


def test_japanese_is_wrapped_between_letters_and_nothing_is_lost():
    letters = grid.font(15, "あ")
    text = "最良：dim 8（いちばん学んだものの 95 % 以上を学んだ中で、ドリフトが最小）"
    lines = grid.wrapped(text, letters, 120)
    assert len(lines) > 2
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert not any(line[0] in "、。）" for line in lines)
    assert grid.wrapped("two words", letters, 1000) == ["two words"]
