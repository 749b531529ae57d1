"""How our own processes compute: set before torch is loaded, where the user set nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from lib_lora import process

ROOT = Path(process.__file__).resolve().parents[1]
MKL = """
import ctypes, os, sys
import lib_lora.process as process
unset, process.unset = process.unset, lambda: (print("torch" in sys.modules), unset())[1]
import lib_lora.__main__, torch
print(os.environ["MKL_CBWR"], os.environ["OMP_WAIT_POLICY"])
library = os.path.join(os.path.dirname(torch.__file__), "lib", "libtorch_cpu.so")
way = getattr(ctypes.CDLL(library), "mkl_serv_cbwr_get", None) if os.path.exists(library) else None
print(way(-1) if way else "?")
"""


def bare(**more: str) -> dict[str, str]:
    """The environment of a user who set nothing."""
    return {name: value for name, value in os.environ.items() if name not in process.WANTED} | more


def test_what_the_user_set_is_kept_even_where_it_is_empty() -> None:
    assert process.unset({}) == dict(process.WANTED)
    assert process.unset({"MKL_CBWR": "", "OMP_WAIT_POLICY": "ACTIVE"}) == {}
    assert [process.same_bits(e) for e in ({}, {"MKL_CBWR": ""}, {"MKL_CBWR": "AVX2"})] == [False, False, True]


@pytest.mark.parametrize(
    ("given", "way"), [({}, ["AUTO PASSIVE", "2"]), ({"MKL_CBWR": "COMPATIBLE"}, ["COMPATIBLE PASSIVE", "3"])]
)
def test_the_terminal_sets_them_before_torch_is_loaded_and_mkl_heeds(given: dict[str, str], way: list[str]) -> None:
    made = subprocess.run([sys.executable, "-c", MKL], cwd=ROOT, env=bare(**given), capture_output=True, text=True)
    lines = made.stdout.splitlines()
    assert lines[:2] == ["False", way[0]], made.stderr
    assert lines[2] in (way[1], "?")  # MKL's own answer: 1 is off, 2 is AUTO, 3 is COMPATIBLE; not every torch has MKL


def test_these_tests_run_in_a_process_that_is_set() -> None:
    assert all(name in os.environ for name in process.WANTED)


def test_where_nothing_is_set_as_in_a_webui_a_resumed_run_is_the_same_within_rounding() -> None:
    chosen = "tests/train/test_loop.py::test_a_run_that_was_stopped_and_resumed_equals_one_that_was_not[AdamW]"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", chosen]
    made = subprocess.run(command, cwd=ROOT, env=bare(MKL_CBWR=""), capture_output=True, text=True)
    assert (made.returncode, made.stdout[:1]) == (0, "."), made.stdout


@pytest.mark.parametrize(
    ("text", "most"), [("150000 100000\n", 2), ("100000 100000", 1), ("max 100000", None), ("", None)]
)
def test_a_containers_share_of_the_processor_counts(tmp_path: Path, text: str, most: int | None) -> None:
    (tmp_path / "cpu.max").write_text(text, encoding="ascii")
    free = process.cores(tmp_path / "no such file")
    assert process.cores(tmp_path / "cpu.max") == (free if most is None else min(most, free))
    assert 1 <= free <= (os.cpu_count() or 1)


def test_a_small_model_gets_few_threads_and_the_users_number_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        monkeypatch.setattr(process, "cores", lambda: 12)
        torch.set_num_threads(16)
        assert [process.use_threads(small=small, environ={}) for small in (False, True)] == [12, 4]
        monkeypatch.setattr(process, "cores", lambda: 2)
        assert [process.use_threads(small=small, environ={}) for small in (False, True)] == [2, 1]
        torch.set_num_threads(6)
        assert process.use_threads(small=True, environ={"OMP_NUM_THREADS": "6"}) == 6
        torch.set_num_threads(1)  # whoever embeds us chose so
        assert process.use_threads(small=False, environ={}) == 1
    finally:
        torch.set_num_threads(before)


def test_as_many_at_once_as_cores_are_free(monkeypatch):
    monkeypatch.setattr(process, "cores", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert process.at_once({}) == 2
    assert process.at_once({"OMP_NUM_THREADS": "4"}) == 1  # the user said how much may be used


def test_an_error_in_one_piece_of_work_waits_for_the_others(monkeypatch):
    monkeypatch.setattr(process, "at_once", lambda: 2)
    begun, done = threading.Event(), []

    def fails():
        begun.wait(10)
        raise RuntimeError("of the first piece")

    def takes_longer():
        begun.set()
        time.sleep(0.1)
        done.append(True)

    with pytest.raises(RuntimeError, match="of the first piece"):
        process.side_by_side([fails, takes_longer])
    assert done == [True]


@pytest.mark.parametrize("count", [1, 2])
def test_pieces_of_work_come_back_in_order_and_record_gradients_as_their_caller(monkeypatch, count):
    monkeypatch.setattr(process, "at_once", lambda: count)
    work = [lambda n=n: (n, torch.is_grad_enabled()) for n in range(4)]
    assert process.side_by_side(work) == [(n, True) for n in range(4)]
    with torch.no_grad():
        assert process.side_by_side(work) == [(n, False) for n in range(4)]
