"""A picture model of the user's in ONNX form, run by onnxruntime where that is installed; nothing is fetched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lib_lora.data.files import shown
from lib_lora.errors import AtelierError, FileError, InputError
from lib_lora.sentences import say

_KINDS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
_GPUS = ("CUDAExecutionProvider", "DmlExecutionProvider")


@dataclass(frozen=True)
class OnnxModel:
    """A model that takes one picture.

    Attributes:
        path: its file.
        size: (width, height) of its input in px; None where the model takes any.
        channels_last: whether its input is (n, h, w, 3); else it is (n, 3, h, w).
    """

    path: Path
    size: tuple[int, int] | None
    channels_last: bool
    _session: Any
    _input: Any

    @property
    def outputs(self) -> list[tuple]:
        """Return the shape of each output as the file says it; what varies is a name or None."""
        return [tuple(one.shape) for one in self._session.get_outputs()]

    def run(self, values: np.ndarray) -> list[np.ndarray]:
        """Return the outputs for one picture, each without its first axis.

        Args:
            values: (h, w, 3), already in the numbers that the model was trained on.

        Raises:
            FileError: the model cannot work on them.
        """
        picture = values if self.channels_last else values.transpose(2, 0, 1)
        count = self._input.shape[0] if isinstance(self._input.shape[0], int) else 1  # some files have a fixed batch
        batch = np.repeat(picture[None].astype(_KINDS[self._input.type]), count, axis=0)
        try:
            found = self._session.run(None, {self._input.name: batch})
        except _errors() as error:
            raise _broken(self.path, error) from error
        return [np.asarray(one[0], dtype=np.float32) for one in found]


def open_model(path: Path) -> OnnxModel:
    """Open a model file.

    Raises:
        AtelierError: onnxruntime is not installed.
        FileError: the file is missing or no model that onnxruntime reads.
        InputError: the model does not take one picture of three channels.
    """
    runtime = _runtime()
    if not path.is_file():
        raise FileError("There is no such model file", where=shown(path), cure="Check the path.")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors come as exceptions; its remarks are about graphs
    there = runtime.get_available_providers()
    providers = [*(name for name in _GPUS if name in there), "CPUExecutionProvider"]
    try:
        session = runtime.InferenceSession(str(path), options, providers=providers)
    except _errors() as error:
        raise _broken(path, error) from error
    inputs = session.get_inputs()
    shape = tuple(inputs[0].shape) if inputs else ()
    if len(inputs) != 1 or len(shape) != 4 or 3 not in (shape[1], shape[3]) or inputs[0].type not in _KINDS:
        cure = say("Choose the model's .onnx file as its maker gives it.")
        raise InputError("This model does not take one picture", where=shown(path), cure=cure)
    last = shape[3] == 3
    height, width = shape[1:3] if last else shape[2:]
    fixed = isinstance(height, int) and isinstance(width, int)
    return OnnxModel(path, (width, height) if fixed else None, last, session, inputs[0])


def squared(picture: Image.Image, side: int) -> Image.Image:
    """Return a picture in the middle of a white square of ``side`` px."""
    longer = max(picture.size)
    canvas = Image.new("RGB", (longer, longer), (255, 255, 255))
    canvas.paste(picture, ((longer - picture.width) // 2, (longer - picture.height) // 2))
    return canvas if longer == side else canvas.resize((side, side), Image.Resampling.BICUBIC)


def sigmoid_where_needed(values: np.ndarray) -> np.ndarray:
    """Return values as shares from 0 to 1: those of a model that leaves its last step out are logits."""
    if values.size and (values.min() < 0 or values.max() > 1):
        return 1 / (1 + np.exp(-np.clip(values, -60, 60)))
    return values


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise AtelierError(
            "The package onnxruntime is not installed",
            where=say("ONNX model"),
            cure="Install it into this Python and start again: {pip}",
            pip="pip install onnxruntime",
        ) from error
    return onnxruntime


def _errors() -> tuple[type[Exception], ...]:
    """Return what onnxruntime raises: classes of its own without a common one, and those of a wrong input."""
    try:
        from onnxruntime.capi import onnxruntime_pybind11_state as state
    except ImportError as error:
        raise AtelierError("The package onnxruntime is not installed") from error
    own = [one for one in vars(state).values() if isinstance(one, type) and issubclass(one, Exception)]
    return (*own, ValueError, RuntimeError)


def _broken(path: Path, error: Exception) -> FileError:
    reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    cure = say("Get the file again, whole, with the files that belong to it.")
    return FileError(
        "The package onnxruntime cannot use this model ({reason})", reason=reason, where=shown(path), cure=cure
    )
