"""The numbers of a run for TensorBoard: read back by hand, and by TensorBoard itself where it is installed."""

from __future__ import annotations

import struct

import pytest

from lib_lora.train.event_file import EventFile, _checksum
from tests.train.test_loop import StopAfter, trained


def records(path):
    """Return the messages of a file, its checksums looked at."""
    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        assert _checksum(data[:8]) == data[8:12]
        message = data[12 : 12 + length]
        assert _checksum(message) == data[12 + length : 16 + length]
        found.append(message)
        data = data[16 + length :]
    return found


def test_checksums_are_those_of_the_format():
    crc = 0xE3069283  # CRC-32C of "123456789", RFC 3720
    assert _checksum(b"123456789") == struct.pack(
        "<I", ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF
    )


def test_a_file_is_records_of_events(tmp_path):
    file = EventFile(tmp_path / "tensorboard", 300)
    file.add(300, {"loss": 0.25, "held": None})
    (path,) = (tmp_path / "tensorboard").iterdir()
    version, start, event = records(path)
    assert version[9:] == b"\x10\xac\x02\x1a\x0dbrain.Event:2"  # step 300, field 3
    assert start[9:] == b"\x10\xac\x02\x3a\x02\x08\x01"  # SessionLog.START
    scalar = b"\x0a\x04loss\x15" + struct.pack("<f", 0.25)
    value = b"\x0a" + bytes([len(scalar)]) + scalar
    assert event[9:] == b"\x10\xac\x02\x2a" + bytes([len(value)]) + value


def test_a_run_writes_what_tensorboard_shows(model, options_for, tmp_path):
    options = options_for(steps=2, save_every_steps=1, tensorboard=True, optimizer="AdamW", learning_rate=1e-3)
    trained(model, options, tmp_path / "run", StopAfter(1))
    training, _ = trained(model, options, tmp_path / "run")
    files = sorted((tmp_path / "run" / "tensorboard").iterdir())
    assert len(files) == 2
    for tag in (b"loss", b"mean", b"rate", b"steady", b"drift"):
        assert all(any(tag in message for message in records(path)) for path in files)
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    shown = reader.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    shown.Reload()
    logged = training.folder.read_log()
    assert [one.step for one in shown.Scalars("loss")] == [row["step"] for row in logged]
    assert [one.value for one in shown.Scalars("loss")] == pytest.approx([row["loss"] for row in logged])
    assert [one.step for one in shown.Scalars("steady")] == [0, 1, 2]
