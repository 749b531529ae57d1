"""A run on a model that belongs to a host: it goes when others wait, stops by the host's button, keeps to its model."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from lib_lora.errors import AtelierError, InputError
from lib_lora.host.base import Lease
from lib_lora.services.jobs.job_queue import JobQueue
from lib_lora.services.jobs.run_state import WAIT
from lib_lora.services.jobs.training import Trainings


class Watched(Lease):
    """A lease whose buttons a test presses."""

    def __init__(self, host):
        self._host = host

    def show(self, done, total, text=""):
        self._host.shown.append((done, total))

    def preview(self, path):
        self._host.previews.append(path.name)

    wanted = property(lambda self: self._host.wanted)
    interrupted = property(lambda self: self._host.interrupted)
    lost = property(lambda self: self._host.lost)

    def check(self):
        if self._host.lost:
            raise AtelierError("the model is gone")


@dataclass
class Lender:
    """A host that lends the studio's model, and what it is told."""

    studio: object
    wanted: bool = False
    interrupted: bool = False
    lost: bool = False
    refuses: bool = False
    slices: int = 0
    changed: int = 0
    shown: list = field(default_factory=list)
    previews: list = field(default_factory=list)
    instead: object = None
    free: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self):
        self.free.set()

    def __getattr__(self, name):
        return getattr(self.studio, name)

    @property
    def model(self):
        return self.instead or self.studio.model

    def loras_changed(self):
        self.changed += 1

    def check_training(self, *, trains_text):
        if self.refuses:
            raise InputError("this model cannot be trained", where="the loaded checkpoint")

    @contextlib.contextmanager
    def training(self, name, *, trains_text):
        assert self.free.wait(20)
        self.slices += 1
        yield Watched(self)
        self.interrupted = False


@pytest.fixture
def lender(studio):
    return Lender(studio)


@pytest.fixture
def trainings(lender, tmp_path):
    made = Trainings(lender, JobQueue(), runs=tmp_path / "runs", loras=tmp_path / "loras")
    yield made
    for view in made.queue():
        if view.state == "running":
            made.stop(view.name)
    made.close(20)


def test_the_host_hears_of_progress_samples_and_the_new_file(trainings, lender, options_for, until):
    trainings.start(options_for(sample_prompts=("krnk",)))
    until(lambda: trainings.find("test").state == "done")
    assert lender.shown[-1] == (4, 4)
    assert lender.previews == ["step-00000000-1.png", "step-00000004-1.png"]
    assert lender.changed == 1


def test_who_waits_for_the_host_gets_it_after_the_present_step_and_the_run_goes_on(
    trainings, lender, options_for, until
):
    lender.wanted = True
    trainings.start(options_for(steps=5))
    until(lambda: trainings.find("test").state == "done")
    assert lender.slices == 5  # one step each: nobody waits longer, and the run is not starved


def test_a_run_that_waits_for_a_busy_host_says_so(trainings, lender, options_for, until):
    lender.free.clear()
    trainings.start(options_for())
    until(lambda: trainings.find("test").doing == WAIT)
    lender.free.set()
    until(lambda: trainings.find("test").state == "done")
    assert trainings.find("test").doing == ""


def test_the_hosts_own_button_stops_and_saves(trainings, lender, options_for, until):
    trainings.start(options_for(steps=5000))
    until(lambda: trainings.find("test").step >= 2)
    lender.interrupted = True
    until(lambda: trainings.find("test").state == "stopped")
    view = trainings.find("test")
    assert view.lora is not None
    assert lender.changed == 1


def test_a_model_that_the_host_put_away_fails_the_run_which_can_be_resumed(trainings, lender, options_for, until):
    trainings.start(options_for(steps=5000))
    until(lambda: trainings.find("test").step >= 2)
    lender.lost = True
    until(lambda: trainings.find("test").state == "failed")
    view = trainings.find("test")
    assert view.error.what == "the model is gone"
    lender.lost = False
    trainings.resume("test")
    until(lambda: trainings.find("test").step > view.step)


def test_another_checkpoint_between_slices_is_said_and_nothing_is_trained_on_it(
    trainings, lender, options_for, until, studio
):
    trainings.start(options_for(steps=5000))
    until(lambda: trainings.find("test").step >= 2)
    trainings.pause("test")
    until(lambda: trainings.find("test").state == "paused")
    step = trainings.find("test").step
    lender.instead = SimpleNamespace(name="other")
    trainings.resume("test")
    until(lambda: trainings.find("test").state == "failed")
    error = trainings.find("test").error
    assert error.what == f"The run was started on the model {studio.model.name}, and other is loaded"
    assert studio.model.name in error.cure
    lender.instead = None
    trainings.resume("test")
    until(lambda: trainings.find("test").step > step)


def test_the_same_checkpoint_loaded_anew_goes_on_from_the_saved_state(trainings, lender, options_for, until, studio):
    trainings.start(options_for(steps=5000))
    until(lambda: trainings.find("test").step >= 2)
    trainings.pause("test")
    until(lambda: trainings.find("test").state == "paused")
    step = trainings.find("test").step

    class Again:
        def __getattr__(self, name):
            return getattr(studio.model, name)

    lender.instead = Again()
    trainings.resume("test")
    until(lambda: trainings.find("test").step > step)
    rows = (Path(trainings.find("test").folder) / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(rows) >= step


def test_what_cannot_be_trained_is_refused_before_a_run_is_made(trainings, lender, options_for, tmp_path):
    lender.refuses = True
    with pytest.raises(InputError, match="cannot be trained"):
        trainings.start(options_for())
    assert not (tmp_path / "runs" / "test").exists()
    assert trainings.queue() == []
