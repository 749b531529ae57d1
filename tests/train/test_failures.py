"""What goes wrong around a run, provoked: a full disk, pictures that vanish or cannot be encoded, tiny sets."""

from __future__ import annotations

import math
from contextlib import contextmanager

import pytest
import torch
from PIL import Image

from lib_lora.errors import FileError, InputError
from lib_lora.formats.lora import read_lora
from lib_lora.progress import Progress
from lib_lora.train import network
from lib_lora.train.loop import run
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.states import states_of
from lib_lora.train.training import start

USUAL = {"steps": 2, "optimizer": "AdamW", "learning_rate": 1e-3, "text_encoder_ratio": 0, "train_blocks": "M00"}
SMALL = 5_000
"""Bytes of a disk's last room: the log goes in, a state or a LoRA does not."""


@pytest.fixture
def begun(model, options_for, tmp_path):
    def make(name="run", **changes):
        options = options_for(**USUAL | changes)
        folder = tmp_path / name
        known = (folder / "options.json").exists()
        return start(model, options, RunFolder.open(folder) if known else RunFolder.create(folder, options), Progress())

    return make


@contextmanager
def files_of_at_most(size: int):
    """Let no file grow beyond ``size`` bytes, as a full disk would."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_is_full_at_the_end_is_said_and_the_run_is_done_again_later(begun, tmp_path):
    training = begun()
    with files_of_at_most(SMALL), pytest.raises(FileError) as caught:
        run(training, Progress())
    assert "disk is full" in caught.value.cure
    assert not list((tmp_path / "run").rglob("*.safetensors"))
    assert run(begun(), Progress()).finished
    assert read_lora(next((tmp_path / "run").glob("*.safetensors"))).adapters


def test_a_disk_that_fills_up_on_the_way_leaves_the_last_good_state(begun, tmp_path):
    options = {"steps": 3, "save_every_steps": 1}
    training = begun(**options)
    limits, real = files_of_at_most(SMALL), training.optimizer.step

    def step(factor):
        if training.step == 1:
            limits.__enter__()
        real(factor)

    training.optimizer.step = step
    try:
        with pytest.raises(FileError) as caught:
            run(training, Progress())
    finally:
        limits.__exit__(None, None, None)
    assert "disk is full" in caught.value.cure
    assert [path.stem for path in states_of(tmp_path / "run" / "states")] == ["step-00000001"]
    assert begun(**options).step == 1


def test_pictures_that_vanish_while_a_run_works_are_not_missed(begun, pictures):
    training = begun()
    for path in pictures.iterdir():
        path.unlink()
    assert run(training, Progress()).finished


def test_a_picture_without_latents_is_named_and_no_run_is_begun(begun, model, monkeypatch):
    real = type(model).encode_images

    def encode(self, pixels):
        latents = real(self, pixels)
        return latents * math.nan if float(pixels[0, 2].mean()) > float(pixels[0, 0].mean()) else latents

    monkeypatch.setattr(type(model), "encode_images", encode)
    with pytest.raises(InputError, match="NaN") as caught:
        begun()
    assert caught.value.where.endswith("2.png")  # the blue one


def test_tiny_pictures_are_left_out_and_said(begun, pictures):
    Image.new("RGB", (20, 200), "red").save(pictures / "thin.png")
    training = begun()
    assert all(sample.picture.path.name != "thin.png" for sample in training.data.samples)
    assert any("thin.png" in problem for problem in training.data.problems)


def test_a_batch_larger_than_the_set_is_what_there_is(begun):
    training = begun(batch_size=64, repeats=1)
    assert [len(batch) for batch in training.next_batches()] == [4]
    assert run(training, Progress()).finished


def test_one_picture_alone_can_be_trained(begun, pictures):
    for path in pictures.glob("[1-9].*"):
        path.unlink()
    assert run(begun(), Progress()).finished


@pytest.mark.parametrize("steps", [-1, 10**9])
def test_steps_that_cannot_be_meant_are_refused(begun, steps):
    with pytest.raises(InputError):
        begun(steps=steps)


def test_no_steps_are_as_many_as_the_epochs_have(begun):
    training = begun(steps=0, epochs=1)
    assert training.total == training.steps_per_epoch


def test_an_optimizers_memory_that_runs_out_leaves_the_lora_of_the_step_before(begun, monkeypatch):
    """Joined parameters are copied back when all is done: a step that fails has changed none of them."""
    training = begun(optimizer="DAdaptAdanIP", learning_rate=1.0)
    inner = type(training.optimizer.inner)

    def out_of_memory(self, closure=None):
        for group in self.param_groups:
            group["params"][0].data.zero_()
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")

    before = [value.clone() for value in network.parameters_of(training.lora).values()]
    for adapter in training.lora.adapters.values():
        for parameter in adapter.parameters():
            parameter.grad = torch.ones_like(parameter)
    monkeypatch.setattr(inner, "step", out_of_memory)
    with pytest.raises(RuntimeError):
        training.optimizer.step(1.0)
    assert all(map(torch.equal, before, network.parameters_of(training.lora).values()))
