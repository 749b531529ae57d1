"""A search for block weights through the service: pictures or none, what is held out, what is kept after a stop."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
from PIL import Image

from lib_lora.analysis.fit.options import FitOptions
from lib_lora.demo.settings import OTHERS as OTHER_PICTURES
from lib_lora.errors import InputError, StoppedError
from lib_lora.formats.lora import LoraFile, write_lora
from lib_lora.progress import QUIET, Stoppable
from lib_lora.services.fit_order import draw, fit_weights
from lib_lora.services.fit_questions import OTHERS, OTHERS_SMALL
from tests.conftest import random_lora

QUICK = {"neutral": ("blue circle", "ghost"), "rounds": 1, "levels": 1, "keep": 0.9, "rendered": 2}


@pytest.fixture(scope="module")
def host(studio, tmp_path_factory):
    folder = tmp_path_factory.mktemp("loras")
    lora = random_lora(studio.model, seed=3, size=0.02)
    write_lora(lora, folder / "plain.safetensors")
    write_lora(LoraFile(lora.adapters, {"modelspec.trigger_phrase": "krnk"}), folder / "named.safetensors")
    before, studio.lora_folders = studio.lora_folders, (folder,)
    yield studio
    studio.lora_folders = before


def test_without_pictures_the_loras_own_answers_to_the_trigger_are_kept(host):
    found = fit_weights(FitOptions(lora="named", **QUICK), host, QUIET)
    assert any("krnk" in note for note in found.notes)
    assert found.result.found.drift < found.result.plain.drift
    assert found.result.kept >= 0.899
    answer = json.loads(json.dumps(found.answer(), allow_nan=False))
    assert answer["held_out"]["ALL"]["drift_of_all"] == 1.0
    assert {"none", "ALL", "found", "same strength", "OUTALL", "random 1"} <= set(answer["held_out"])
    assert answer["held_out"]["found"]["drift"] < answer["held_out"]["ALL"]["drift"]
    assert len(answer["vector"].split(",")) == 26
    assert "% less" in found.said


def test_the_same_seeds_before_and_after_without_the_lora_with_it_and_with_the_weights(host, tmp_path, monkeypatch):
    asked = []
    each = type(host).generate_each

    def heard(self, request, wishes, progress):
        asked.extend(wishes)
        return each(self, replace(request, steps=2), wishes, progress)

    monkeypatch.setattr(type(host), "generate_each", heard)
    options = FitOptions(lora="named", **QUICK, seeds=2, seed=4, prompts=("krnk <lora:named:0.3>",))
    found = draw(fit_weights(options, host, QUIET), options, host, tmp_path / "x.png", QUIET)
    assert [one.seed for one in asked] == [4, 5] * 3
    assert [one.prompt for one in asked][::2] == ["krnk", "krnk <lora:named:1>", f"krnk {found.tag}"]
    with Image.open(found.picture) as picture:
        right, low = picture.size
        columns = [
            picture.crop((right - 8 - 224 - 232 * back, low - 200, right - 8 - 232 * back, low)) for back in (0, 1, 2)
        ]
    assert len({column.tobytes() for column in columns}) == 3


def test_weights_are_not_lost_where_their_pictures_fail_or_are_stopped(host, tmp_path, monkeypatch):
    options = FitOptions(lora="named", **QUICK)
    found = fit_weights(options, host, QUIET)
    stopped = Stoppable()
    stopped.stop()
    none = draw(found, options, host, tmp_path / "x.png", stopped)
    assert none.picture is None
    assert any("stopped" in note for note in none.notes)

    def fails(self, *_):
        raise InputError("There is no room")

    monkeypatch.setattr(type(host), "generate_each", fails)
    failed = draw(found, options, host, tmp_path / "x.png", QUIET)
    assert failed.picture is None
    assert failed.vector == found.vector
    assert any("There is no room" in note for note in failed.notes)
    assert draw(found, FitOptions(lora="named", **QUICK, seeds=0), host, tmp_path / "x.png", QUIET) == found


def test_start_and_stop_are_searched_where_they_are_asked_for_and_one_level_has_none(host):
    with pytest.raises(InputError, match="one noise level"):
        FitOptions(lora="named", **QUICK, timing=True)
    found = fit_weights(FitOptions(lora="named", **QUICK | {"levels": 2, "keep": 0.4}, timing=True), host, QUIET)
    window = found.result.window
    assert window.parts == 2
    assert any("of the steps" in note for note in found.notes) is not window.is_whole
    assert ("start=" in found.tag or "stop=" in found.tag) is not window.is_whole
    assert found.way("found").drift < found.way("ALL").drift


def test_a_file_that_names_no_trigger_is_refused_without_pictures(host):
    with pytest.raises(InputError, match="not known what triggers plain"):
        fit_weights(FitOptions(lora="plain", **QUICK), host, QUIET)


def test_pictures_that_the_lora_has_not_learned_are_refused(host, tmp_path):
    for name in ("00", "01"):  # of things that the model draws well
        for end in ("png", "txt"):
            shutil.copyfile(OTHER_PICTURES / f"{name}.{end}", tmp_path / f"{name}.{end}")
    write_lora(random_lora(host.model, seed=3, size=2.0), host.lora_folders[0] / "strong.safetensors", overwrite=True)
    with pytest.raises(InputError, match="has not learned this subject"):
        fit_weights(FitOptions(lora="strong", images=str(tmp_path), **QUICK), host, QUIET)


def test_a_stopped_order_goes_on_and_another_order_begins_anew(host, tmp_path):
    class Once(Stoppable):
        def update(self, done, total, text=""):
            if record.exists():
                self.stop()

    record = tmp_path / "x.rounds"
    options = FitOptions(lora="named", **QUICK | {"rounds": 2})
    with pytest.raises(StoppedError):
        fit_weights(options, host, Once(), record=record)
    assert len(json.loads(record.read_text(encoding="utf-8"))["points"]) == 1
    gone_on = fit_weights(options, host, QUIET, record=record)
    assert len(json.loads(record.read_text(encoding="utf-8"))["points"]) == 2
    whole = fit_weights(options, host, QUIET)
    assert gone_on.result.calls < whole.result.calls
    assert gone_on.result.weights == pytest.approx(whole.result.weights, abs=1e-3)
    fit_weights(FitOptions(lora="named", **QUICK | {"seed": 5}), host, QUIET, record=record)
    assert len(json.loads(record.read_text(encoding="utf-8"))["points"]) == 1


def test_twelve_other_captions_of_each_kind():
    assert len(set(OTHERS)) == len(set(OTHERS_SMALL)) == 12
