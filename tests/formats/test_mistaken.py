"""A file that is no safetensors file is named for what it is, and the cure is true."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import safetensors
import torch
from safetensors import SafetensorError

from lib_lora.errors import FileError
from lib_lora.formats.files import read_tensors, rewrite_metadata, write_tensors
from lib_lora.formats.header import read_header
from lib_lora.formats.inspection import inspection
from tests.formats.lora_samples import TEXT, sample


@pytest.mark.parametrize(
    ("content", "what", "cure"),
    [
        (b"", "empty", "again"),
        (bytes(4096), "nothing but zeros", "again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n", "Git LFS", "the file itself"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "web page", "download button"),
        (b"\xef\xbb\xbf\n <html lang=ja>", "web page", "download button"),
        (b'{"error": "Unauthorized"}', "JSON", "the text may say why"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(90), "7z archive", "Unpack"),
        (b"\x89PNG\r\n\x1a\n" + bytes(90), "picture", "beside it"),
        (b"\x80\x02}q\x00." + bytes(90), "pickle", "safetensors"),
    ],
)
@pytest.mark.parametrize("ending", [".safetensors", ".ckpt"])
def test_it_is_said_what_it_is(tmp_path: Path, content: bytes, what: str, cure: str, ending: str) -> None:
    path = tmp_path / f"x{ending}"
    path.write_bytes(content)
    what = "archive" if ending == ".ckpt" and what == "pickle" else what
    for read in (read_tensors, inspection):
        with pytest.raises(FileError, match=what) as caught:
            read(path)
        assert cure in caught.value.cure


def modules() -> dict[str, torch.Tensor]:
    return {f"{TEXT}.{part}": tensor for part, tensor in sample("linear").items()}


def test_the_cure_of_a_pytorch_file_under_a_wrong_name_is_true(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    torch.save(modules(), path)
    with pytest.raises(FileError, match="PyTorch") as caught:
        inspection(path)
    assert ".pt" in caught.value.cure
    found = inspection(path.rename(tmp_path / "x.pt"))
    assert (found["modules"], found["hash"]["computed"]) == (1, "")


def test_a_safetensors_file_under_another_ending_is_read(tmp_path: Path) -> None:
    path = write_tensors(tmp_path / "x.safetensors", modules(), {"a": "b"}).rename(tmp_path / "x.ckpt")
    assert read_tensors(path)[1] == {"a": "b"}
    assert inspection(path)["modules"] == 1


ONE = '"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'


def raw(path: Path, header: str, data: bytes) -> Path:
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode() + data)
    return path


@pytest.mark.parametrize(
    ("metadata", "texts", "note"),
    [
        ("[]", {}, "counts as one without metadata"),
        ("5", {}, "counts as one without metadata"),
        ('"x"', {}, "counts as one without metadata"),
        (
            '{"n":5,"f":1.5,"t":"x","d":{"a":[null]}}',
            {"n": "5", "f": "1.5", "t": "x", "d": '{"a": [null]}'},
            "3 values",
        ),
    ],
)
def test_odd_metadata_loses_nothing_and_is_told(tmp_path: Path, metadata: str, texts: dict, note: str) -> None:
    path = raw(tmp_path / "x.safetensors", f'{{"__metadata__":{metadata},{ONE}}}', bytes(4))
    header = read_header(path)
    assert header.metadata == texts
    assert len(header.notes) == 1
    assert note in header.notes[0]
    saved = rewrite_metadata(path, tmp_path / "y.safetensors", texts)
    assert safetensors.safe_open(saved, "pt").get_tensor("a").item() == 0  # the other readers take it again


@pytest.mark.parametrize(
    "entries",
    [
        '"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}',
        '"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}',
        '"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4.0]}',
        f'{ONE},"b":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        '"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}',
        ONE + "}" * 3,
        '"a\\ud800":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}',
    ],
)
def test_what_the_librarys_own_reader_refuses_is_refused_in_our_words(tmp_path: Path, entries: str) -> None:
    path = raw(tmp_path / "x.safetensors", f"{{{entries}}}", bytes(4))
    with pytest.raises(SafetensorError):
        safetensors.safe_open(path, "pt")
    with pytest.raises(FileError) as caught:
        read_header(path)
    assert not any(word in str(caught.value) for word in ("codec", "delimiter", "Extra data", "recursion", "Expecting"))
