"""A probe as a service: on a host's model, with the run's regularization pictures, stopped by whoever may stop it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest

from lib_lora.cli.main import main
from lib_lora.errors import AtelierError, StoppedError
from lib_lora.host.base import Lease
from lib_lora.progress import QUIET
from lib_lora.services import rate_probe
from lib_lora.services.rate_probe import probed
from lib_lora.train import rate_range
from lib_lora.train.regularization import ClassPictures
from tests.told import Told

DRAWN = {"reg_count": 2, "reg_prompts": ("red apple",), "reg_steps": 1}


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch):
    monkeypatch.setattr(rate_probe, "probe", partial(rate_range.probe, steps=2))
    monkeypatch.setattr(rate_range, "PICTURES", 1)


def test_regularization_pictures_are_drawn_first_and_kept_for_the_run(studio, options_for, tmp_path):
    options, told = options_for(**DRAWN), Told()
    found = probed(studio, options, told, runs=tmp_path)
    assert len(found.rates) == 2
    assert told.texts[0] == "drawing regularization pictures"
    assert not ClassPictures.of(options, studio.model, tmp_path).missing()
    again = Told()
    probed(studio, options, again, runs=tmp_path)
    assert "drawing regularization pictures" not in again.texts
    with pytest.raises(StoppedError):
        probed(studio, options_for(**{**DRAWN, "reg_seed": 9}), Told(stop_at=1), runs=tmp_path)


def test_the_terminal_draws_them_too(pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given = "--name t --resolution 64 --dim 2 --optimizer AdamW --text-encoder-ratio 0 --reg-count 1 --reg-steps 1"
    assert main(["train", "--probe", "--images", str(pictures), "--reg-prompts", "cat", *given.split()]) == 0
    said = capsys.readouterr()
    assert "1 regularization picture is drawn first" in said.err
    assert "of memory" in said.out
    assert [path.name for path in (tmp_path / "runs" / ".regularization").glob("*/*.png")] == ["00000.png"]
    assert not (tmp_path / "runs" / "t").exists()


def test_what_is_to_be_said_of_the_pictures_is_told(studio, options_for, tmp_path, monkeypatch):
    draw = studio.generate_each
    monkeypatch.setattr(studio, "generate_each", lambda *a: (replace(one, notes=("too long",)) for one in draw(*a)))
    found = probed(studio, options_for(**DRAWN), QUIET, runs=tmp_path)
    assert found.remarks[0] == "of the regularization pictures: too long"
    assert any("regularization: " in text for text in found.remarks[1:])
    assert rate_probe.answer(found)["remarks"] == list(found.remarks)


class Stopping(Lease):
    """The host's own button, pressed after the first step; or its model, put away then."""

    def __init__(self, how):
        self._how, self._shown = how, []

    def show(self, done, total, text=""):
        self._shown.append(text)

    interrupted = property(lambda self: self._how == "interrupted" and "probing" in self._shown)
    lost = property(lambda self: self._how == "lost" and "probing" in self._shown)

    def check(self):
        if self.lost:
            raise AtelierError("the model is gone")


@pytest.mark.parametrize(("how", "error"), [("interrupted", StoppedError), ("lost", AtelierError)])
def test_the_host_stops_a_probe(studio, options_for, tmp_path, how, error):
    @contextmanager
    def training(name, *, trains_text):
        yield Stopping(how)

    host = SimpleNamespace(model=studio.model, training=training)
    with pytest.raises(error) as told:
        probed(host, options_for(), QUIET, runs=tmp_path)
    assert (how == "lost") == ("the model is gone" in str(told.value))
