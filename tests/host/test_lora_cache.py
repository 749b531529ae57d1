from __future__ import annotations

import os

import pytest

from lib_lora.errors import FileError
from lib_lora.formats.lora import write_lora
from lib_lora.host import lora_files
from lib_lora.host.lora_files import LoraCache


@pytest.fixture
def reads(monkeypatch):
    """Paths that were really read from the disk."""
    seen, read = [], lora_files.read_lora

    def counting(path):
        seen.append(path.name)
        return read(path)

    monkeypatch.setattr(lora_files, "read_lora", counting)
    return seen


def test_a_file_is_read_once(lora, tmp_path, reads):
    path, cache = write_lora(lora, tmp_path / "a.safetensors"), LoraCache()
    one, two = cache.read(path), cache.read(path)
    assert reads == ["a.safetensors"]
    assert one.adapters.keys() == two.adapters.keys()


def test_a_changed_file_is_read_again(lora, tmp_path, reads):
    path, cache = write_lora(lora, tmp_path / "a.safetensors"), LoraCache()
    cache.read(path)
    os.utime(path, ns=(1, 1))
    cache.read(path)
    assert len(reads) == 2


def test_what_a_reader_does_to_its_copy_stays_with_it(lora, tmp_path):
    path, cache = write_lora(lora, tmp_path / "a.safetensors"), LoraCache()
    cache.read(path).metadata["x"] = "y"
    cache.read(path).adapters.clear()
    assert "x" not in cache.read(path).metadata
    assert cache.read(path).adapters


def test_files_and_bytes_are_bounded_and_the_oldest_goes_first(lora, tmp_path, reads):
    a, b, c = (write_lora(lora, tmp_path / f"{name}.safetensors") for name in "abc")
    cache = LoraCache(files=2)
    for path in (a, b, a, c, a, b):
        cache.read(path)
    assert [name[0] for name in reads] == ["a", "b", "c", "b"]
    small = LoraCache(limit=a.stat().st_size - 1)
    small.read(a)
    small.read(a)
    assert [name[0] for name in reads[4:]] == ["a", "a"]


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(FileError):
        LoraCache().read(tmp_path / "none.safetensors")
