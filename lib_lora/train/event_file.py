"""A run's numbers as TensorBoard reads them: ``tensorboard --logdir`` on the folder of runs shows all of them.

The format is small and fixed, and TensorBoard's own writer needs TensorBoard, which no WebUI brings: a file of records
(length, its checksum, bytes, their checksum; TFRecord), each a protocol buffer ``Event`` with scalars in it.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from lib_lora.atomic import cure_of
from lib_lora.errors import FileError
from lib_lora.sentences import say

VERSION = b"brain.Event:2"
POLYNOMIAL = 0x82F63B78
"""Of CRC-32C (RFC 3720), bits reversed."""
START = 1
"""``SessionLog.START``: what was written from this step on before counts no more, for a resumed run makes it again."""


class EventFile:
    """Appends scalars to a new file; one is begun whenever a run begins or goes on."""

    def __init__(self, folder: Path, step: int) -> None:
        """Begin a file in ``folder``; rows of ``step`` and later that an earlier file has are replaced.

        Raises:
            FileError: the disk refuses.
        """
        self._path = folder / f"events.out.tfevents.{time.time_ns():020d}.atelier"
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise self._refused(error) from error
        self._write(step, _bytes(3, VERSION))
        self._write(step, _bytes(7, _number(1, START)))

    def add(self, step: int, values: Mapping[str, float | None]) -> None:
        """Add the values of a step; those that are None are left out.

        Raises:
            FileError: the disk refuses.
        """
        scalars = [
            _bytes(1, _bytes(1, tag.encode()) + b"\x15" + struct.pack("<f", value))
            for tag, value in values.items()
            if value is not None
        ]
        self._write(step, _bytes(5, b"".join(scalars)))

    def _write(self, step: int, what: bytes) -> None:
        event = b"\x09" + struct.pack("<d", time.time()) + _number(2, step) + what
        length = struct.pack("<Q", len(event))
        try:
            with open(self._path, "ab") as file:
                file.write(length + _checksum(length) + event + _checksum(event))
        except OSError as error:
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> FileError:
        what = say("The log cannot be written ({reason})", reason=error)
        return FileError(what, where=str(self._path), cure=cure_of(error))


def _number(field: int, value: int) -> bytes:
    """Return a field with a whole number."""
    return bytes([field << 3]) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    """Return a field with bytes: a text or another message."""
    return bytes([field << 3 | 2]) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


@lru_cache(maxsize=1)
def _table() -> list[int]:
    table = []
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ (POLYNOMIAL if number & 1 else 0)
        table.append(number)
    return table


def _checksum(data: bytes) -> bytes:
    """Return CRC-32C as TFRecord masks it, so that the checksum of a checksum is no trivial number."""
    table, value = _table(), 0xFFFFFFFF
    for byte in data:
        value = table[(value ^ byte) & 0xFF] ^ value >> 8
    value ^= 0xFFFFFFFF
    return struct.pack("<I", ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF)
