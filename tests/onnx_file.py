"""Small ONNX models for tests, written byte for byte: a graph of a few nodes needs no package to make it.

The format is protobuf (onnx.proto3): every field is a number and a kind, then its value.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

NO_RUNTIME = "onnxruntime is missing (python run.py setup)"
FLOAT, FLOAT16, INT64 = 1, 10, 7


def needs_runtime() -> None:
    """Skip a test where no model can be run."""
    pytest.importorskip("onnxruntime", reason=NO_RUNTIME)


def _number(value: int) -> bytes:
    found = bytearray()
    value &= (1 << 64) - 1
    while True:
        value, low = value >> 7, value & 0x7F
        found.append(low | (0x80 if value else 0))
        if not value:
            return bytes(found)


def _int(field: int, value: int) -> bytes:
    return _number(field << 3) + _number(value)


def _part(field: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _number(field << 3 | 2) + _number(len(data)) + data


def node(kind: str, inputs: Sequence[str], output: str, **attributes: int | Sequence[int]) -> bytes:
    """Return one operation."""
    data = b"".join(_part(1, name) for name in inputs) + _part(2, output) + _part(4, kind)
    for name, value in attributes.items():
        many = not isinstance(value, int)
        values = b"".join(_int(8, one) for one in value) if many else _int(3, value)  # type: ignore[union-attr]
        data += _part(5, _part(1, name) + values + _int(20, 7 if many else 2))
    return data


def _tensor(name: str, values: np.ndarray) -> bytes:
    kind = {"f": FLOAT, "i": INT64}[values.dtype.kind]
    return (
        b"".join(_int(1, side) for side in values.shape) + _int(2, kind) + _part(8, name) + _part(9, values.tobytes())
    )


def _value(name: str, shape: Sequence[int | str], kind: int) -> bytes:
    sides = b"".join(_part(1, _int(1, one) if isinstance(one, int) else _part(2, one)) for one in shape)
    return _part(1, name) + _part(2, _part(1, _int(1, kind) + _part(2, sides)))


def write_onnx(
    path: Path,
    nodes: Sequence[bytes],
    constants: dict[str, np.ndarray],
    *,
    takes: Sequence[int | str],
    gives: Sequence[int | str],
    kind: int = FLOAT,
) -> Path:
    """Write a model from an input ``x`` to an output ``y``."""
    graph = b"".join(_part(1, one) for one in nodes) + _part(2, "g")
    graph += b"".join(_part(5, _tensor(name, values)) for name, values in constants.items())
    graph += _part(11, _value("x", takes, kind)) + _part(12, _value("y", gives, FLOAT))
    path.write_bytes(_int(1, 8) + _part(7, graph) + _part(8, _int(2, 13)))
    return path


TAGS = (
    ("general", "9"),
    ("blue_sky", "0"),
    ("green_grass", "0"),
    ("red", "0"),
    ("krnk_(hero)", "4"),
    (">_<", "0"),
)
"""What the tagger below knows: a rating; blue, green and red; a character that is red; a face that is blue."""


def write_tagger(
    folder: Path, *, side: int | str = 16, last: bool = True, logits: bool = False, listed: int = len(TAGS)
) -> Path:
    """Write a tagger that looks at the mean color: each color's share is its tag's probability."""
    folder.mkdir(parents=True, exist_ok=True)
    full = 1.0 if not last else 255.0  # what white is after the preparation that each form wants
    gain = np.zeros((3, len(TAGS)), np.float32)  # blue, green, red; of a color that is full 8, of one that is 0 -8
    for row, channel in enumerate((0, 0, 1, 2, 2, 0)):
        gain[channel, row] = 16 / full if last else 8 / full
    zero = np.full(len(TAGS), -8.0 if last else 0.0, np.float32)
    nodes = [
        node("ReduceMean", ["x"], "m", axes=(1, 2) if last else (2, 3), keepdims=0),
        node("MatMul", ["m", "gain"], "g"),
        node("Add", ["g", "zero"], "y" if logits else "a"),
        *([] if logits else [node("Sigmoid", ["a"], "y")]),
    ]
    takes = ["n", side, side, 3] if last else ["n", 3, side, side]
    write_onnx(folder / "model.onnx", nodes, {"gain": gain, "zero": zero}, takes=takes, gives=["n", len(TAGS)])
    rows = [f"{at},{name},{kind},1" for at, (name, kind) in enumerate(TAGS[:listed])]
    (folder / "selected_tags.csv").write_text("\n".join(["tag_id,name,category,count", *rows]), encoding="utf-8")
    return folder


def write_cutter(path: Path, *, side: int | str = 32, scale: float = 1.0, shift: float = 0.0) -> Path:
    """Write a cutter: what is redder than the rest of its pixel is the subject, ``scale`` times that plus ``shift``."""
    weight = np.array([scale, -scale / 2, -scale / 2], np.float32).reshape(1, 3, 1, 1)
    nodes = [node("Conv", ["x", "w", "b"], "c"), node("Clip", ["c", "low", "high"], "y")]
    constants = {"w": weight, "b": np.array([shift], np.float32)}
    constants |= {"low": np.array(0, np.float32), "high": np.array(1, np.float32)}
    return write_onnx(path, nodes, constants, takes=[1, 3, side, side], gives=[1, 1, side, side])
