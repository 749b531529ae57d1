"""States notice any damage, hold every optimizer to the bit, and a resume goes on from the newest that is whole."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lib_lora.errors import AtelierError, FileError
from lib_lora.progress import Progress
from lib_lora.train import loop, network, states
from lib_lora.train.loop import run
from lib_lora.train.optimizers import OPTIMIZERS
from lib_lora.train.ratio_optimizer import Group, RatioOptimizer
from lib_lora.train.run_folder import RunFolder
from lib_lora.train.saving import save_lora, save_state
from lib_lora.train.states import broken_number, read_state, state_path, states_of, write_state
from lib_lora.train.step import one_step
from lib_lora.train.training import start

STATE = {"step": 7, "parameters": {"a": torch.randn(3, 5), "b": torch.tensor(2.0)}, "recent": [0.1, 0.2], "none": None}


def same(one, two) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == two.dtype and torch.equal(one, two)
    if isinstance(one, dict):
        return list(one) == list(two) and all(same(one[name], two[name]) for name in one)
    if isinstance(one, list | tuple):
        return type(one) is type(two) and len(one) == len(two) and all(map(same, one, two))
    return type(one) is type(two) and one == two


@pytest.mark.parametrize("name", list(OPTIMIZERS))
@pytest.mark.parametrize("old", [False, True])
def test_every_optimizers_numbers_come_back_to_the_bit(tmp_path, name, old):
    if not OPTIMIZERS[name].there:
        pytest.skip(f"{name} is not installed")
    parameters = [torch.randn(4, 6, requires_grad=True), torch.randn(5, requires_grad=True)]
    rate = OPTIMIZERS[name].usual_rate
    optimizer = RatioOptimizer(name, [Group(parameters, 1.0)], learning_rate=rate, arguments={})
    for step in range(3):
        for number, parameter in enumerate(parameters):
            parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(step + 9 * number))
        optimizer.step(1.0)
    kept = {"optimizer": optimizer.state_dict(), "step": 3}
    path = state_path(tmp_path, 3)
    if old:
        path = path.with_suffix(".pt")
        torch.save(kept, path)
    else:
        write_state(path, kept)
    assert same(read_state(path), kept)


def test_a_single_number_with_any_stride_comes_back(tmp_path):
    odd = torch.arange(11, dtype=torch.bfloat16).reshape(1, 11).T[3:4]
    assert odd.stride() == (1, 11)
    assert torch.equal(read_state(write_state(state_path(tmp_path, 1), {"odd": odd, "step": 1}))["odd"], odd)


def test_a_state_is_an_ordinary_safetensors_file(tmp_path):
    with safe_open(write_state(state_path(tmp_path, 7), STATE), framework="pt") as file:
        assert len(file.keys()) == 2
        assert json.loads(file.metadata()["state"])


def zeroed(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-40:-8] = bytes(32)
    path.write_bytes(data)


def flipped(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)


def with_metadata(path: Path, **metadata: str) -> None:
    save_file({"0": torch.ones(3)}, path, metadata=metadata)


def with_broken_number(path: Path) -> None:
    state = read_state(path)
    state["parameters"][next(iter(state["parameters"]))].view(-1)[0] = math.inf
    path.unlink()
    torch.save(state, path.with_suffix(".pt"))


def of_another_run(path: Path) -> None:
    write_state(path, read_state(path) | {"session": "1"})


def of_another_shape(path: Path) -> None:
    write_state(path, STATE | {"optimizer": {"param_groups": [{"params": [0]}], "state": {}}})


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "only its beginning": lambda path: path.write_bytes(path.read_bytes()[:40]),
    "a zeroed sector": zeroed,
    "a bit flipped in a tensor": lambda path: flipped(path, -3),
    "a bit flipped in the header": lambda path: flipped(path, 60),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "foreign: a picture": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(500)),
    "foreign: a LoRA": lambda path: with_metadata(path, ss_output_name="x"),
    "wrong JSON": lambda path: with_metadata(path, state="[}", sha256="0"),
    "a folder": a_folder,
    "a link to nothing": lambda path: (path.unlink(), path.symlink_to(path.with_name("nothing"))),
    "forbidden": lambda path: path.chmod(0),
    "of another run": of_another_run,
    "of another shape": of_another_shape,
    "numbers that are not finite": with_broken_number,
    "an old file that is no archive": lambda path: (path.unlink(), path.with_suffix(".pt").write_bytes(b"\x80\x04x")),
}


@pytest.fixture
def stopped(model, options_for, tmp_path):
    """A run with whole states after its steps 1 and 2, and the options that it was started with."""
    options = options_for(steps=3, optimizer="AdamW", learning_rate=1e-3, text_encoder_ratio=0, dim=1)
    folder = RunFolder.create(tmp_path / "run", options)
    training = start(model, options, folder, Progress())
    with loop.attach(model, training.lora, strategy="factors") as training.attached:
        for _ in range(2):
            folder.log(one_step(training))
            save_state(training)
    return folder


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_a_resume_passes_over_a_damaged_state_and_says_which(model, stopped, damage, monkeypatch):
    newest = state_path(stopped.states, 2)
    if damage == "forbidden" and os.geteuid() == 0:  # nothing is forbidden to root
        real = states.read_tensors

        def refuse(path: Path, **more):
            if path == newest:
                raise FileError("The file cannot be opened: Permission denied", where=str(path))
            return real(path, **more)

        monkeypatch.setattr(states, "read_tensors", refuse)
    DAMAGES[damage](newest)
    training = start(model, stopped.options(), stopped, Progress())
    assert training.step == 1
    assert [row["step"] for row in stopped.read_log()] == [1]
    if damage != "gone":
        assert "step-00000002" in stopped.remarks()[0]
    assert run(training, Progress()).finished
    assert [read_state(path)["step"] for path in states_of(stopped.states)] == [3, 1]


def test_with_no_whole_state_the_run_begins_again_and_says_so(model, stopped):
    for path in states_of(stopped.states):
        path.write_bytes(b"")
    assert start(model, stopped.options(), stopped, Progress()).step == 0
    assert len(stopped.remarks()) == 3
    assert "begins again" in stopped.remarks()[-1]


def test_nothing_that_is_not_finite_is_saved(model, stopped):
    training = start(model, stopped.options(), stopped, Progress())
    first = next(iter(network.parameters_of(training.lora).values()))
    first.view(-1)[0] = math.nan
    with pytest.raises(FileError, match="not finite"):
        save_state(training)
    with pytest.raises(AtelierError, match="no file can hold"):
        save_lora(training, stopped.path / "x.safetensors")
    first.view(-1)[0] = 1e6  # finite, but beyond fp16
    with pytest.raises(AtelierError, match="no file can hold"):
        save_lora(training, stopped.path / "x.safetensors")
    assert [read_state(path)["step"] for path in states_of(stopped.states)] == [2, 1]
    assert not list(stopped.path.glob("*.safetensors"))


def test_a_growth_without_limit_is_no_broken_number():
    assert broken_number({"optimizer": {"param_groups": [{"growth_rate": math.inf}]}}) == ""
    assert broken_number({"optimizer": {"param_groups": [{"d": math.inf}]}}) == "optimizer.param_groups.0.d"
    assert broken_number({"a": [1.0, (torch.tensor([1.0, math.nan]),)]}) == "a.1.0"
