from __future__ import annotations

import hashlib
import json
import os
import struct
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from lib_lora import atomic
from lib_lora.errors import FileError, InputError
from lib_lora.formats import files, saving
from lib_lora.formats.files import read_tensors, rewrite_metadata, write_tensors
from lib_lora.formats.hashes import file_hash, legacy_hash, tensor_hash
from lib_lora.formats.header import HEADER_LIMIT, encode_header, parse_header, plan_layout, read_header

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool]
CALM = settings(deadline=None)  # a busy machine is no failure; time is measured where it is promised
FUZZ = settings(CALM, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
# Hypothesis tries words of the code, too: without those that the writer fills.
TYPED = st.text(max_size=20).filter(lambda key: "hash" not in key)


def small() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "b": torch.randn(3, 5, generator=generator).half(),
        "a": torch.randn(2, 2, generator=generator),
        "alpha": torch.tensor(4.0),
        "odd": torch.randn(7, generator=generator).bfloat16(),
    }


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype and torch.equal(left[name], right[name]) for name in left
    )


def raw_file(path: Path, header: bytes, data: bytes = b"") -> Path:
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return path


@FUZZ
@given(
    shapes=st.dictionaries(
        st.text(min_size=1, max_size=20).filter(lambda name: name != "__metadata__"),
        st.tuples(st.lists(st.integers(0, 4), max_size=4), st.sampled_from(DTYPES)),
        min_size=1,
        max_size=6,
    ),
    metadata=st.dictionaries(TYPED, st.text(max_size=50), max_size=5),
)
def test_what_is_written_is_read_back_by_us_and_by_the_library(tmp_path: Path, shapes: dict, metadata: dict) -> None:
    texts = [*shapes, *metadata, *metadata.values()]
    if any("\ud800" <= character <= "\udfff" for text in texts for character in text):
        return
    tensors = {
        name: torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(1)).to(dtype)
        for name, (shape, dtype) in shapes.items()
    }
    target = write_tensors(tmp_path / "x.safetensors", tensors, metadata, overwrite=True)
    found, words = read_tensors(target)
    assert same(found, tensors)
    assert words == metadata
    assert same(safetensors.torch.load_file(target), tensors)


def test_files_of_the_library_are_read(tmp_path: Path) -> None:
    safetensors.torch.save_file(small(), tmp_path / "x.safetensors", {"ss_key": "値"})
    found, metadata = read_tensors(tmp_path / "x.safetensors")
    assert same(found, small())
    assert metadata == {"ss_key": "値"}


def test_written_bytes_are_the_librarys_and_do_not_depend_on_order(tmp_path: Path) -> None:
    one = write_tensors(tmp_path / "1.safetensors", small(), {"b": "1", "a": "2"})
    two = write_tensors(tmp_path / "2.safetensors", dict(reversed(small().items())), {"a": "2", "b": "1"})
    assert one.read_bytes() == two.read_bytes()
    library = safetensors.torch.save(small(), {"b": "1", "a": "2"})
    assert one.read_bytes()[read_header(one).data_start :] == library[8 + int.from_bytes(library[:8], "little") :]
    assert one.read_bytes()[8:10] == b'{"'
    assert read_header(one).data_start % 8 == 0


@CALM
@given(raw=st.binary(max_size=200), data_bytes=st.integers(0, 10_000))
@example(raw=b"{" * 200, data_bytes=0)
@example(raw=b'{"a":' * 40_000, data_bytes=0)
@example(raw=b"[" * 100_000, data_bytes=0)
@example(raw=b'{"a":' + b"9" * 100_000 + b"}", data_bytes=0)
@example(raw=b'{"__metadata__":{"a":"\\ud800"}}', data_bytes=0)
@example(raw=b'{"a":"\xff"}', data_bytes=0)
def test_any_bytes_as_header_are_a_header_or_a_file_error(raw: bytes, data_bytes: int) -> None:
    try:
        tensors, metadata, _ = parse_header(raw, data_bytes=data_bytes, where="fuzz")
    except FileError:
        return
    assert sum(info.end - info.start for info in tensors.values()) == data_bytes
    assert all(isinstance(value, str) for value in metadata.values())


ENTRY = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F16", "F32", "U8", "F4", "", 3, None]),
        "shape": st.one_of(
            st.lists(st.integers(-2, 5), max_size=3), st.sampled_from([[2**40, 2**40], [True], "22", [1.5]])
        ),
        "data_offsets": st.one_of(
            st.lists(st.integers(-1, 60), min_size=1, max_size=3), st.sampled_from([[0, 2**70], None, [8, 0]])
        ),
    },
    optional={"more": st.just(1)},
)


@CALM
@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "__metadata__"]), st.one_of(ENTRY, st.text(), st.none(), st.lists(ENTRY))
    )
)
def test_plausible_headers_that_lie_are_refused(content: dict) -> None:
    try:
        tensors, _, _ = parse_header(json.dumps(content).encode(), data_bytes=24, where="fuzz")
    except FileError:
        return
    places = sorted((info.start, info.end) for info in tensors.values())
    assert places[0][0] == 0
    assert places[-1][1] == 24
    assert all(left[1] == right[0] for left, right in zip(places, places[1:], strict=False))


@FUZZ
@given(cut=st.integers(0, 400), position=st.integers(0, 400), value=st.integers(0, 255))
def test_truncated_and_changed_files_never_crash(tmp_path: Path, cut: int, position: int, value: int) -> None:
    whole = bytearray(safetensors.torch.save(small(), {"k": "v"}))
    path = tmp_path / "x.safetensors"
    path.write_bytes(whole[: min(cut, len(whole) - 1)])
    with pytest.raises(FileError):
        read_tensors(path)
    whole[position % len(whole)] = value
    path.write_bytes(whole)
    try:
        found, _ = read_tensors(path)
    except FileError:
        return
    assert len(found) == 4


def header_with(**changes: object) -> bytes:
    entry: dict[str, object] = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **changes}
    return json.dumps({"a": entry}, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("header", "data", "words"),
    [
        (b"", b"", "not a safetensors"),
        (b'["a"]', b"", "not valid"),
        (header_with(), b"", "incomplete: 0 of 4"),
        (header_with(), b"12345", "belongs to no tensor"),
        (header_with(shape=[2]), b"1234", "disagree"),
        (header_with(shape=[-1]), b"1234", "shape is broken"),
        (header_with(shape=[1] * 17), b"1234", "shape is broken"),
        (header_with(dtype="F3"), b"1234", "Unknown number type"),
        (header_with(data_offsets=[1, 5]), b"12345", "belong to none"),
        (header_with(shape=[10**9, 10**9], data_offsets=[0, 4 * 10**17]), b"1234", "disagree|not valid"),
        (b'{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"1234", "occurs twice"),
        (b'{"__metadata__":{},"__metadata__":{}}', b"", "occurs twice"),
        (b'{"a":{},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', b"12345678", "belong to none"),
        (b'{"__metadata__":{"a":NaN}}', b"", "not a whole number"),
        (
            b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}',
            b"123456",
            "overlap",
        ),
    ],
)
def test_each_broken_header_is_named(tmp_path: Path, header: bytes, data: bytes, words: str) -> None:
    with pytest.raises(FileError, match=words) as caught:
        read_header(raw_file(tmp_path / "x.safetensors", header, data))
    assert "x.safetensors" in caught.value.where
    assert caught.value.cure


@pytest.mark.parametrize(
    ("header", "metadata"),
    [
        (b'{"__metadata__":null,"a":ONE}', {}),
        (b'{"__metadata__":{},"a":ONE}', {}),
        (b'{"__metadata__":{"x":"1","x":"2"},"a":ONE}', {"x": "2"}),
        (b'{"a":ONE,"a":ONE}', {}),
        (b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"stride":[1]}}', {}),
        (b' \n\t{"a":ONE}', {}),
        (b'{ "a" : ONE }  \n ', {}),
        (b'{"\\u0061":ONE}', {}),
        (b'{"a":ONE,"b":{"dtype":"F32","shape":[0],"data_offsets":[4,4]}}', {}),
    ],
)
def test_what_the_librarys_own_reader_takes_is_read(tmp_path: Path, header: bytes, metadata: dict[str, str]) -> None:
    one = b'{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    path = raw_file(tmp_path / "x.safetensors", header.replace(b"ONE", one), struct.pack("<f", 2.5))
    with safetensors.safe_open(path, "pt") as library:
        assert (library.metadata() or {}) == metadata
        assert library.get_tensor("a").item() == 2.5
    tensors, found = read_tensors(path)
    assert (tensors["a"].item(), found) == (2.5, metadata)
    saved = rewrite_metadata(path, tmp_path / "y.safetensors", {**found, "title": "a"})
    assert read_tensors(saved)[1] == {**metadata, "title": "a"}


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b'{"a":[' + b"{}," * 4_000_000 + b"{}]}", "too many entries"),
        (b'{"a":' * 4_000_000, "too many entries"),
        (b'{"a":' * 200_000, "not valid"),
        (b"{" + b",".join(b'"%d":{}' % n for n in range(600_000)) + b"}", "too many entries"),
        (b'{"a":' + b"9" * (20 * 2**20) + b"}", "too large"),
        (b'{"__metadata__":{"a":"' + b"x" * (20 * 2**20) + b'"}', "not valid"),
    ],
    ids=["objects", "depth", "less depth", "names", "digits", "text"],
)
def test_a_hostile_header_of_megabytes_is_refused_within_a_second(tmp_path: Path, header: bytes, words: str) -> None:
    path = raw_file(tmp_path / "x.safetensors", header)
    begun = time.process_time()
    with pytest.raises(FileError, match=words):
        read_header(path)
    assert time.process_time() - begun < 1


def test_lengths_and_sizes_are_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for content in (b"", b"1234567", struct.pack("<Q", 2**63) + b"{}", struct.pack("<Q", HEADER_LIMIT + 1) + b"{}"):
        path.write_bytes(content)
        with pytest.raises(FileError):
            read_tensors(path)
    head = encode_header(plan_layout([("a", "U8", (2**33 + 1,))]), {})
    with open(path, "wb") as file:  # a sparse file: a huge one that costs no disk
        file.write(head)
        file.truncate(len(head) + 2**33 + 1)
    with pytest.raises(FileError, match="too large"):
        read_tensors(path)


@pytest.mark.skipif(not files._READING, reason="this safetensors can only map a file; mapped, a cut file is a signal")
def test_a_file_that_is_cut_while_it_is_read_is_an_error_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tensors(tmp_path / "x.safetensors", {"a": torch.ones(10_000), "b": torch.ones(10_000)}, {})
    checked = read_header(path)
    monkeypatch.setattr(files, "read_header", lambda _: os.truncate(path, 30_000) or checked)
    with pytest.raises(FileError, match="cannot read the file"):
        read_tensors(path)


def test_numbers_that_this_library_does_not_know_are_an_error_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = raw_file(tmp_path / "x.safetensors", header_with(), b"1234")

    def unknown(*_: object, **__: object) -> None:
        raise KeyError("F32")

    monkeypatch.setattr(files, "safe_open", unknown)
    with pytest.raises(FileError, match="cannot read the file: 'F32'"):
        read_tensors(path)


def test_what_is_read_does_not_change_with_the_file(tmp_path: Path) -> None:
    path = write_tensors(tmp_path / "x.safetensors", small(), {})
    found, _ = read_tensors(path)
    os.truncate(path, 100)
    assert same(found, small())
    assert found["a"].untyped_storage().nbytes() == found["a"].nbytes


def test_truth_values_are_sound_whatever_the_bytes_are(tmp_path: Path) -> None:
    path = raw_file(tmp_path / "x.safetensors", header_with(dtype="BOOL", shape=[4]), b"\0\1\2\xff")
    assert read_tensors(path)[0]["a"].view(torch.uint8).tolist() == [0, 1, 1, 1]


def test_folders_pipes_and_missing_files_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    for name in ("pipe.safetensors", ".", "none.safetensors", "nul\0.safetensors"):
        with pytest.raises(FileError):
            read_header(tmp_path / name)


def test_an_existing_file_is_never_replaced_unasked(tmp_path: Path) -> None:
    target = write_tensors(tmp_path / "x.safetensors", small(), {})
    before = target.read_bytes()
    for name in ("x.safetensors", "X.SAFETENSORS"):
        with pytest.raises(FileError, match="exists"):
            write_tensors(tmp_path / name, {"a": torch.ones(1)}, {})
    assert target.read_bytes() == before
    write_tensors(target, {"a": torch.ones(1)}, {}, overwrite=True)
    assert same(read_tensors(target)[0], {"a": torch.ones(1)})


@pytest.mark.parametrize("failure", [OSError("no"), KeyboardInterrupt()])
def test_a_kill_before_the_rename_leaves_the_original(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    target = write_tensors(tmp_path / "x.safetensors", small(), {})
    before = target.read_bytes()

    def killed(*_: object) -> None:
        raise failure

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises((FileError, KeyboardInterrupt)):
        write_tensors(target, {"a": torch.ones(1)}, {}, overwrite=True)
    assert target.read_bytes() == before
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("name", ["fsync", "open", "disk_usage", "sha256"])
def test_a_failing_disk_leaves_the_original_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    target = write_tensors(tmp_path / "x.safetensors", small(), {})
    before = target.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    if name == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    elif name == "open":
        monkeypatch.setattr(atomic, "_claim", full)
    elif name == "disk_usage":
        monkeypatch.setattr(saving.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    else:
        monkeypatch.setattr(saving, "sha256", lambda _: "another")
    with pytest.raises(FileError):
        write_tensors(target, {"a": torch.ones(1)}, {}, overwrite=True)
    assert target.read_bytes() == before
    assert list(tmp_path.iterdir()) == [target]


def test_what_cannot_be_written_is_refused_before_anything_is(tmp_path: Path) -> None:
    cases = [
        ("x.safetensors", {}, {}, InputError),
        ("x.safetensors", small(), {"a": 1}, InputError),
        ("x.safetensors", small(), {"a": "\ud800"}, InputError),
        ("x.safetensors", {"__metadata__": torch.ones(1)}, {}, InputError),
        ("x.safetensors", {"a": torch.ones(1, dtype=torch.complex64)}, {}, InputError),
        ("x.pt", small(), {}, FileError),
        ("none/x.safetensors", small(), {}, FileError),
    ]
    for name, tensors, metadata, error in cases:
        with pytest.raises(error):
            write_tensors(tmp_path / name, tensors, metadata)
    assert not list(tmp_path.iterdir())


def test_hashes_are_those_of_the_bytes_that_were_written(tmp_path: Path) -> None:
    tensors = {**small(), "big": torch.arange(400_000, dtype=torch.float32)}
    wrong = {"ss_key": "値", "other": "x" * 99, "sshs_model_hash": "0x1", "sshs_legacy_hash": "e3b0c442"}
    path = write_tensors(tmp_path / "x.safetensors", tensors, {**wrong, "modelspec.hash_sha256": ""})
    metadata = read_header(path).metadata
    data = path.read_bytes()[read_header(path).data_start :]
    library = safetensors.torch.save(tensors, {"ss_key": "値"})
    assert metadata["sshs_model_hash"] == hashlib.sha256(data).hexdigest() == tensor_hash(path)
    assert metadata["modelspec.hash_sha256"] == "0x" + tensor_hash(path)
    assert metadata["sshs_legacy_hash"] == hashlib.sha256(library[0x100000:0x110000]).hexdigest()[:8]
    assert legacy_hash(path) == metadata["sshs_legacy_hash"]
    assert file_hash(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_old_hash_of_a_small_file_is_that_of_nothing(tmp_path: Path) -> None:
    assert legacy_hash(write_tensors(tmp_path / "x.safetensors", small(), {})) == "e3b0c442"


def test_new_metadata_leave_tensor_bytes_identical_even_in_another_order(tmp_path: Path) -> None:
    source = raw_file(
        tmp_path / "x.safetensors",
        b'{"b":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"a":{"dtype":"F16","shape":[1],"data_offsets":[3,5]}}',
        b"12345",
    )
    target = rewrite_metadata(source, tmp_path / "y.safetensors", {"k": "v", "sshs_model_hash": ""})
    header = read_header(target)
    assert target.read_bytes()[header.data_start :] == b"12345"
    assert header.metadata == {"k": "v", "sshs_model_hash": hashlib.sha256(b"12345").hexdigest()}
    with pytest.raises(FileError, match="exists"):
        rewrite_metadata(source, source, {})
    rewrite_metadata(source, source, {"k": "w"}, overwrite=True)
    assert read_header(source).metadata == {"k": "w"}
