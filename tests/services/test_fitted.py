"""What a search for block weights says of itself, also where there is little to say."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from lib_lora.analysis.fit.spec import FitResult, Losses
from lib_lora.analysis.fit.window import Window
from lib_lora.blocks.layouts import full_layout
from lib_lora.blocks.weights import BlockWeights
from lib_lora.services.fit_measured import random_weights
from lib_lora.services.fitted import ALL, FOUND, NONE, PRESET, Fitted, Way, in_steps, table_of


def fitted(**held: Losses) -> Fitted:
    one = Losses(1.0, 1.0)
    result = FitResult({"M00": 0.5}, one, one, one, 1.0, 3)
    weights = BlockWeights.uniform(full_layout("sd1"), 1.0)
    kinds = {kind: kind for kind in (NONE, ALL, FOUND)}
    ways = tuple(Way(name, {}, losses, kinds.get(name, PRESET)) for name, losses in held.items())
    return Fitted("krnk", result, weights, ways)


def test_what_stays_is_a_share_of_what_was_learned() -> None:
    found = fitted(none=Losses(1.0, 0.0), ALL=Losses(0.5, 0.2), found=Losses(0.55, 0.1))
    assert "90 %" in found.said
    assert "50 % less" in found.said
    assert table_of(found)[-1].split() == ["ALL", "subject", "1.000", "drift", "1.000"]


def test_the_gentlest_of_the_others_that_keep_the_subject_as_well_is_named() -> None:
    three = {"none": Losses(1.0, 0.0), "ALL": Losses(0.5, 0.2), "found": Losses(0.5, 0.1)}
    worse = {"A": Losses(0.5, 0.15), "B": Losses(0.9, 0.01)}
    assert "(A) changes the model 50 % more" in fitted(**three, **worse).compared
    better = fitted(**three, **worse, C=Losses(0.5, 0.08)).compared
    assert "C changes the model 20 % less than the found weights: take it instead" in better
    assert "None of the 1 presets" in fitted(**three, B=Losses(0.9, 0.01)).compared


def test_the_steps_stand_in_the_tag_where_they_are_not_all() -> None:
    found = fitted(none=Losses(1.0, 0.0), ALL=Losses(0.5, 0.2), found=Losses(0.5, 0.1))
    assert "start" not in found.tag
    assert "stop" not in found.tag
    cut = replace(found, result=replace(found.result, window=Window(1, 2, 3)))
    assert "start=0.33:stop=0.67" in cut.tag
    assert (cut.answer()["start"], cut.answer()["stop"]) == (0.33, 0.67)
    assert in_steps("<lora:krnk:1:FACE>", Window(0, 1, 2)) == "<lora:krnk:1:FACE:stop=0.5>".replace("FACE", "lbw=FACE")


def test_a_lora_that_helps_nothing_held_out_is_not_said_to_keep_something() -> None:
    found = fitted(none=Losses(0.5, 0.0), ALL=Losses(0.6, 0.2), found=Losses(0.55, 0.1))
    assert "cannot be said" in found.said
    assert "nan" not in found.said


def test_a_lora_that_changes_nothing_held_out_still_has_a_table() -> None:
    found = fitted(none=Losses(1.0, 0.0), ALL=Losses(0.5, 0.0), found=Losses(0.5, 0.0))
    assert all("–" in line for line in table_of(found))
    assert json.loads(json.dumps(found.answer()["held_out"]))["found"]["drift_of_all"] is None


@pytest.mark.parametrize("mean", [0.0, 0.1, 0.5, 0.93, 1.0])
def test_random_weights_have_the_mean_and_stay_within_the_bounds(mean: float) -> None:
    for seed in range(20):
        drawn = random_weights(17, mean, 0.0, 1.0, seed=seed)
        assert math.isclose(sum(drawn) / 17, mean, abs_tol=1e-9)
        assert -1e-9 <= min(drawn) <= max(drawn) <= 1 + 1e-9
        assert mean in (0.0, 1.0) or max(drawn) - min(drawn) > 0.05
