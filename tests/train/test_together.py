"""Several processes train as one would: the same losses, one folder; one that is lost ends the run with a sentence."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lib_lora.live.attach import attach
from lib_lora.progress import Progress, Stoppable
from lib_lora.services.lone_run import LoneRun
from lib_lora.train import together
from lib_lora.train.gradients import batch_loss
from lib_lora.train.loop import run
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.states import states_of
from lib_lora.train.together import Team, TeamProgress, join
from lib_lora.train.training import start
from tests.told import Told

ROOT = Path(__file__).resolve().parents[2]
LOST = """
import os
import lib_lora.train.loop as loop
plain = loop.one_step
def one_step(training):
    if os.environ["RANK"] == "1" and training.step == 2:
        os.kill(os.getpid(), 9)
    return plain(training)
loop.one_step = one_step
"""
MAIN = "import sys, lib_lora.train.together; lib_lora.train.together.ALIVE = 0  # as if each picture took its time\n"
MAIN += "from lib_lora.cli.main import main; sys.exit(main(sys.argv[1:]))"


def processes(arguments: list[str], before: str = "") -> list[subprocess.CompletedProcess]:
    """Run the command in two processes, as torchrun would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", f"{before}\n{MAIN}", *arguments],
            cwd=ROOT,
            env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    ended = [one.communicate(timeout=500) for one in started]
    return [
        subprocess.CompletedProcess(one.args, one.returncode, *said) for one, said in zip(started, ended, strict=True)
    ]


def command(pictures, runs, **changes) -> list[str]:
    usual = {"images": pictures, "name": "test", "trigger": "krnk", "dim": 2, "batch_size": 3, "steps": 4}
    usual |= {"optimizer": "AdamW", "learning_rate": 1e-3, "repeats": 1, "save_every_epochs": 0}
    flags = [part for name, value in (usual | changes).items() for part in ("--" + name.replace("_", "-"), str(value))]
    return ["train", *flags, "--runs", str(runs), "--device", "cpu"]


def test_two_processes_have_the_losses_of_one(model, options_for, pictures, tmp_path):
    """Four pictures in batches of three: the second batch has one, and the second process then none."""
    ended = processes(command(pictures, tmp_path / "runs"))
    assert [one.returncode for one in ended] == [0, 0], ended[0].stderr[-2000:] + ended[1].stderr[-2000:]
    folder = RunFolder.open(tmp_path / "runs" / "test")
    alone = start(model, folder.options(), RunFolder.create(tmp_path / "alone", folder.options()), Progress())
    run(alone, Progress())
    both = [row["loss"] for row in folder.read_log()]
    assert both == pytest.approx([row["loss"] for row in alone.folder.read_log()], rel=1e-6)
    assert (folder.path / "test.safetensors").is_file()
    assert ended[1].stdout == ""


def test_a_killed_process_ends_the_run_with_a_sentence_and_a_state(pictures, tmp_path):
    ended = processes(command(pictures, tmp_path / "runs", steps=6), before=LOST)
    assert ended[1].returncode == -9
    assert ended[0].returncode == 1
    assert "Another process of the training is gone" in ended[0].stderr
    assert "Traceback" not in ended[0].stderr
    folder = RunFolder.open(tmp_path / "runs" / "test")
    assert [path.stem[-1] for path in states_of(folder.states)] == ["2"]


def test_the_parts_of_a_batch_add_up_to_its_loss(model, options_for, tmp_path):
    options = options_for(batch_size=3, text_encoder_ratio=0, steps=1)
    training = start(model, options, RunFolder.create(tmp_path / "run", options), Progress())
    found = []
    with attach(model, training.lora, 1.0, strategy="factors"):
        for team in (Team(), Team(0, 2), Team(1, 2)):
            training.team = team
            found.append(batch_loss(training, training.next_batches()[0], torch.Generator().manual_seed(1)).item())
    assert found[0] == pytest.approx(found[1] + found[2], rel=1e-6)


@pytest.mark.parametrize(("count", "size"), [(3, 2), (1, 2), (8, 3), (4, 4)])
def test_every_row_is_somebodys_and_nobody_has_two_more_than_another(count, size):
    parts = [list(range(count))[Team(rank, size).rows(count)] for rank in range(size)]
    assert sum(parts, []) == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_wish_to_stop_acts_when_all_have_heard_it():
    own, team = Stoppable(), Team(0, 2)
    shared = TeamProgress(own, team)
    shared.stop()
    shared.update(1, 2)
    assert (team.wish, shared.stopped) == (True, False)
    team.agreed = True
    assert shared.stopped


def test_a_program_that_nobody_started_together_is_alone():
    assert join({}).alone
    assert join({"WORLD_SIZE": "1", "RANK": "0"}).alone


class Spoken(Team):
    """A team whose first process is heard by nobody but the test."""

    said = ()

    def told_by_first(self, text):
        self.said = (*self.said, text)
        return text


def test_others_wait_as_long_as_the_first_is_at_work(monkeypatch, tmp_path):
    """Drawing regularization pictures takes longer than one process is waited for."""
    now = iter(range(0, 1000, 40))
    monkeypatch.setattr(together, "time", SimpleNamespace(monotonic=lambda: next(now)))
    ready = SimpleNamespace(options=SimpleNamespace(batch_size=2), folder=RunFolder(tmp_path), team=None)

    def first(progress):
        for done in range(5):
            progress.update(done, 5, "drawing regularization pictures")
        return LoneRun(None, ready)

    told, team = Told(), Spoken(0, 2)
    LoneRun.together(team, first, None, told)
    assert len(told.texts) == 5
    assert team.said == ("", "", str(tmp_path))
    heard = iter(team.said)
    monkeypatch.setattr(Team, "told_by_first", lambda self, text: next(heard))
    assert Team(1, 2).told_when_ready() == str(tmp_path)
