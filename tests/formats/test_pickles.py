"""PyTorch's own files: read where they hold tensors alone, refused otherwise, and nothing in them runs."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from lib_lora.errors import FileError
from lib_lora.formats.files import read_tensors
from tests.formats.test_files import same, small


class _Evil:
    def __reduce__(self):
        return os.system, ("touch evil",)


def test_a_pickle_of_tensors_is_read(tmp_path: Path) -> None:
    torch.save({"state_dict": small()}, tmp_path / "x.pt")
    assert same(read_tensors(tmp_path / "x.pt")[0], small())


@pytest.mark.parametrize("content", [_Evil(), {"a": _Evil()}, [1], {}, {"a": 1}, {1: torch.ones(1)}])
def test_a_pickle_that_is_more_than_tensors_is_refused(
    tmp_path: Path, content: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(FileError, match="pickle"):
        read_tensors(tmp_path / "x.pt")
    assert not (tmp_path / "evil").exists()


def test_pickles_that_lie_about_size_or_form_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1).expand(10**8)}, tmp_path / "wide.pt")
    (tmp_path / "old.ckpt").write_bytes(pickle.dumps({"a": 1}))
    (tmp_path / "noise.bin").write_bytes(b"PK\x03\x04" + b"x" * 100)
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 10**7)
    for name in ("wide.pt", "old.ckpt", "noise.bin", "bomb.pt"):
        with pytest.raises(FileError):
            read_tensors(tmp_path / name)
