"""A file read through once gives the hashes that others compute, and names every tensor with broken numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lib_lora.errors import FileError
from lib_lora.formats.adapters.on_disk import StoredAdapters
from lib_lora.formats.files import write_tensors
from lib_lora.formats.hashes import file_hash, tensor_hash
from lib_lora.formats.header import read_header
from lib_lora.formats.read_through import read_through
from tests.told import Told

TYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn]


def some(dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return tensors of which some are larger than what is read at once, between small ones and alphas."""
    sizes = {"a": 10, "b": 700_001, "c": 3, "d": 1_300_007, "e": 1}
    tensors = {name: torch.randn(size).to(dtype) for name, size in sizes.items()}
    counts = {"n": torch.arange(5), "nothing": torch.empty(0)}
    return {**tensors, **counts, "m.alpha": torch.tensor(4.0)}


@pytest.mark.parametrize("dtype", TYPES)
def test_the_hashes_are_those_of_the_bytes(tmp_path: Path, dtype: torch.dtype) -> None:
    path, told = write_tensors(tmp_path / "x.safetensors", some(dtype), {"a": "b"}), Told()
    found = read_through(path, read_header(path), told)
    assert (found.tensors, found.whole, found.broken) == (tensor_hash(path), file_hash(path), ())
    done, total = zip(*told.steps, strict=True)
    assert done == tuple(sorted(done))
    assert len(set(total)) == 1
    assert done[-1] <= total[0] <= done[-1] + 1


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("at", [0, 1, 2, 3, 4])
def test_broken_numbers_are_found_wherever_they_stand(tmp_path: Path, dtype: torch.dtype, at: int) -> None:
    tensors = some(dtype)
    names = "abcde"
    for name in {names[at], "d"}:
        tensors[name][-1:] = torch.tensor([torch.nan]).to(dtype)  # torch 2.1 fills no fp8
    tensors["m.alpha"] = torch.tensor(torch.inf)  # told apart
    path = write_tensors(tmp_path / "x.safetensors", tensors, {})
    assert sorted(read_through(path, read_header(path)).broken) == sorted({names[at], "d"})


def test_a_file_that_changed_meanwhile_is_said(tmp_path: Path) -> None:
    path = write_tensors(tmp_path / "x.safetensors", some(torch.float16), {})
    header = read_header(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FileError, match="changed while it was read"):
        read_through(path, header)


def test_asking_whether_an_adapter_is_there_reads_nothing() -> None:
    def read(key: str) -> None:
        raise AssertionError(key)

    stored = StoredAdapters({"a": None}, read)  # type: ignore[arg-type, dict-item]
    assert "a" in stored
    assert "b" not in stored
    assert stored.keys() & {"a", "c"} == {"a"}
